/**
 * The PIN field that formats 0, 1, 2 and 3 of ISO 9564-1 share, 16 nibbles: `C | L | P×L | filler×(14−L)`.
 *
 * C is the control nibble and names the format, L the PIN length 4–12, P a digit 0–9. The formats differ in the filler.
 * Loops, indexes and branches here do not depend on a digit, a length or a filler: every value goes through the same
 * steps, and what is wrong is collected in one number. JavaScript promises no constant time; there is just nothing here
 * that takes longer for one cause than for another.
 *
 * Clauses are those of ISO 9564-1:2017 as openemv/pinblock cites them.
 */
import { ServiceError } from '../errors.ts'
import { MAX_PIN_DIGITS, MIN_PIN_DIGITS, type ClearPin } from './pin.ts'

/** The bytes of a PIN block of formats 0, 1, 2 and 3. */
export const PIN_BLOCK_BYTES = 8

/** The most filler nibbles a PIN field has: those of a PIN of 4 digits. */
export const MAX_FILLER_NIBBLES = 10

/** The nibbles behind C and L: digits and filler. */
const BODY_NIBBLES = MIN_PIN_DIGITS + MAX_FILLER_NIBBLES

/** For the formats without a PAN: adding it changes nothing. */
const NO_PAN_FIELD: Uint8Array = new Uint8Array(PIN_BLOCK_BYTES)

/** What tells one format's PIN field from another's. */
export interface PinFieldLayout {
  /** The control nibble C (ISO 9564-1:2017 9.3.1). */
  readonly control: number
  /** The least value of a filler nibble; the greatest is always F. */
  readonly minFiller: number
}

/**
 * Writes a PIN field.
 *
 * @param pin - not wiped here, its owner does.
 * @param fillerAt - the filler nibble for the position `index` (0–9) behind the fourth digit; asked for all ten,
 *   whatever the length.
 * @param target - 8 bytes, which then hold the clear PIN; wiped by its owner.
 * @throws ERR_INTERNAL if the length is not 4–12, a digit is over 9, or `target` is not 8 bytes; `target` then holds
 *   zeros.
 */
export function writePinField(
  layout: PinFieldLayout,
  { pin, pinDigits }: ClearPin,
  fillerAt: (index: number) => number,
  target: Uint8Array,
): void {
  target.fill(0)
  // Not data but a caller's mistake, such as encoding after a decode that returned 0: refused before any digit is read.
  if (!Number.isInteger(pinDigits) || pinDigits < MIN_PIN_DIGITS || pinDigits > MAX_PIN_DIGITS) throw internalError()
  if (pin.length < pinDigits || target.length !== PIN_BLOCK_BYTES) throw internalError()
  let bad = 0
  target[0] = (layout.control << 4) | pinDigits
  for (let i = 0; i < BODY_NIBBLES; i++) {
    const isDigit = -isBelow(i, pinDigits)
    const digit = pin[i] ?? 0
    const filler = i < MIN_PIN_DIGITS ? 0 : fillerAt(i - MIN_PIN_DIGITS)
    bad |= isDigit & isBelow(9, digit)
    const nibble = (digit & isDigit) | (filler & ~isDigit)
    target[1 + (i >> 1)]! |= nibble << (i & 1 ? 0 : 4)
  }
  if (bad !== 0) {
    target.fill(0)
    throw internalError()
  }
}

/**
 * Reads a PIN field strictly: control, length, every digit and every filler nibble, into one verdict.
 *
 * @param pinBlock - the deciphered block; its length is public, so another length than 8 bytes is refused at once.
 * @param digits - 12 bytes that take the PIN, one digit a byte, zeros behind it; all zeros if the block is invalid.
 *   Wiped by its owner.
 * @param panField - the PAN field that was added to the PIN field, if the format has one.
 * @returns the number of PIN digits, 4–12, or 0 if anything is wrong.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 */
export function readPinField(
  layout: PinFieldLayout,
  pinBlock: Uint8Array,
  digits: Uint8Array,
  panField: Uint8Array = NO_PAN_FIELD,
): number {
  if (digits.length !== MAX_PIN_DIGITS) throw internalError()
  digits.fill(0)
  if (pinBlock.length !== PIN_BLOCK_BYTES) return 0
  // The first two bytes of a PAN field are 0, so C and L stand in the block as they are.
  const length = pinBlock[0]! & 0x0f
  let bad = (pinBlock[0]! >> 4) ^ layout.control
  bad |= isBelow(length, MIN_PIN_DIGITS) | isBelow(MAX_PIN_DIGITS, length)
  for (let i = 0; i < BODY_NIBBLES; i++) {
    const byte = pinBlock[1 + (i >> 1)]! ^ panField[1 + (i >> 1)]!
    const nibble = (byte >> (i & 1 ? 0 : 4)) & 0x0f
    const isDigit = -isBelow(i, length)
    bad |= (isDigit & isBelow(9, nibble)) | (~isDigit & isBelow(nibble, layout.minFiller))
    if (i < MAX_PIN_DIGITS) digits[i] = nibble & isDigit
  }
  const isValid = -isBelow(bad, 1)
  for (let i = 0; i < MAX_PIN_DIGITS; i++) digits[i]! &= isValid
  return length & isValid
}

/** 1 if `a` < `b`, else 0, without a branch; both are small and not negative. */
function isBelow(a: number, b: number): number {
  return (a - b) >>> 31
}

function internalError(): ServiceError {
  return new ServiceError('ERR_INTERNAL')
}
