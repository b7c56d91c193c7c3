/** Reads a batch from CSV rows in one string. */
import { MAX_BATCH_ITEMS, type Zone } from '../../bridge/contract.ts'
import { ChunkIds } from '../../rows/chunk-ids.ts'
import { CsvReader } from '../../rows/csv-reader.ts'
import { FATE, RowBatch } from '../../rows/row-batch.ts'
import { InputError } from '../../rows/row-reader.ts'
import { MAX_ID_CHARACTERS } from './json-items.ts'

/**
 * Reads rows of id, PAN and PIN block (rows/csv-reader.ts); the first line may name the columns.
 *
 * @returns undefined if a line is no such row, an id comes twice, or there are none or more than 10 000.
 */
export function readCsvRows(rows: string, format: Zone['format']): RowBatch | undefined {
  const length = Buffer.byteLength(rows)
  const lines = linesOf(rows)
  // Beside the items there is the line of names, and nothing behind the last line feed.
  if (lines > MAX_BATCH_ITEMS + 2) return undefined
  const batch = new RowBatch(format, lines, length)
  batch.clear()
  batch.bytes.write(rows)
  const reader = new CsvReader({ ids: new ChunkIds(lines, length), cardFields: undefined, newNames: [] }, 0)
  try {
    const end = reader.read(batch, 0, length, length, true)
    const others = batch.lines - batch.items
    const isHeaded = batch.lines > 0 && batch.fate[0] === FATE.header
    const areRows = end === length && others === Number(isHeaded) && batch.items > 0
    return areRows && batch.items <= MAX_BATCH_ITEMS && haveFittingIds(batch) ? batch : undefined
  } catch (error) {
    if (error instanceof InputError) return undefined
    throw error
  }
}

/** Whether no id is longer than those of JSON items may be; a character has up to four bytes, and a quote is doubled. */
function haveFittingIds({ bytes, items, lineOfItem, idAt, idEnd }: RowBatch): boolean {
  for (let item = 0; item < items; item++) {
    const [from, to] = [idAt[lineOfItem[item]!]!, idEnd[lineOfItem[item]!]!]
    if (to - from <= MAX_ID_CHARACTERS) continue
    const id = bytes.toString('utf8', from, to).replace(/^"|"$/g, '').replaceAll('""', '"')
    if (Array.from(id).length > MAX_ID_CHARACTERS) return false
  }
  return true
}

/** How many lines a text has at most; the last one may be empty. */
function linesOf(text: string): number {
  let lines = 1
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++
  return lines
}
