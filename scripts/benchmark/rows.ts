/** Cards with PINs for a benchmark, and their PIN blocks under development keys by node:crypto: as they come in, and as they must come out. */
import { createCipheriv, randomFillSync, randomInt } from 'node:crypto'

const PAN_DIGITS = 16
const BLOCK_BYTES = 8
const ZERO = 0x30

/** The zone keys of rows, two-key TDEA in hex. */
export interface RowKeys {
  readonly from: string
  readonly to: string
}

/** Rows, packed: millions of objects would be slow to make. */
export interface Rows {
  readonly count: number
  /** 16 ASCII digits a row. */
  readonly pans: Buffer
  /** PINs of four digits, as numbers. */
  readonly pins: Uint16Array
  /** ISO format 0 blocks of 8 bytes, as they are. */
  readonly clearBlocks: Buffer
  /** ISO format 0 blocks of 8 bytes, under the one key and under the other. */
  readonly blocksUnderFrom: Buffer
  readonly blocksUnderTo: Buffer
}

/** Invents rows: random PANs, and random PINs of four digits. */
export function makeRows(count: number, keys: RowKeys): Rows {
  const pans = randomFillSync(Buffer.alloc(count * PAN_DIGITS))
  const pins = new Uint16Array(count)
  const clearBlocks = Buffer.alloc(count * BLOCK_BYTES)
  for (let i = 0; i < pans.length; i++) pans[i] = ZERO + (pans[i]! % 10)
  for (let row = 0; row < count; row++) {
    const pan = row * PAN_DIGITS
    pans[pan] = ZERO + 4
    const at = row * BLOCK_BYTES
    const pin = (pins[row] = randomInt(10_000))
    // 0 L PIN F…, and onto it the 12 digits of the PAN before its check digit.
    clearBlocks[at] = 0x04
    clearBlocks[at + 1] = (Math.floor(pin / 1000) << 4) | (Math.floor(pin / 100) % 10)
    clearBlocks[at + 2] = (Math.floor((pin % 100) / 10) << 4) | (pin % 10)
    clearBlocks.fill(0xff, at + 3, at + BLOCK_BYTES)
    for (let i = 0; i < 6; i++) {
      const digits = pan + PAN_DIGITS - 13 + 2 * i
      clearBlocks[at + 2 + i]! ^= ((pans[digits]! - ZERO) << 4) | (pans[digits + 1]! - ZERO)
    }
  }
  return {
    count,
    pans,
    pins,
    clearBlocks,
    blocksUnderFrom: encipher(keys.from, clearBlocks),
    blocksUnderTo: encipher(keys.to, clearBlocks),
  }
}

function encipher(key: string, clearBlocks: Buffer): Buffer {
  return createCipheriv('des-ede-ecb', Buffer.from(key, 'hex'), null).setAutoPadding(false).update(clearBlocks)
}

/** The PAN of a row. */
export function panOf(rows: Rows, row: number): string {
  return rows.pans.toString('latin1', row * PAN_DIGITS, (row + 1) * PAN_DIGITS)
}

/** The PIN of a row. */
export function pinOf({ pins }: Rows, row: number): string {
  return String(pins[row]).padStart(4, '0')
}

/** A block of a row in hex, a clear one or of those under either key. */
export function blockOf(blocks: Buffer, row: number): string {
  return blocks.toString('hex', row * BLOCK_BYTES, (row + 1) * BLOCK_BYTES).toUpperCase()
}

/** The first line of a file, or of a batch, of rows. */
export const CSV_HEAD = 'id,pan,pinBlock\n'

/** Rows of CSV from `start` to `end`, as a batch and a migration take them; `blocks` are those under either key. */
export function csvOf(rows: Rows, blocks: Buffer, start: number, end: number): string {
  let text = ''
  for (let row = start; row < end; row++) text += `${row + 1},${panOf(rows, row)},${blockOf(blocks, row)}\n`
  return text
}
