/** PIN blocks in and out of their encipherment: one pass of ECB, or format 4's two with the PAN field in between. */
import type { KeyEntry } from '../config/schema.ts'
import type { Hsm } from '../hsm/hsm.ts'
import { PAN_BYTES, type Pan } from '../pan.ts'
import type { PinBlockFormat } from '../pin/pin-block.ts'
import { SecretScope } from '../secret.ts'

/** The key and the format of PIN blocks: what protects them, and how they are laid out. */
export interface PinBlockZone {
  readonly key: KeyEntry
  readonly layout: PinBlockFormat
}

/**
 * Deciphers PIN blocks, all in one call to the HSM a pass.
 *
 * @param pans - the packed PANs, 10 bytes each, in the order of the blocks.
 * @returns the clear blocks in a slice of `secrets`.
 */
export async function decipherPinBlocks(
  hsm: Hsm,
  { key, layout }: PinBlockZone,
  blocks: Buffer,
  pans: Buffer,
  secrets: SecretScope,
): Promise<Buffer> {
  const deciphered = await hsm.decipherBlocks(key, blocks, secrets)
  if (layout.xorBetweenPasses === undefined) return deciphered
  addPanFields(layout, deciphered, pans)
  return await hsm.decipherBlocks(key, deciphered, secrets)
}

/** Enciphers clear PIN blocks, all in one call to the HSM a pass; `pans` as in `decipherPinBlocks`. */
export async function encipherPinBlocks(
  hsm: Hsm,
  { key, layout }: PinBlockZone,
  clearBlocks: Buffer,
  pans: Buffer,
): Promise<Buffer> {
  const enciphered = await hsm.encipherBlocks(key, clearBlocks)
  if (layout.xorBetweenPasses === undefined) return enciphered
  // Not clear, but bound to no PAN: whoever had it could bind the PIN to any.
  using secrets = new SecretScope()
  const unbound = secrets.adopt(enciphered)
  addPanFields(layout, unbound, pans)
  return await hsm.encipherBlocks(key, unbound)
}

function addPanFields({ blockBytes, xorBetweenPasses }: PinBlockFormat, blocks: Buffer, pans: Buffer): void {
  for (let i = 0; i * PAN_BYTES < pans.length; i++) {
    const pan = pans.subarray(i * PAN_BYTES, (i + 1) * PAN_BYTES) as Uint8Array as Pan
    xorBetweenPasses?.(pan, blocks.subarray(i * blockBytes, (i + 1) * blockBytes))
  }
}
