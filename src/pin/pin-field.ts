/**
 * The PIN field that the formats of ISO 9564-1 share, 16 nibbles: `C | L | P×L | filler×(14−L)`.
 *
 * C is the control nibble and names the format, L the PIN length 4–12, P a digit 0–9. The formats differ in the filler.
 * In formats 0 and 3 the PAN field is added to it; in format 4 it is the first half of a field of 16 bytes.
 * Loops, indexes and branches here do not depend on a digit, a length or a filler: every value goes through the same
 * steps, and what is wrong is collected in one number. JavaScript promises no constant time; there is just nothing here
 * that takes longer for one cause than for another.
 *
 * Clauses are those of ISO 9564-1:2017 as openemv/pinblock cites them.
 */
import { ServiceError } from '../errors.ts'
import { packPan, type Pan } from '../pan.ts'
import { panFieldByte } from './pan-field.ts'
import { MAX_PIN_DIGITS, MIN_PIN_DIGITS, type ClearPin } from './pin.ts'

/** The bytes of a PIN field, and of a PIN block of formats 0, 1, 2 and 3. */
export const PIN_BLOCK_BYTES = 8

/** The most filler nibbles a PIN field has: those of a PIN of 4 digits. */
export const MAX_FILLER_NIBBLES = 10

/** The nibbles behind C and L: digits and filler. */
const BODY_NIBBLES = MIN_PIN_DIGITS + MAX_FILLER_NIBBLES

/** For the formats without a PAN: adding its field changes nothing. */
const NO_PAN: Pan = packPan('0')

/** The `fill` of the formats whose filler is one nibble. */
export const NO_FILL: Uint8Array = new Uint8Array(MAX_FILLER_NIBBLES)

/** What tells one format's PIN field from another's. */
export interface PinFieldLayout {
  /** The control nibble C (ISO 9564-1:2017 9.3.1). */
  readonly control: number
  /** The least and the greatest value of a filler nibble. */
  readonly minFiller: number
  readonly maxFiller: number
  /** The bytes of the block that begins with the PIN field: 8, or 16 in format 4. */
  readonly blockBytes: number
}

/**
 * Writes a PIN field.
 *
 * @param pin - not wiped here, its owner does.
 * @param fill - 10 random bytes, one for each position behind the fourth digit; each becomes a filler nibble of the
 *   layout. Not wiped here.
 * @param target - the layout's `blockBytes`, which then begin with the clear PIN; wiped by its owner.
 * @param pan - the PAN whose field is added to the PIN field, if the format has one.
 * @throws ERR_INTERNAL if the PIN's length is not 4–12, a digit is over 9, or `fill` or `target` has another length;
 *   `target` then holds zeros.
 */
export function writePinField(
  layout: PinFieldLayout,
  { pin, pinDigits }: ClearPin,
  fill: Uint8Array,
  target: Uint8Array,
  pan: Pan = NO_PAN,
): void {
  target.fill(0)
  // Not data but a caller's mistake, such as encoding after a decode that returned 0: refused before any digit is read.
  if (!Number.isInteger(pinDigits) || pinDigits < MIN_PIN_DIGITS || pinDigits > MAX_PIN_DIGITS) throw internalError()
  if (pin.length < pinDigits || fill.length !== MAX_FILLER_NIBBLES) throw internalError()
  if (target.length !== layout.blockBytes) throw internalError()
  let bad = 0
  target[0] = (layout.control << 4) | pinDigits
  for (let i = 0; i < BODY_NIBBLES; i++) {
    const isDigit = -isBelow(i, pinDigits)
    const digit = i < pin.length ? pin[i]! : 0
    const filler = i < MIN_PIN_DIGITS ? 0 : fillerNibble(layout, fill[i - MIN_PIN_DIGITS]!)
    bad |= isDigit & isBelow(9, digit)
    const nibble = (digit & isDigit) | (filler & ~isDigit)
    target[1 + (i >> 1)]! |= nibble << (i & 1 ? 0 : 4)
  }
  if (bad !== 0) {
    target.fill(0)
    throw internalError()
  }
  for (let i = 0; i < PIN_BLOCK_BYTES; i++) target[i]! ^= panFieldByte(pan, i)
}

/**
 * Reads a PIN field strictly: control, length, every digit and every filler nibble, into one verdict.
 *
 * @param pinBlock - the deciphered block; its length is public, so another one than the layout's is refused at once.
 * @param digits - 12 bytes that take the PIN, one digit a byte, zeros behind it; all zeros if the block is invalid.
 *   Wiped by its owner.
 * @param pan - the PAN whose field was added to the PIN field, if the format has one.
 * @returns the number of PIN digits, 4–12, or 0 if anything is wrong.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 */
export function readPinField(
  layout: PinFieldLayout,
  pinBlock: Uint8Array,
  digits: Uint8Array,
  pan: Pan = NO_PAN,
): number {
  if (digits.length !== MAX_PIN_DIGITS) throw internalError()
  digits.fill(0)
  if (pinBlock.length !== layout.blockBytes) return 0
  // The first two bytes of a PAN field are 0, so C and L stand in the block as they are.
  const length = pinBlock[0]! & 0x0f
  let bad = (pinBlock[0]! >> 4) ^ layout.control
  bad |= isBelow(length, MIN_PIN_DIGITS) | isBelow(MAX_PIN_DIGITS, length)
  for (let i = 0; i < BODY_NIBBLES; i++) {
    const byte = pinBlock[1 + (i >> 1)]! ^ panFieldByte(pan, 1 + (i >> 1))
    const nibble = (byte >> (i & 1 ? 0 : 4)) & 0x0f
    const isDigit = -isBelow(i, length)
    const isWrongFiller = isBelow(nibble, layout.minFiller) | isBelow(layout.maxFiller, nibble)
    bad |= (isDigit & isBelow(9, nibble)) | (~isDigit & isWrongFiller)
    if (i < MAX_PIN_DIGITS) digits[i] = nibble & isDigit
  }
  const isValid = -isBelow(bad, 1)
  for (let i = 0; i < MAX_PIN_DIGITS; i++) digits[i]! &= isValid
  return length & isValid
}

/**
 * Maps a random byte to a filler nibble by min + ⌊n·byte/256⌋, n the number of nibbles that the layout permits.
 *
 * For n = 16 it is the byte's high nibble, for n = 1 a constant. For n = 6, without rejection, 43 bytes each lead to A,
 * B, D and E, 42 to C and F: 2.574 instead of 2.585 bits of min-entropy a nibble, 0.11 bits over the ten nibbles of a
 * 4-digit PIN.
 */
function fillerNibble({ minFiller, maxFiller }: PinFieldLayout, byte: number): number {
  return minFiller + (((maxFiller - minFiller + 1) * byte) >> 8)
}

/** 1 if `a` < `b`, else 0, without a branch; both are small and not negative. */
function isBelow(a: number, b: number): number {
  return (a - b) >>> 31
}

function internalError(): ServiceError {
  return new ServiceError('ERR_INTERNAL')
}
