/** jwe/open: what D1 encrypted to a jwe-open key, which is never a PIN block (M-37). */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import { readMembers } from '../../json-bytes.ts'
import { SecretScope } from '../../secret.ts'
import type { VaultContext } from '../context.ts'
import { addressJwe, openJwe } from '../open-jwe.ts'

/**
 * Opens the JWE and gives its payload as the bytes that were sealed.
 *
 * @throws ERR_JWE_INVALID also for a kid of any other purpose, ERR_ALG_NOT_ALLOWED, ERR_JWE_DECRYPTION_FAILED;
 * ERR_JWE_PAYLOAD_INVALID if the payload is no JSON object that the strict reader takes, or if a member of it, at any depth, has a
 * name that PINs, PIN blocks, PRWs or MACs go by.
 */
export async function openData(context: VaultContext, request: RequestOf<'openData'>): Promise<AnswerOf<'openData'>> {
  const addressed = addressJwe(context, request.jwe, 'jwe-open', request.openKeys)
  using secrets = new SecretScope()
  const payload = await openJwe(context, addressed, secrets)
  const members = readMembers(payload, { refusesName: context.isPinMember })
  if (members === undefined) throw new ServiceError('ERR_JWE_PAYLOAD_INVALID')
  // A copy, which whoever sends it wipes: the slice is wiped before it is sent.
  return { packed: Buffer.from(payload), key: context.catalogue.refOf(addressed.key) }
}
