/** Seals a digest of the audit record by the audit-mac key. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { encodeHex } from '../../bytes.ts'
import { keyRef } from '../../hsm/key-catalogue.ts'
import { sealMessage } from '../../audit/seal-message.ts'
import type { VaultContext } from '../context.ts'

/**
 * Makes the AES-CMAC over the digest and this vault's own clock.
 *
 * The time is the vault's, because a gateway that is taken over could have an old record sealed anew: then the seal says when.
 */
export async function sealAudit(
  { hsm, catalogue }: VaultContext,
  request: RequestOf<'sealAudit'>,
): Promise<AnswerOf<'sealAudit'>> {
  const key = catalogue.auditKey(request.key)
  const sealedAtMs = Date.now()
  const mac = await hsm.generateMac(key, 'AES-CMAC', sealMessage(request.digest, sealedAtMs))
  return { mac: encodeHex(mac), sealedAtMs, key: keyRef(key) }
}
