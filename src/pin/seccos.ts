/**
 * The SECCOS PIN block: ISO 9564-1 format 2, which has neither PAN nor random filler.
 *
 * Format 2 is for the way to an IC card only (PCI PIN v3.1 requirement 3-2), so there is no ISO-2 beside this: the
 * layout exists as the inside of a block under the SECCOS PIN key, and leaves it by a grant of its own
 * (translation-policy.ts).
 */
import { NO_FILL, PIN_BLOCK_BYTES, readPinField, writePinField, type PinFieldLayout } from './pin-field.ts'
import type { ClearPin } from './pin.ts'

const LAYOUT: PinFieldLayout = { control: 0x2, minFiller: 0xf, maxFiller: 0xf, blockBytes: PIN_BLOCK_BYTES }

/**
 * Encodes a PIN as a SECCOS PIN block.
 *
 * Layout, 16 nibbles: `2 | L | P×L | F×(14−L)`
 *
 * @param input - the PIN, not wiped here.
 * @param target - 8 bytes, which then hold the clear PIN block; wiped by its owner.
 * @throws ERR_INTERNAL if the PIN is not 4–12 digits or `target` is not 8 bytes.
 * @see ISO 9564-1:2017 9.3.4
 */
export function encodeSeccos(input: ClearPin, target: Uint8Array): void {
  writePinField(LAYOUT, input, NO_FILL, target)
}

/**
 * Decodes a SECCOS PIN block; every filler nibble is F.
 *
 * @param input - the clear PIN block, not wiped here.
 * @param digits - 12 bytes that take the PIN, all zeros if the block is invalid; wiped by its owner.
 * @returns the number of PIN digits, 4–12, or 0 if the block is invalid for whatever cause.
 * @throws ERR_INTERNAL if `digits` is not 12 bytes.
 * @see ISO 9564-1:2017 9.3.4
 */
export function decodeSeccos(input: { readonly pinBlock: Uint8Array }, digits: Uint8Array): number {
  return readPinField(LAYOUT, input.pinBlock, digits)
}
