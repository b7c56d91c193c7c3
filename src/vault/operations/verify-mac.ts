/** Verifies the MAC of an enciphered PIN block; nothing is deciphered. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import type { VaultContext } from '../context.ts'
import { keysThatFit, refsOf, verifyingKey } from '../profiled-mac.ts'
import { macInputs } from './generate-mac.ts'

/** Computes the MAC anew under each version of the key, and compares; that none matches is a result and not an error. */
export async function verifyMac(
  { hsm, catalogue }: VaultContext,
  request: RequestOf<'verifyMac'>,
): Promise<AnswerOf<'verifyMac'>> {
  const { keys, expected } = keysThatFit(catalogue.verifyingKeys(request.key, 'pin-mac'), request.mac)
  const macKey = await verifyingKey(hsm, keys, macInputs(request), expected)
  return { verified: macKey !== undefined, usedKeys: refsOf(catalogue, macKey ? [macKey] : keys) }
}
