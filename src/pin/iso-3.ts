/** ISO 9564-1 format 3: format 0 with random filler from A to F, so that equal PINs give unequal blocks. */
import type { Pan } from '../pan.ts'
import { PIN_BLOCK_BYTES, readPinField, writePinField, type PinFieldLayout } from './pin-field.ts'
import type { ClearPin } from './pin.ts'

const LAYOUT: PinFieldLayout = { control: 0x3, minFiller: 0xa, maxFiller: 0xf, blockBytes: PIN_BLOCK_BYTES }

/**
 * Encodes a PIN as an ISO 9564-1 format 3 PIN block.
 *
 * Layout, 16 nibbles: `3 | L | P×L | R×(14−L)` XOR `0000 | A×12`, R a random nibble from A to F: here from the last
 * 14−L bytes of `fill`.
 *
 * @param input - the PIN, the PAN it is bound to, and 10 random bytes of `fill` (injected, so that vectors are
 *   reproducible); not wiped here.
 * @param target - 8 bytes, which then hold the clear PIN block; wiped by its owner.
 * @throws ERR_INTERNAL if the PIN is not 4–12 digits, `fill` not 10 bytes or `target` not 8.
 * @see ISO 9564-1:2017 9.3.5
 */
export function encodeIso3(
  input: ClearPin & { readonly pan: Pan; readonly fill: Uint8Array },
  target: Uint8Array,
): void {
  writePinField(LAYOUT, input, input.fill, target, input.pan)
}

/**
 * Decodes an ISO 9564-1 format 3 PIN block; a wrong PAN shows only where it takes a filler nibble below A or a digit
 * above 9.
 *
 * @param input - the clear PIN block, not wiped here, and the PAN it is bound to.
 * @param digits - 12 bytes that take the PIN, all zeros if the block is invalid; wiped by its owner.
 * @returns the number of PIN digits, 4–12, or 0 if the block is invalid for whatever cause.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 * @see ISO 9564-1:2017 9.3.5
 */
export function decodeIso3(input: { readonly pinBlock: Uint8Array; readonly pan: Pan }, digits: Uint8Array): number {
  return readPinField(LAYOUT, input.pinBlock, digits, input.pan)
}
