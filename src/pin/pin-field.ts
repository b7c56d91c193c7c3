/**
 * The PIN field that the formats of ISO 9564-1 share, 16 nibbles: `C | L | P×L | filler×(14−L)` (M-10).
 *
 * C is the control nibble and names the format, L the PIN length 4–12, P a digit 0–9. The formats differ in the filler.
 * In formats 0 and 3 the PAN field is added to it; in format 4 it is the first half of a field of 16 bytes.
 * A field is read and written as two words of 32 bits, eight nibbles each, and every nibble of a word goes through the
 * same steps at once. Loops, indexes and branches do not depend on a digit, a length or a filler: what they decide is a
 * mask, and what is wrong is collected in one number. JavaScript promises no constant time; there is just nothing here
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
/** How many of them stand in the first word, behind C and L, and where. */
const HIGH_BODY_NIBBLES = 6
const HIGH_BODY = 0x00ffffff
const LOW_BODY_NIBBLES = BODY_NIBBLES - HIGH_BODY_NIBBLES

const EVERY_BYTE = 0x01010101
const EVERY_NIBBLE = 0x11111111
const LOW_HALVES = 0x0f0f0f0f
const CARRIES = 0x10101010

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
  wipe(target)
  // Not data but a caller's mistake, such as encoding after a decode that returned 0: refused before any digit is read.
  if (!Number.isInteger(pinDigits) || pinDigits < MIN_PIN_DIGITS || pinDigits > MAX_PIN_DIGITS) throw internalError()
  if (pin.length < pinDigits || fill.length !== MAX_FILLER_NIBBLES) throw internalError()
  if (target.length !== layout.blockBytes) throw internalError()
  let over = 0
  let high = 0
  let low = 0
  for (let i = 0; i < HIGH_BODY_NIBBLES; i++) {
    const j = HIGH_BODY_NIBBLES + i
    // Behind the end of a short slice stands nothing, and nothing masked is 0.
    const digit = pin[i]! & -isBelow(i, pinDigits)
    const lowDigit = pin[j]! & -isBelow(j, pinDigits)
    over |= digit | lowDigit
    high |= digit << (20 - 4 * i)
    low |= lowDigit << (28 - 4 * i)
  }
  if ((over >>> 4) | outside(high, HIGH_BODY, 0, 9) | outside(low, -1, 0, 9)) throw internalError()
  const highDigits = highDigitMask(pinDigits)
  const lowDigits = lowDigitMask(pinDigits)
  high |= (layout.control << 28) | (pinDigits << 24) | (highFiller(layout, fill) & HIGH_BODY & ~highDigits)
  low |= lowFiller(layout, fill) & ~lowDigits
  putWord(target, 0, high ^ panFieldHigh(pan))
  putWord(target, 4, low ^ panFieldLow(pan))
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
  if (pinBlock.length !== layout.blockBytes) {
    wipe(digits)
    return 0
  }
  const high = wordAt(pinBlock, 0) ^ panFieldHigh(pan)
  const low = wordAt(pinBlock, 4) ^ panFieldLow(pan)
  const length = (high >>> 24) & 0x0f
  let bad = (high >>> 28) ^ layout.control
  bad |= isBelow(length, MIN_PIN_DIGITS) | isBelow(MAX_PIN_DIGITS, length)
  const highDigits = highDigitMask(length)
  const lowDigits = lowDigitMask(length)
  const { minFiller, maxFiller } = layout
  bad |= outside(high, highDigits, 0, 9) | outside(high, HIGH_BODY & ~highDigits, minFiller, maxFiller)
  bad |= outside(low, lowDigits, 0, 9) | outside(low, ~lowDigits, minFiller, maxFiller)
  const isValid = -(((bad | -bad) >>> 31) ^ 1)
  const ofHigh = high & highDigits & isValid
  const ofLow = low & lowDigits & isValid
  for (let i = 0; i < HIGH_BODY_NIBBLES; i++) {
    digits[i] = (ofHigh >>> (20 - 4 * i)) & 0x0f
    digits[HIGH_BODY_NIBBLES + i] = (ofLow >>> (28 - 4 * i)) & 0x0f
  }
  return length & isValid
}

/** All ones where the first 6 of `length` digits stand. */
function highDigitMask(length: number): number {
  return HIGH_BODY & ~(HIGH_BODY >>> (4 * atMost(length, HIGH_BODY_NIBBLES)))
}

/** All ones where the others stand, at most 6 of them: a longer PIN is none. */
function lowDigitMask(length: number): number {
  const digits = atMost(length - atMost(length, HIGH_BODY_NIBBLES), MAX_PIN_DIGITS - HIGH_BODY_NIBBLES)
  return ~(-1 >>> (4 * digits))
}

/** The 4 bytes at `index` as a word. */
function wordAt(bytes: Uint8Array, index: number): number {
  return (bytes[index]! << 24) | (bytes[index + 1]! << 16) | (bytes[index + 2]! << 8) | bytes[index + 3]!
}

/** The PAN field's first 4 bytes as a word: the first two of them are 0. */
function panFieldHigh(pan: Pan): number {
  return (panFieldByte(pan, 2) << 8) | panFieldByte(pan, 3)
}

/** The PAN field's last 4 bytes as a word. */
function panFieldLow(pan: Pan): number {
  return (
    (panFieldByte(pan, 4) << 24) | (panFieldByte(pan, 5) << 16) | (panFieldByte(pan, 6) << 8) | panFieldByte(pan, 7)
  )
}

function putWord(target: Uint8Array, index: number, word: number): void {
  target[index] = word >>> 24
  target[index + 1] = word >>> 16
  target[index + 2] = word >>> 8
  target[index + 3] = word
}

/** A loop, because a call of fill() costs as much as all the rest. */
function wipe(bytes: Uint8Array): void {
  for (let i = 0; i < bytes.length; i++) bytes[i] = 0
}

/** The lesser of two numbers, neither large, without a branch. */
function atMost(value: number, limit: number): number {
  const over = value - limit
  return limit + (over & (over >> 31))
}

/** Not 0 if any nibble of `word` that `mask` covers is less than `least` or more than `most`. */
function outside(word: number, mask: number, least: number, most: number): number {
  // Every other nibble in a byte of its own: what is added carries into the upper half exactly if the nibble is too large.
  const below = (16 - least) * EVERY_BYTE
  const above = (15 - most) * EVERY_BYTE
  const even = (word >>> 4) & LOW_HALVES
  const odd = word & LOW_HALVES
  const ofEven = (~(even + below) | (even + above)) & (mask & ~LOW_HALVES)
  const ofOdd = (~(odd + below) | (odd + above)) & ((mask & LOW_HALVES) << 4)
  return (ofEven | ofOdd) & CARRIES
}

/** Filler for every place of the high word where it may stand; the others hold anything. */
function highFiller(layout: PinFieldLayout, fill: Uint8Array): number {
  if (layout.minFiller === layout.maxFiller) return layout.minFiller * EVERY_NIBBLE
  return (fillerNibble(layout, fill[0]!) << 4) | fillerNibble(layout, fill[1]!)
}

/** Filler for every place of the low word. */
function lowFiller(layout: PinFieldLayout, fill: Uint8Array): number {
  if (layout.minFiller === layout.maxFiller) return layout.minFiller * EVERY_NIBBLE
  let word = 0
  for (let i = 0; i < LOW_BODY_NIBBLES; i++) word = (word << 4) | fillerNibble(layout, fill[2 + i]!)
  return word
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
