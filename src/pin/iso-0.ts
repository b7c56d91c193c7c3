/** ISO 9564-1 format 0 (ANSI X9.8): the PIN field, filled with F, XOR the PAN field. */
import type { Pan } from '../pan.ts'
import { NO_FILL, PIN_BLOCK_BYTES, readPinField, writePinField, type PinFieldLayout } from './pin-field.ts'
import type { ClearPin } from './pin.ts'

const LAYOUT: PinFieldLayout = { control: 0x0, minFiller: 0xf, maxFiller: 0xf, blockBytes: PIN_BLOCK_BYTES }

/**
 * Encodes a PIN as an ISO 9564-1 format 0 PIN block.
 *
 * Layout, 16 nibbles: `0 | L | P×L | F×(14−L)` XOR `0000 | A×12`
 *
 * @param input - the PIN, not wiped here, and the PAN it is bound to.
 * @param target - 8 bytes, which then hold the clear PIN block; wiped by its owner.
 * @throws ERR_INTERNAL if the PIN is not 4–12 digits or `target` is not 8 bytes.
 * @see ISO 9564-1:2017 9.3.2
 */
export function encodeIso0(input: ClearPin & { readonly pan: Pan }, target: Uint8Array): void {
  writePinField(LAYOUT, input, NO_FILL, target, input.pan)
}

/**
 * Decodes an ISO 9564-1 format 0 PIN block; every filler nibble is F, so a wrong PAN shows wherever it meets the
 * filler.
 *
 * It does not show where it meets digits and leaves them digits: the block binds a short PIN better than a long one.
 *
 * @param input - the clear PIN block, not wiped here, and the PAN it is bound to.
 * @param digits - 12 bytes that take the PIN, all zeros if the block is invalid; wiped by its owner.
 * @returns the number of PIN digits, 4–12, or 0 if the block is invalid for whatever cause.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 * @see ISO 9564-1:2017 9.3.2
 */
export function decodeIso0(input: { readonly pinBlock: Uint8Array; readonly pan: Pan }, digits: Uint8Array): number {
  return readPinField(LAYOUT, input.pinBlock, digits, input.pan)
}
