/** jwe/seal: data of a card or a consumer for D1, sealed to a data recipient; the contract's schema keeps PIN blocks out (M-37). */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import { sealEcdhEs, sealRsaOaep256 } from '../../jwe/seal.ts'
import { SecretScope } from '../../secret.ts'
import type { VaultContext } from '../context.ts'

/**
 * Seals the payload as JSON.
 *
 * @throws ERR_KEY_USE_FORBIDDEN for an unknown recipient, and for one that PINs are sealed to.
 */
export async function sealData(
  { dataRecipients }: Pick<VaultContext, 'dataRecipients'>,
  request: RequestOf<'sealData'>,
): Promise<AnswerOf<'sealData'>> {
  const recipient = dataRecipients.get(request.recipient)
  if (recipient === undefined) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  using secrets = new SecretScope()
  const payload = secrets.adopt(Buffer.from(JSON.stringify(request.payload)))
  const jwe =
    recipient.alg === 'ECDH-ES'
      ? sealEcdhEs({ recipient, payload }, secrets)
      : sealRsaOaep256({ recipient, payload }, secrets)
  return { jwe }
}
