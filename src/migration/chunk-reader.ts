/**
 * Cuts the input into chunks of whole lines, which are read, translated, written and put on record together.
 *
 * Where a chunk ends depends on the bytes of the file alone and not on how they arrive, so that a migration that is
 * resumed finds the same chunks.
 */
import { createHash, type Hash } from 'node:crypto'
import { ChunkIds } from '../rows/chunk-ids.ts'
import { DECIDING_BYTES, openReader } from '../rows/open-reader.ts'
import { MAX_LINE_BYTES, RowBatch, type IdSet } from '../rows/row-batch.ts'
import type { RowNeeds, RowReader } from '../rows/row-reader.ts'
import type { Zone } from '../bridge/contract.ts'
import type { Source } from './source.ts'

/** The most lines of a chunk: so many blocks make what a call costs besides them small, and are less than 64 KiB. */
const CHUNK_LINES = 8000
/** With a PRW a row costs a call of its own, and a vault has only so long. */
const CHUNK_LINES_WITH_PRW = 256
/** The line that reaches so many bytes is the last one of its chunk. */
const CHUNK_BYTES = 1024 * 1024
const READ_BYTES = 256 * 1024
const LINE_FEED = 0x0a

/** One chunk, and where it stands in the file. */
export interface Chunk {
  readonly batch: RowBatch
  /** The number of its first line, from 1. */
  firstLine: number
  /** The place in the file behind its last line. */
  end: number
  /** SHA-256 of the file up to there, not finished. */
  digest: Hash
}

export class ChunkReader {
  readonly #source: Source
  readonly #format: Zone['format']
  readonly #needs: RowNeeds
  readonly #ids: IdSet
  readonly #lines: number
  readonly #digest = createHash('sha256')
  #reader: RowReader | undefined
  #previous: RowBatch | undefined
  // What of the previous chunk's bytes belongs to the next one.
  #restAt = 0
  #restEnd = 0
  #isLast = false
  #place = 0
  #line = 1

  /** @param ids - where ids are remembered; left out, within a chunk only. */
  constructor(source: Source, format: Zone['format'], needs: RowNeeds, ids?: IdSet) {
    this.#source = source
    this.#format = format
    this.#needs = needs
    this.#lines = needs.cardFields === undefined ? CHUNK_LINES : CHUNK_LINES_WITH_PRW
    this.#ids = ids ?? new ChunkIds(this.#lines, CHUNK_BYTES + MAX_LINE_BYTES)
  }

  /** What kind of rows the file has; known once the first chunk is read. */
  get kind(): RowReader['kind'] {
    return this.#reader?.kind ?? 'csv'
  }

  /** Makes room for a chunk; it can be used again once what was read into it is done with. */
  makeChunk(): Chunk {
    const batch = new RowBatch(this.#format, this.#lines, CHUNK_BYTES + MAX_LINE_BYTES + READ_BYTES)
    return { batch, firstLine: 1, end: 0, digest: this.#digest }
  }

  /**
   * Reads the next chunk; returns false at the end of the file.
   *
   * @throws MigrationError if the file cannot be read; InputError if its first line cannot be that of such a file.
   */
  async next(chunk: Chunk): Promise<boolean> {
    const { batch } = chunk
    const { bytes } = batch
    batch.clear()
    this.#ids.startStretch()
    this.#previous?.bytes.copy(bytes, 0, this.#restAt, this.#restEnd)
    let at = 0
    let filled = this.#restEnd - this.#restAt
    let digested = 0
    let dropped = 0
    while (!this.#isLast && filled < DECIDING_BYTES) filled += await this.#fill(bytes, filled)
    this.#reader ??= openReader(bytes.subarray(0, filled), { ...this.#needs, ids: this.#ids })
    for (;;) {
      const isLast = this.#isLast
      at = this.#reader.read(batch, at, filled, CHUNK_BYTES - dropped, isLast)
      if (batch.isFull() || at + dropped >= CHUNK_BYTES || isLast) break
      if (filled - at <= MAX_LINE_BYTES) {
        filled += await this.#fill(bytes, filled)
        continue
      }
      // A line longer than any row: it is read over, however long it is, and nothing of it is kept.
      this.#digest.update(bytes.subarray(digested, filled))
      dropped += filled - at
      const { lineBytes, restBytes } = await this.#dropLine(bytes, at)
      dropped += lineBytes
      filled = at + restBytes
      digested = at
      this.#reader.rejectLongLine(batch, at)
      if (batch.isFull() || at + dropped >= CHUNK_BYTES) break
    }
    this.#digest.update(bytes.subarray(digested, at))
    this.#previous = batch
    this.#restAt = at
    this.#restEnd = filled
    this.#place += at + dropped
    chunk.firstLine = this.#line
    chunk.end = this.#place
    chunk.digest = this.#digest.copy()
    this.#line += batch.lines
    return batch.lines > 0
  }

  /** Reads on to the end of a line; what follows the line is moved to `at`. */
  async #dropLine(bytes: Buffer, at: number): Promise<{ lineBytes: number; restBytes: number }> {
    for (let lineBytes = 0; ;) {
      const read = await this.#fill(bytes, at)
      const found = bytes.subarray(at, at + read).indexOf(LINE_FEED)
      const count = found < 0 ? read : found + 1
      this.#digest.update(bytes.subarray(at, at + count))
      lineBytes += count
      if (found < 0 && read > 0) continue
      bytes.copyWithin(at, at + count, at + read)
      return { lineBytes, restBytes: read - count }
    }
  }

  async #fill(bytes: Buffer, at: number): Promise<number> {
    const read = await this.#source.read(bytes, at, READ_BYTES)
    if (read === 0) this.#isLast = true
    return read
  }
}
