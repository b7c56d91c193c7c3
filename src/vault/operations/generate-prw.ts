/** Generates the PRW of the PIN in an enciphered PIN block. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { SecretScope } from '../../secret.ts'
import { readPin } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { issuePrw, requestInputs } from '../profiled-mac.ts'

/** Deciphers the PIN block and computes the PRW by the key's profile. */
export async function generatePrw(
  context: VaultContext,
  request: RequestOf<'generatePrw'>,
): Promise<AnswerOf<'generatePrw'>> {
  const { catalogue } = context
  const prwKey = catalogue.generatingKey(request.key, 'prw')
  const zoneKey = catalogue.zoneKey(request.from, 'in')
  using secrets = new SecretScope()
  const clearPin = await readPin(context, zoneKey, request, secrets)
  const inputs = requestInputs(request.card, request.change)
  const { value, ...issued } = await issuePrw(context.hsm, prwKey, clearPin, inputs)
  return { prw: value, ...issued, usedKeys: [catalogue.refOf(zoneKey)] }
}
