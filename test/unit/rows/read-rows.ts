/** Reads a whole file through a row reader as a caller does, piece by piece, and says what became of each line. */
import { ChunkIds } from '../../../src/rows/chunk-ids.ts'
import { openReader } from '../../../src/rows/open-reader.ts'
import { FATE, RowBatch } from '../../../src/rows/row-batch.ts'
import type { RowNeeds } from '../../../src/rows/row-reader.ts'

/** One line as the reader saw it; the texts are those of the file. */
export interface ReadLine {
  readonly fate: string
  readonly line: string
  readonly id: string
  /** Of an item: the packed PAN and PIN block as hex. */
  readonly packed?: string
}

const NAMES = new Map<number, string>(Object.entries(FATE).map(([name, value]) => [value, name]))
const PLAIN: RowNeeds = { cardFields: undefined, newNames: [] }

/**
 * Reads `file` in one batch.
 *
 * @param cuts - places where what is there ends for a while; the reader is called at each.
 */
export function readRows(
  file: Buffer,
  {
    cuts = [],
    format = 'ISO-0',
    needs = PLAIN,
  }: { cuts?: readonly number[]; format?: 'ISO-0' | 'ISO-4'; needs?: RowNeeds } = {},
): { lines: ReadLine[]; batch: RowBatch } {
  const batch = new RowBatch(format, 4096, file.length + 16)
  // What a reader must not look at: the bytes of an earlier chunk behind the end.
  batch.bytes.fill('","pan":"4000001234567899"}')
  batch.clear()
  const reader = openReader(file, { ...needs, ids: new ChunkIds(4096, file.length + 16) })
  const ends = [...cuts.filter((cut) => cut > 3 && cut < file.length)].sort((a, b) => a - b)
  let at = 0
  let there = 0
  for (const end of [...ends, file.length]) {
    file.copy(batch.bytes, there, there, end)
    there = end
    at = reader.read(batch, at, end, Infinity, end === file.length)
  }
  if (at !== file.length) throw new Error(`read ${at} of ${file.length} bytes`)
  return { lines: linesOf(batch), batch }
}

/** What a batch holds, line by line. */
export function linesOf(batch: RowBatch): ReadLine[] {
  const packed = batch.packed()
  const text = (from: number, to: number) => batch.bytes.toString('latin1', from, to)
  let item = 0
  return Array.from({ length: batch.lines }, (_, line) => {
    const read = {
      fate: NAMES.get(batch.fate[line]!)!,
      line: text(batch.lineAt[line]!, batch.lineAt[line + 1]!),
      id: text(batch.idAt[line]!, batch.idEnd[line]!),
    }
    if (batch.fate[line] !== FATE.item) return read
    if (batch.lineOfItem[item] !== line) throw new Error('the items are not those of the lines')
    const pan = packed.subarray(10 * item, 10 * item + 10)
    const blockAt = 10 * batch.items + item * batch.blockBytes
    const block = packed.subarray(blockAt, blockAt + batch.blockBytes)
    item++
    return { ...read, packed: `${pan.toString('hex')} ${block.toString('hex')}` }
  })
}

/** What an item's packed bytes must be, from the texts of its row. */
export function packedOf(pan: string, block: string): string {
  return `${pan.padStart(20, '0')} ${block.toLowerCase()}`
}
