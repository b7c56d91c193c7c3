/** Verifies a PRW against the PIN in an enciphered PIN block. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { SecretScope } from '../../secret.ts'
import { decipherPin, layoutOf, panOf, pinBlockBytes } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { hexBytes, requestInputs, verifies } from '../profiled-mac.ts'

/** Deciphers the PIN block, computes the PRW anew and compares; a mismatch is a result and not an error. */
export async function verifyPrw(
  { hsm, catalogue }: VaultContext,
  request: RequestOf<'verifyPrw'>,
): Promise<AnswerOf<'verifyPrw'>> {
  const prwKey = catalogue.profiledKey(request.key, 'prw', 'verify')
  const key = catalogue.zoneKey(request.from, 'in')
  const layout = layoutOf(request.from.format)
  const pinBlockUnderZpk = pinBlockBytes(request.pinBlock, layout)
  using secrets = new SecretScope()
  const clearPin = await decipherPin(hsm, { pinBlockUnderZpk, key, layout, pan: panOf(request.card.pan) }, secrets)
  const inputs = {
    ...requestInputs(request.card, request.change),
    ...clearPin,
    randomNumber: hexBytes(request.randomNumber),
  }
  return { verified: await verifies(hsm, prwKey, inputs, Buffer.from(request.prw, 'hex')) }
}
