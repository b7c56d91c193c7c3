/** What has come out so far: writes it, counts it, and puts it on record, in this order. */
import { createHash, type Hash } from 'node:crypto'
import type { Chunk } from './chunk-reader.ts'
import type { Outputs } from './output-files.ts'
import type { MigrationRecord, Standing, Stretch } from './record.ts'
import { rejectedRows, type RejectCounts } from './rejects.ts'

const RECORD_EVERY_MS = 1_000

/** What a chunk came to. */
export interface ChunkResult {
  readonly chunk: Chunk
  readonly bytes: Uint8Array
  readonly rejects: string
  readonly rowsWritten: number
  readonly rowsRejected: RejectCounts
}

/** What an earlier run left: its standing, and the digests that its files go on with. */
export interface Beginning {
  readonly standing: Standing
  readonly output: Hash
  readonly rejects: Hash
}

/** Where a migration begins that nothing is on record of. */
export function freshBeginning(): Beginning {
  const nothing = (): Stretch => ({ bytes: 0, sha256: createHash('sha256').digest('hex') })
  const standing: Standing = {
    lines: 0,
    input: nothing(),
    output: nothing(),
    rejects: nothing(),
    rowsRead: 0,
    rowsWritten: 0,
    rowsRejected: {},
    seconds: 0,
  }
  return { standing, output: createHash('sha256'), rejects: createHash('sha256') }
}

export class Ledger {
  readonly #open: () => Promise<Outputs>
  readonly #outDigest: Hash
  readonly #rejectsDigest: Hash
  readonly #secondsBefore: number
  readonly #started = performance.now()
  readonly #rowsRejected: RejectCounts
  #outputs: Outputs | undefined
  #standing: Standing
  #inputDigest: Hash | undefined
  // The first chunk is put on record at once.
  #recordedAt = -Infinity
  #recording: Promise<void> | undefined
  #failure: Error | undefined

  /** @param open - opens the outputs once there is something for them: what fails before leaves nothing behind. */
  constructor(open: () => Promise<Outputs>, { standing, output, rejects }: Beginning) {
    this.#open = open
    this.#standing = standing
    this.#outDigest = output
    this.#rejectsDigest = rejects
    this.#secondsBefore = standing.seconds
    this.#rowsRejected = { ...standing.rowsRejected }
  }

  /** Whether anything was opened. */
  get hasBegun(): boolean {
    return this.#outputs !== undefined
  }

  /** What is done, its digests as they were on the last record. */
  get standing(): Standing {
    return this.#standing
  }

  /**
   * Writes what a chunk came to; a chunk counts only once all of it is written.
   *
   * @throws MigrationError if it cannot be written, or what was to be on record could not be put there.
   */
  async commit(result: ChunkResult): Promise<void> {
    if (this.#failure) throw this.#failure
    const { chunk, bytes, rejects } = result
    const { standing } = this
    const outputs = (this.#outputs ??= await this.#open())
    await outputs.out?.write(bytes)
    const rejectBytes = rejects === '' ? NOTHING : await outputs.rejects.write(rejects)
    this.#outDigest.update(bytes)
    this.#rejectsDigest.update(rejectBytes)
    this.#inputDigest = chunk.digest
    for (const [code, count] of Object.entries(result.rowsRejected)) {
      const of = code as keyof RejectCounts
      this.#rowsRejected[of] = (this.#rowsRejected[of] ?? 0) + count
    }
    this.#standing = {
      ...standing,
      lines: standing.lines + chunk.batch.lines,
      input: { ...standing.input, bytes: chunk.end },
      output: { ...standing.output, bytes: standing.output.bytes + (outputs.out ? bytes.length : 0) },
      rejects: { ...standing.rejects, bytes: standing.rejects.bytes + rejectBytes.length },
      rowsRead: standing.rowsRead + result.rowsWritten + rejectedRows(result.rowsRejected),
      rowsWritten: standing.rowsWritten + (outputs.out ? result.rowsWritten : 0),
      rowsRejected: this.#rowsRejected,
    }
    if (outputs.writeRecord && !this.#recording && performance.now() - this.#recordedAt > RECORD_EVERY_MS) {
      this.#recordInBackground()
    }
  }

  /** Puts on record what is done, complete or not. */
  async finish(state: MigrationRecord['state']): Promise<void> {
    this.#outputs ??= await this.#open()
    await this.#recording
    if (this.#failure) throw this.#failure
    this.#standing = this.#digested()
    await this.#record(state, this.#standing)
  }

  /** After a failed write: drops what counts for nothing, to have room for a record, and tries to write one. */
  async rescue(): Promise<void> {
    try {
      await this.#recording
      await this.#outputs?.out?.truncate(this.#standing.output.bytes)
      this.#standing = this.#digested()
      await this.#record('running', this.#standing)
    } catch {
      // The record before this one stands.
    }
  }

  async close(): Promise<void> {
    await this.#recording
    await this.#outputs?.out?.close()
    await this.#outputs?.rejects.close()
  }

  /** Chunks go on while the disk takes in the ones before. */
  #recordInBackground(): void {
    this.#recordedAt = performance.now()
    this.#standing = this.#digested()
    this.#recording = this.#record('running', this.#standing)
      .catch((error: unknown) => {
        this.#failure = error as Error
      })
      .finally(() => {
        this.#recording = undefined
      })
  }

  /** The files first: what is on record is on the disk. */
  async #record(state: MigrationRecord['state'], standing: Standing): Promise<void> {
    await this.#outputs?.out?.sync()
    await this.#outputs?.rejects.sync()
    await this.#outputs?.writeRecord?.(state, standing)
  }

  #digested(): Standing {
    const { standing } = this
    return {
      ...standing,
      input: { ...standing.input, sha256: this.#inputDigest ? hex(this.#inputDigest) : standing.input.sha256 },
      output: { ...standing.output, sha256: hex(this.#outDigest) },
      rejects: { ...standing.rejects, sha256: hex(this.#rejectsDigest) },
      rowsRejected: { ...this.#rowsRejected },
      seconds: this.#secondsBefore + (performance.now() - this.#started) / 1000,
    }
  }
}

const NOTHING = Buffer.alloc(0)

/** The digest so far; the hash goes on. */
function hex(digest: Hash): string {
  return digest.copy().digest('hex')
}
