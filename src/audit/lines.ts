/** The lines of a file in their order, in as much memory as one line takes. */
import { createReadStream } from 'node:fs'
import { MAX_LINE_BYTES } from './files.ts'

const LINE_FEED = 0x0a

/** A line without its line feed; `isWhole` is false for bytes behind the last one, and where a line is longer than any record. */
export interface Line {
  readonly bytes: Buffer
  readonly isWhole: boolean
}

/** Reads a file; a line that is too long comes in pieces, none of which is whole. */
export async function* readLines(path: string): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    let from = 0
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, from)) {
      yield { bytes: bytes.subarray(from, end), isWhole: true }
      from = end + 1
    }
    rest = bytes.subarray(from)
    if (rest.length <= MAX_LINE_BYTES) continue
    yield { bytes: rest, isWhole: false }
    rest = Buffer.alloc(0)
  }
  if (rest.length > 0) yield { bytes: rest, isWhole: false }
}
