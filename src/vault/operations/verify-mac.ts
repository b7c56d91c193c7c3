/** Verifies the MAC of an enciphered PIN block; nothing is deciphered. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import type { VaultContext } from '../context.ts'
import { expectedValue, verifies } from '../profiled-mac.ts'
import { macInputs } from './generate-mac.ts'

/** Computes the MAC anew and compares; a mismatch is a result and not an error. */
export async function verifyMac(
  { hsm, catalogue }: VaultContext,
  request: RequestOf<'verifyMac'>,
): Promise<AnswerOf<'verifyMac'>> {
  const macKey = catalogue.profiledKey(request.key, 'pin-mac', 'verify')
  const expected = expectedValue(macKey, request.mac)
  return { verified: await verifies(hsm, macKey, macInputs(request), expected) }
}
