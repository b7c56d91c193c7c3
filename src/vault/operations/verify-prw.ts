/** Verifies a PRW against the PIN in an enciphered PIN block. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { SecretScope } from '../../secret.ts'
import { readPin } from '../clear-pin.ts'
import type { VaultContext } from '../context.ts'
import { expectedValue, hexBytes, requestInputs, verifies } from '../profiled-mac.ts'

/** Deciphers the PIN block, computes the PRW anew and compares; a mismatch is a result and not an error. */
export async function verifyPrw(
  context: VaultContext,
  request: RequestOf<'verifyPrw'>,
): Promise<AnswerOf<'verifyPrw'>> {
  const prwKey = context.catalogue.profiledKey(request.key, 'prw', 'verify')
  const expected = expectedValue(prwKey, request.prw)
  using secrets = new SecretScope()
  const clearPin = await readPin(context, request, secrets)
  const inputs = {
    ...requestInputs(request.card, request.change),
    ...clearPin,
    randomNumber: hexBytes(request.randomNumber),
  }
  return { verified: await verifies(context.hsm, prwKey, inputs, expected) }
}
