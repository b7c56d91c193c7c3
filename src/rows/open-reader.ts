/** Which kind of rows a file has: NDJSON if it begins with `{`, behind a byte order mark or not, and CSV otherwise. */
import { CsvReader } from './csv-reader.ts'
import { NdjsonReader } from './ndjson-reader.ts'
import type { ReaderSettings, RowReader } from './row-reader.ts'

const BRACE_OPEN = 0x7b
/** U+FEFF in UTF-8. */
const BYTE_ORDER_MARK = Buffer.of(0xef, 0xbb, 0xbf)

/** How many bytes of a file decide what it is. */
export const DECIDING_BYTES = BYTE_ORDER_MARK.length + 1

/** Makes the reader of a file that begins with these bytes: as many as decide, or the whole file. */
export function openReader(start: Buffer, settings: ReaderSettings): RowReader {
  const marked = start.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK)
  const markBytes = marked ? BYTE_ORDER_MARK.length : 0
  return start[markBytes] === BRACE_OPEN ? new NdjsonReader(settings, markBytes) : new CsvReader(settings, markBytes)
}
