/** The PAN fields that ISO 9564-1 adds to the PIN field, or to what became of it. */
import { MIN_PAN_DIGITS, PAN_NIBBLES, panNibble, type Pan } from '../pan.ts'

/**
 * One byte of the PAN field of formats 0 and 3.
 *
 * Layout, 16 nibbles: `0000 | A×12`, A the 12 rightmost digits of the PAN without its check digit. A PAN of 12 digits
 * gives 11, right-aligned and padded to the left with 0.
 *
 * @param index - 0–7.
 * @see ISO 9564-1:2017 9.3.2.3 and 9.3.5.3
 */
export function panFieldByte(pan: Pan, index: number): number {
  // The check digit is the last nibble, so the field is the packed PAN moved right by one.
  return index < 2 ? 0 : ((pan[index + 1]! & 0x0f) << 4) | (pan[index + 2]! >> 4)
}

/**
 * XORs the plain text PAN field of format 4 into `target` (16 bytes).
 *
 * Layout, 32 nibbles: `M | A×(12+M) | 0×(19−M)`, A the whole PAN with its check digit, left-aligned, and M its digits
 * beyond 12. A shorter PAN is padded to the left with 0 to 12 digits, and M is 0.
 *
 * @see ISO 9564-1:2017 9.4.2.2.3
 */
export function xorPanField4(pan: Pan, target: Uint8Array): void {
  let first = 0
  while (first < PAN_NIBBLES - MIN_PAN_DIGITS && panNibble(pan, first) === 0) first++
  target[0]! ^= (PAN_NIBBLES - MIN_PAN_DIGITS - first) << 4
  for (let i = first, j = 1; i < PAN_NIBBLES; i++, j++) target[j >> 1]! ^= panNibble(pan, i) << (j & 1 ? 0 : 4)
}
