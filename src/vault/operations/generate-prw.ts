/** Generates the PRW of the PIN in an enciphered PIN block. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { SecretScope } from '../../secret.ts'
import { decipherPin, layoutOf, panOf, pinBlockBytes } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { issuePrw, requestInputs } from '../profiled-mac.ts'

/** Deciphers the PIN block and computes the PRW by the key's profile. */
export async function generatePrw(
  { hsm, catalogue }: VaultContext,
  request: RequestOf<'generatePrw'>,
): Promise<AnswerOf<'generatePrw'>> {
  const prwKey = catalogue.profiledKey(request.key, 'prw', 'generate')
  const key = catalogue.zoneKey(request.from, 'in')
  const layout = layoutOf(request.from.format)
  const pinBlockUnderZpk = pinBlockBytes(request.pinBlock, layout)
  using secrets = new SecretScope()
  const clearPin = await decipherPin(hsm, { pinBlockUnderZpk, key, layout, pan: panOf(request.card.pan) }, secrets)
  const inputs = requestInputs(request.card, request.change)
  const { value, ...issued } = await issuePrw(hsm, prwKey, clearPin, inputs)
  return { prw: value, ...issued }
}
