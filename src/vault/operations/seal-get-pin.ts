/** pin/get: translates the stored PIN block to ISO format 0 and seals it to a configured recipient. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { encodeHexBytes } from '../../bytes.ts'
import type { D1Profile } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { sealEcdhEs, sealRsaOaep256 } from '../../jwe/seal.ts'
import { translationVerdict } from '../../pin/translation-policy.ts'
import { SecretScope } from '../../secret.ts'
import { encodePin, layoutOf, panOf, readPin } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'

/** Deciphers, encodes as ISO 0, seals; the clear block and the payload stay in one scope. */
export async function sealGetPin(
  context: VaultContext,
  request: RequestOf<'sealGetPin'>,
): Promise<AnswerOf<'sealGetPin'>> {
  const { hsm, catalogue } = context
  const recipient = context.recipients.get(request.recipient)
  if (recipient === undefined) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
  // SECCOS carries no PAN, so nothing here could tell whose PIN it is.
  if (translationVerdict(request.from.format, 'ISO-0') !== 'permitted') {
    throw new ServiceError('ERR_TRANSLATION_FORBIDDEN')
  }
  const zoneKey = catalogue.zoneKey(request.from, 'in')
  const { innerKey } = recipient.profile
  const outgoingKey = innerKey === undefined ? undefined : catalogue.zoneKey({ key: innerKey, format: 'ISO-0' }, 'out')

  using secrets = new SecretScope()
  const clearPin = await readPin(context, zoneKey, request, secrets)
  const clearBlock = await encodePin(hsm, clearPin, layoutOf('ISO-0'), panOf(request.card.pan), secrets)
  const pinBlock = outgoingKey === undefined ? clearBlock : await hsm.encipherBlocks(outgoingKey, clearBlock)
  const payload = encodePayload(pinBlock, recipient.profile, secrets)
  return {
    encryptedPinBlock:
      recipient.alg === 'ECDH-ES'
        ? sealEcdhEs({ recipient, payload }, secrets)
        : sealRsaOaep256({ recipient, payload }, secrets),
    usedKeys: [zoneKey, ...(outgoingKey ? [outgoingKey] : [])].map((key) => catalogue.refOf(key)),
  }
}

/** `{"<pinBlock>":"<16 hex>"}`, written as bytes: the value is secret, the member's name is configuration. */
function encodePayload(pinBlock: Buffer, profile: D1Profile, secrets: SecretScope): Buffer {
  const before = Buffer.from(`{${JSON.stringify(profile.members.pinBlock)}:"`)
  const after = Buffer.from('"}')
  const payload = secrets.take(before.length + 2 * pinBlock.length + after.length)
  payload.set(before)
  encodeHexBytes(pinBlock, payload.subarray(before.length), profile.hexCase)
  payload.set(after, payload.length - after.length)
  return payload
}
