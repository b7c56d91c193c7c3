/**
 * Reads ahead, has several chunks translated at once, and commits them in the order of the file; what is held at any time
 * is as many chunks as there are at the vaults.
 */
import type { AnswerOf } from '../bridge/contract.ts'
import type { RowBatch } from '../rows/row-batch.ts'
import type { Chunk, ChunkReader } from './chunk-reader.ts'
import type { ChunkResult, Ledger } from './ledger.ts'
import type { Parameters } from './parameters.ts'
import { rejectLines, type RejectCounts } from './rejects.ts'
import { RowWriter, settle } from './row-writer.ts'
import { CHUNKS_PER_VAULT, type VaultTeam } from './vault-team.ts'

type Answer = Pick<AnswerOf<'translatePinBlocks'>, 'packed' | 'rejected' | 'prws'>

/** What a chunk without items is answered. */
const NOTHING: Answer = { packed: Buffer.alloc(0), rejected: [] }

interface Flight {
  readonly chunk: Chunk
  readonly answer: Promise<Answer>
}

/** What a pipeline is put together from. */
export interface PipelineParts {
  readonly parameters: Parameters
  readonly chunks: ChunkReader
  readonly team: Pick<VaultTeam, 'translate' | 'noMoreChunks' | 'size'>
  readonly ledger: Ledger
  readonly isDryRun: boolean
}

export class Pipeline {
  readonly #parts: PipelineParts
  readonly #flights: Flight[] = []
  readonly #free: Chunk[]
  #isStopped = false
  #isRead = false
  #writer: RowWriter | undefined
  #wake = (): void => {}
  #released = (): void => {}

  constructor(parts: PipelineParts) {
    this.#parts = parts
    // One more than the vaults hold, so that the next is there when the oldest is being written.
    this.#free = Array.from({ length: CHUNKS_PER_VAULT * parts.team.size + 1 }, () => parts.chunks.makeChunk())
  }

  /** Runs until everything is committed, or until it is stopped: then what is committed stays so. */
  async run(): Promise<void> {
    const reading = this.#read()
    // Its failure is met below, when it is waited for.
    reading.catch(() => this.stop())
    try {
      while (!this.#isStopped) {
        const flight = this.#flights[0]
        if (flight === undefined && this.#isRead) break
        if (flight === undefined) await new Promise<void>((resolve) => (this.#wake = resolve))
        else await this.#commit(flight)
      }
    } finally {
      this.stop()
    }
    await reading
  }

  /** Commits nothing more; whoever calls it also ends what the pipeline waits for. */
  stop(): void {
    this.#isStopped = true
    this.#wake()
    this.#released()
  }

  async #read(): Promise<void> {
    const { chunks, team } = this.#parts
    while (!this.#isStopped) {
      const chunk = this.#free.pop()
      if (chunk === undefined) {
        await new Promise<void>((resolve) => (this.#released = resolve))
        continue
      }
      if (!(await chunks.next(chunk))) break
      const answer = this.#translate(chunk.batch)
      // A failure is met in its turn, when the chunk is to be committed.
      answer.catch(() => {})
      this.#flights.push({ chunk, answer })
      this.#wake()
    }
    team.noMoreChunks()
    this.#isRead = true
    this.#wake()
  }

  #translate(batch: RowBatch): Promise<Answer> {
    const { parameters, team, isDryRun } = this.#parts
    const { from, to, prw } = parameters
    if (batch.items === 0) return Promise.resolve(NOTHING)
    return team.translate({
      from: { key: from.key.id, format: from.format, version: from.key.version },
      to: { key: to.key.id, format: to.format, version: to.key.version },
      items: batch.items,
      packed: batch.packed(),
      ...(isDryRun && { checkOnly: true }),
      ...(prw && { prw: { key: prw.key.id, cards: batch.cards } }),
    })
  }

  async #commit({ chunk, answer }: Flight): Promise<void> {
    const result = this.#resultOf(chunk, await answer)
    if (this.#isStopped) return
    await this.#parts.ledger.commit(result)
    this.#flights.shift()
    this.#free.push(chunk)
    this.#released()
  }

  #resultOf(chunk: Chunk, answer: Answer): ChunkResult {
    const { parameters, chunks, isDryRun } = this.#parts
    const { batch } = chunk
    const rowsWritten = batch.items - settle(batch, answer)
    this.#writer ??= new RowWriter(chunks.kind, parameters.to.format, parameters.prw?.newNames ?? [])
    const rowsRejected: RejectCounts = {}
    const isClean = rowsWritten === batch.lines
    const rejects = isClean ? '' : rejectLines(batch, chunk.firstLine, chunks.kind, rowsRejected).join('')
    const bytes = isDryRun ? NOTHING.packed : this.#writer.write(batch, answer)
    return { chunk, bytes, rejects, rowsWritten, rowsRejected }
  }
}
