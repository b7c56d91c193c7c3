/** The primary account number and the PAN field that ISO 9564-1 formats 0 and 3 add to the PIN field. */

/** The form of a PAN as a regular expression source: 12–19 digits, the first 1–9, the last the check digit. */
export const PAN_PATTERN = '^[1-9][0-9]{11,18}$'

const PAN = new RegExp(PAN_PATTERN)

/** A PAN that has passed `parsePan`. */
export type Pan = string & { readonly __brand: 'Pan' }

/**
 * Takes `text` for a PAN; undefined unless it has the form of one. The check digit is not verified: not every issuer
 * uses Luhn.
 */
export function parsePan(text: string): Pan | undefined {
  return PAN.test(text) ? (text as Pan) : undefined
}

/**
 * Encodes the PAN field of formats 0 and 3.
 *
 * Layout, 16 nibbles: `0000 | A×12`, A the 12 rightmost digits of the PAN without its check digit. A PAN of 12 digits
 * gives 11, right-aligned and padded to the left with 0.
 *
 * @returns 8 bytes: cardholder data like the PAN itself, but no PIN, so nobody needs to wipe them.
 * @see ISO 9564-1:2017 9.3.2.3 and 9.3.5.3
 */
export function panField(pan: Pan): Buffer {
  const digits = pan.slice(0, -1).slice(-12).padStart(12, '0')
  return Buffer.from(`0000${digits}`, 'hex')
}
