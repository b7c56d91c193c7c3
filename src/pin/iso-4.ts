/**
 * ISO 9564-1 format 4: a PIN field of 16 bytes that AES enciphers twice, with the PAN field added in between.
 *
 * `C = E_K(E_K(PIN field) XOR PAN field)` (ISO 9564-1:2017 9.4.2.3): what this file writes and reads is the PIN field;
 * the PAN field is `xorPanField4`, and the two passes are the caller's, who has the key. A wrong PAN makes the whole PIN
 * field random.
 */
import { ServiceError } from '../errors.ts'
import { NO_FILL, PIN_BLOCK_BYTES, readPinField, writePinField, type PinFieldLayout } from './pin-field.ts'
import type { ClearPin } from './pin.ts'

/** The bytes of a PIN field, and of a block, of format 4. */
export const ISO4_BLOCK_BYTES = 16

const LAYOUT: PinFieldLayout = { control: 0x4, minFiller: 0xa, maxFiller: 0xa, blockBytes: ISO4_BLOCK_BYTES }

/** The random bytes that stand in the second half of the PIN field. */
export const ISO4_FILL_BYTES = 8

/**
 * Encodes a PIN as the plain text PIN field of ISO 9564-1 format 4.
 *
 * Layout, 32 nibbles: `4 | L | P×L | A×(14−L) | R×16`, R random: here the 8 bytes of `fill`.
 *
 * @param input - the PIN and `fill` (injected, so that vectors are reproducible); not wiped here.
 * @param target - 16 bytes, which then hold the clear PIN field; wiped by its owner.
 * @throws ERR_INTERNAL if the PIN is not 4–12 digits, `fill` not 8 bytes or `target` not 16.
 * @see ISO 9564-1:2017 9.4.2.2.2
 */
export function encodeIso4(input: ClearPin & { readonly fill: Uint8Array }, target: Uint8Array): void {
  const { fill } = input
  if (fill.length !== ISO4_FILL_BYTES) throw new ServiceError('ERR_INTERNAL')
  writePinField(LAYOUT, input, NO_FILL, target)
  for (let i = 0; i < ISO4_FILL_BYTES; i++) target[PIN_BLOCK_BYTES + i] = fill[i]!
}

/**
 * Decodes the plain text PIN field of ISO 9564-1 format 4; every filler nibble is A, the random half may hold anything.
 *
 * @param input - the PIN field, 16 bytes, not wiped here.
 * @param digits - 12 bytes that take the PIN, all zeros if the field is invalid; wiped by its owner.
 * @returns the number of PIN digits, 4–12, or 0 if the field is invalid for whatever cause.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 * @see ISO 9564-1:2017 9.4.2.2.2
 */
export function decodeIso4(input: { readonly pinBlock: Uint8Array }, digits: Uint8Array): number {
  return readPinField(LAYOUT, input.pinBlock, digits)
}
