/** Verifies a PRW against the PIN in an enciphered PIN block. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { SecretScope } from '../../secret.ts'
import { readPin } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { hexBytes, keysThatFit, refsOf, requestInputs, verifyingKey } from '../profiled-mac.ts'

/**
 * Deciphers the PIN block, computes the PRW anew under each version of the key, and compares; that none matches is a result and not
 * an error.
 */
export async function verifyPrw(
  context: VaultContext,
  request: RequestOf<'verifyPrw'>,
): Promise<AnswerOf<'verifyPrw'>> {
  const { hsm, catalogue } = context
  const { keys, expected } = keysThatFit(catalogue.verifyingKeys(request.key, 'prw'), request.prw)
  const zoneKey = catalogue.zoneKey(request.from, 'in')
  using secrets = new SecretScope()
  const clearPin = await readPin(context, zoneKey, request, secrets)
  const inputs = {
    ...requestInputs(request.card, request.change),
    ...clearPin,
    randomNumber: hexBytes(request.randomNumber),
  }
  const prwKey = await verifyingKey(hsm, keys, inputs, expected)
  return {
    verified: prwKey !== undefined,
    usedKeys: [catalogue.refOf(zoneKey), ...refsOf(catalogue, prwKey ? [prwKey] : keys)],
  }
}
