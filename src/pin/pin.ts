/**
 * What a clear PIN is here, and the names of the PIN block formats.
 *
 * A clear PIN is never a string: strings cannot be wiped. It is a slice of the caller's SecretScope, one digit a byte.
 */

/** The fewest digits a PIN has (ISO 9564-1:2017 8.1). */
export const MIN_PIN_DIGITS = 4

/** The most digits a PIN has (ISO 9564-1:2017 8.1), and the bytes of a slice that takes any PIN. */
export const MAX_PIN_DIGITS = 12

/** A PIN block format as the contract names it: ISO 9564-1 by number, and the SECCOS block with its format 2 layout. */
export type PinFormat = 'ISO-0' | 'ISO-1' | 'ISO-3' | 'ISO-4' | 'SECCOS'

/** A clear PIN; both parts are secret, and the owner of the slice wipes it. */
export interface ClearPin {
  /** One digit (0–9) a byte, the first `pinDigits` bytes; what follows them is not looked at. */
  readonly pin: Uint8Array
  /** How many digits the PIN has, 4–12. */
  readonly pinDigits: number
}
