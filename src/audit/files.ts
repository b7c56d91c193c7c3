/** The files of an audit directory: named by their first seq and the time they were begun, so that names sort as records do. */
import { open, readdir, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { parseRecord, sha256, type Place, type TornLine } from './record.ts'

const NAME = /^audit-(\d{12})-\d{8}T\d{9}Z\.ndjson$/
const LINE_FEED = 0x0a

/** More than a record has. */
export const MAX_LINE_BYTES = 1024 * 1024

/** The name of a file whose first record has this seq. */
export function auditFileName(firstSeq: number, time: Date): string {
  return `audit-${String(firstSeq).padStart(12, '0')}-${time.toISOString().replace(/[-:.]/g, '')}.ndjson`
}

/** The names of the audit files in a directory, in their order. */
export async function auditFileNames(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => NAME.test(name)).sort()
}

/** How a directory ends: the last whole record, and the bytes behind it, which may be those of whole files. */
export interface Tail {
  readonly last: Place | undefined
  readonly torn: readonly TornLine[]
}

/** Finds the tail of a directory; a file is read from its end, as far as its last whole record. */
export async function findTail(directory: string): Promise<Tail> {
  const torn: TornLine[] = []
  for (const name of (await auditFileNames(directory)).reverse()) {
    const file = await open(join(directory, name), 'r')
    try {
      const { record, behind } = await lastRecord(file)
      if (behind.length > 0) torn.unshift({ file: name, bytes: behind.length, hash: sha256(behind) })
      if (record) return { last: { ...record, file: name }, torn }
    } finally {
      await file.close()
    }
  }
  return { last: undefined, torn }
}

/** The last line that is a whole record, and the bytes behind it. */
async function lastRecord(file: FileHandle): Promise<{ record?: { seq: number; hash: string }; behind: Buffer }> {
  const { size } = await file.stat()
  // The last write may have been long, and torn in its first line.
  for (let window = 4 * MAX_LINE_BYTES; ; window *= 4) {
    const from = Math.max(0, size - window)
    const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from)
    const bytes = buffer.subarray(0, bytesRead)
    for (
      let end = bytes.lastIndexOf(LINE_FEED);
      end >= 0;
      end = end === 0 ? -1 : bytes.lastIndexOf(LINE_FEED, end - 1)
    ) {
      const start = end === 0 ? 0 : bytes.lastIndexOf(LINE_FEED, end - 1) + 1
      if (start === 0 && from > 0) break
      const line = bytes.subarray(start, end)
      const record = parseRecord(line.toString('utf8'))
      if (record)
        return { record: { seq: record.seq, hash: sha256(line) }, behind: Buffer.from(bytes.subarray(end + 1)) }
    }
    if (from === 0) return { behind: Buffer.from(bytes) }
  }
}

/** The seq of the first record of a file, by its name. */
export function firstSeqOf(name: string): number {
  return Number(NAME.exec(name)?.[1])
}
