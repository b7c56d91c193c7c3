/** ISO 9564-1 format 1: the PIN field, filled with a transaction field, and no PAN. */
import { PIN_BLOCK_BYTES, readPinField, writePinField, type PinFieldLayout } from './pin-field.ts'
import type { ClearPin } from './pin.ts'

const LAYOUT: PinFieldLayout = { control: 0x1, minFiller: 0x0, maxFiller: 0xf, blockBytes: PIN_BLOCK_BYTES }

/**
 * Encodes a PIN as an ISO 9564-1 format 1 PIN block.
 *
 * Layout, 16 nibbles: `1 | L | P×L | T×(14−L)`, T the transaction field: here the high nibbles of the last 14−L bytes
 * of `fill`, so that it is unique to each block by being random.
 *
 * @param input - the PIN and 10 random bytes of `fill` (injected, so that vectors are reproducible); not wiped here.
 * @param target - 8 bytes, which then hold the clear PIN block; wiped by its owner.
 * @throws ERR_INTERNAL if the PIN is not 4–12 digits, `fill` not 10 bytes or `target` not 8.
 * @see ISO 9564-1:2017 9.3.3
 */
export function encodeIso1(input: ClearPin & { readonly fill: Uint8Array }, target: Uint8Array): void {
  writePinField(LAYOUT, input, input.fill, target)
}

/**
 * Decodes an ISO 9564-1 format 1 PIN block; the transaction field may hold anything, so it proves nothing.
 *
 * @param input - the clear PIN block, not wiped here.
 * @param digits - 12 bytes that take the PIN, all zeros if the block is invalid; wiped by its owner.
 * @returns the number of PIN digits, 4–12, or 0 if the block is invalid for whatever cause.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 * @see ISO 9564-1:2017 9.3.3
 */
export function decodeIso1(input: { readonly pinBlock: Uint8Array }, digits: Uint8Array): number {
  return readPinField(LAYOUT, input.pinBlock, digits)
}
