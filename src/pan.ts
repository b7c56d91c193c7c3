/** The primary account number: its form, and how it is packed. */

/** The form of a PAN as a regular expression source: 12–19 digits, the first 1–9, the last the check digit. */
export const PAN_PATTERN = '^[1-9][0-9]{11,18}$'

const PAN = new RegExp(PAN_PATTERN)

/** The bytes of a packed PAN. */
export const PAN_BYTES = 10

/** The nibbles of a packed PAN. */
export const PAN_NIBBLES = 2 * PAN_BYTES

/** The fewest digits of a PAN. */
export const MIN_PAN_DIGITS = 12

/**
 * A PAN, packed: 20 nibbles of BCD, right-aligned, filled with 0 to the left.
 *
 * No PAN begins with 0, so its length stands in it. Bytes and not a string, so that a batch of PANs is one buffer, and
 * that it can be overwritten.
 */
export type Pan = Uint8Array & { readonly __brand: 'Pan' }

/**
 * Takes `text` for a PAN; undefined unless it has the form of one. The check digit is not verified: not every issuer
 * uses Luhn.
 */
export function parsePan(text: string): Pan | undefined {
  return PAN.test(text) ? packPan(text) : undefined
}

/** Packs 1–19 digits: the PANs of fewer than 12 that format 4 can bind are not of this contract, but of its layout. */
export function packPan(digits: string): Pan {
  // Of its own, not from the pool that small buffers share: that keeps what it once held.
  const pan = Buffer.alloc(PAN_BYTES)
  pan.write(digits.padStart(PAN_NIBBLES, '0'), 'hex')
  return pan as Uint8Array as Pan
}

/** The digits of a packed PAN. */
export function panText(pan: Pan): string {
  return Buffer.from(pan).toString('hex').replace(/^0+/, '')
}

/** How many digits a packed PAN has, or 0 if it is none of 12–19 decimal digits. */
export function panDigits(pan: Uint8Array): number {
  let digits = 0
  for (let i = 0; i < PAN_NIBBLES; i++) {
    const nibble = panNibble(pan, i)
    if (nibble > 9) return 0
    if (digits > 0 || nibble > 0) digits++
  }
  return digits >= MIN_PAN_DIGITS && digits < PAN_NIBBLES ? digits : 0
}

/** A nibble of a packed PAN, by its place from the left. */
export function panNibble(pan: Uint8Array, index: number): number {
  return (pan[index >> 1]! >> (index & 1 ? 0 : 4)) & 0x0f
}
