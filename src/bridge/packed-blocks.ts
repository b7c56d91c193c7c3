/** Packs PIN blocks and their PANs as a translatePinBlocks message carries them (contract.ts, PackedBlocks). */
import { PAN_BYTES } from '../pan.ts'
import type { Zone } from './contract.ts'

/** The bytes of an enciphered PIN block: 16 in ISO format 4, 8 in every other. */
export function blockBytesOf(format: Zone['format']): number {
  return format === 'ISO-4' ? 16 : 8
}

/** One item, as a caller gives it; its form has been checked. */
export interface TextItem {
  readonly pan: string
  /** Hex of either case; all items have the same length. */
  readonly pinBlock: string
}

/** Packs items that are all of one length. */
export function packBlocks(items: readonly TextItem[]): { readonly items: number; readonly packed: Buffer } {
  const panBytes = items.length * PAN_BYTES
  const blockBytes = (items[0]?.pinBlock.length ?? 0) / 2
  const packed = Buffer.alloc(panBytes + items.length * blockBytes)
  items.forEach(({ pan, pinBlock }, i) => {
    packed.write(pan.padStart(2 * PAN_BYTES, '0'), i * PAN_BYTES, 'hex')
    packed.write(pinBlock, panBytes + i * blockBytes, 'hex')
  })
  return { items: items.length, packed }
}
