/**
 * Appends records to the files of a directory, durable before anybody is told: while one write is on its way to the disk, the
 * records of the moment gather, and go along together with the next.
 */
import { constants } from 'node:fs'
import { open, stat, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { auditFileName, findTail } from './files.ts'
import { NO_RECORD, recordLine, sha256, type NewRecord, type Place, type StartMembers } from './record.ts'

const RETRY_MS = 1_000
/** A file that was removed or moved takes writes as before, and nobody will find them. */
const LOOK_EVERY_MS = 1_000

/** A disk that keeps a write for so long is taken for one that cannot be written to, and whoever waits for it is told. */
const STALL_MS = 10_000

/** A write returns when its bytes are on the disk: one call for write and fdatasync. */
const DURABLE_APPEND =
  constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_EXCL | constants.O_DSYNC

/** The record could not be written: nothing may be done, or told, for which it was meant. */
export class UnwritableError extends Error {
  constructor() {
    super('The audit record cannot be written.')
    this.name = 'UnwritableError'
  }
}

/** Whom the writer tells what; `code` is that of the system, such as ENOSPC, and `start` the record that a file was begun with. */
export interface WriterEvents {
  readonly onUnwritable: (code: string) => void
  readonly onWritable: (start: Place) => void
}

interface Waiting {
  readonly record: NewRecord
  readonly resolve: (place: Place) => void
  readonly reject: (error: UnwritableError) => void
}

interface OpenFile {
  readonly name: string
  readonly handle: FileHandle
  readonly inode: number
  bytes: number
}

/** The one writer of a directory. */
export class AuditWriter {
  readonly #directory: string
  readonly #rotateBytes: number
  readonly #events: WriterEvents
  #waiting: Waiting[] = []
  #isDue = false
  #working: Promise<void> = Promise.resolve()
  #file: OpenFile | undefined
  #lookedMs = 0
  /** The last record that is known to be on the disk. */
  #last: Place | undefined
  /** The records of the last write: where it failed, some of them may be on the disk all the same. */
  #tried: readonly Place[] = []
  #startReason: StartMembers['reason'] = 'process'
  #isClosed = false
  /** A write is on its way for too long; what became of it is seen when it is over. */
  #isStalled = false
  #retry: NodeJS.Timeout | undefined
  /** Records that the caller went on without. */
  lost = 0

  constructor(directory: string, rotateBytes: number, events: WriterEvents) {
    this.#directory = directory
    this.#rotateBytes = rotateBytes
    this.#events = events
  }

  /** Whether records can be written, as far as the last try has shown. */
  get isWritable(): boolean {
    return this.#file !== undefined && !this.#isStalled
  }

  /** The last record on the disk. */
  get last(): Place | undefined {
    return this.#last
  }

  /** Begins a file after whatever is there; if that fails, it is tried again every second. */
  async start(): Promise<void> {
    await this.#work(() => this.#begin())
  }

  /**
   * Appends a record.
   *
   * @returns where it stands, once it is on the disk.
   * @throws UnwritableError
   */
  append(record: NewRecord): Promise<Place> {
    return new Promise((resolve, reject) => {
      if (!this.isWritable || this.#isClosed) {
        reject(new UnwritableError())
        return
      }
      this.#waiting.push({ record, resolve, reject })
      if (this.#isDue) return
      this.#isDue = true
      // At the end of this turn of the event loop, when every request and every answer that has arrived was seen.
      setImmediate(() => void this.#work(() => this.#flush()))
    })
  }

  /** Writes what waits, and closes the file. */
  async close(): Promise<void> {
    await this.#work(async () => {
      await this.#flush()
      this.#isClosed = true
      clearTimeout(this.#retry)
      await this.#file?.handle.close()
      this.#file = undefined
    })
  }

  /** One after another, so that no two write. */
  #work(step: () => Promise<void>): Promise<void> {
    this.#working = this.#working.then(step)
    return this.#working
  }

  async #flush(): Promise<void> {
    this.#isDue = false
    const group = this.#waiting
    if (group.length === 0) return
    this.#waiting = []
    const impatience = setTimeout(() => this.#stall(group), STALL_MS)
    try {
      if (this.#file === undefined) throw new UnwritableError()
      await this.#look(this.#file)
      if (this.#file.bytes >= this.#rotateBytes) await this.#rotate()
      const places = await this.#write(
        this.#file,
        group.map(({ record }) => record),
      )
      // Those who waited were told that it failed: a new file begins behind it.
      if (this.#isStalled) throw stalled()
      group.forEach(({ resolve }, i) => resolve(places[i]!))
    } catch (error) {
      this.#giveUp(error)
      for (const { reject } of group) reject(new UnwritableError())
    } finally {
      clearTimeout(impatience)
      this.#isStalled = false
    }
  }

  #stall(group: readonly Waiting[]): void {
    this.#isStalled = true
    for (const { reject } of [...group, ...this.#waiting.splice(0)]) reject(new UnwritableError())
    this.#events.onUnwritable(stalled().code)
  }

  /** @throws if the file is not where it was begun any more. */
  async #look({ name, inode }: OpenFile): Promise<void> {
    if (performance.now() - this.#lookedMs < LOOK_EVERY_MS) return
    this.#lookedMs = performance.now()
    const { ino } = await stat(join(this.#directory, name))
    if (ino !== inode) throw Object.assign(new Error('replaced'), { code: 'ENOENT' })
  }

  /** Chains the records behind the last one and writes their lines at once. */
  async #write(file: OpenFile, records: readonly NewRecord[]): Promise<Place[]> {
    const time = new Date().toISOString()
    let { seq, hash } = this.#last ?? { seq: 0, hash: NO_RECORD }
    const lines: string[] = []
    const places = records.map((record): Place => {
      const line = recordLine(record, ++seq, time, hash)
      lines.push(line, '\n')
      hash = sha256(line)
      return { seq, hash, file: file.name }
    })
    this.#tried = places
    const bytes = Buffer.from(lines.join(''))
    for (let at = 0; at < bytes.length;) at += (await file.handle.write(bytes, at)).bytesWritten
    file.bytes += bytes.length
    this.#last = places.at(-1) ?? this.#last
    return places
  }

  async #rotate(): Promise<void> {
    const next = await this.#create()
    await this.#file?.handle.close()
    this.#file = next
  }

  async #create(): Promise<OpenFile> {
    const name = auditFileName((this.#last?.seq ?? 0) + 1, new Date())
    const handle = await open(join(this.#directory, name), DURABLE_APPEND, 0o600)
    try {
      // The name has to be on the disk as well.
      const directory = await open(this.#directory, 'r')
      await directory.sync().finally(() => directory.close())
      return { name, handle, inode: (await handle.stat()).ino, bytes: 0 }
    } catch (error) {
      await this.#discard(name, handle)
      throw error
    }
  }

  /** Nothing has been written into it. */
  async #discard(name: string, handle: FileHandle): Promise<void> {
    await handle.close().catch(() => {})
    await unlink(join(this.#directory, name)).catch(() => {})
  }

  /**
   * Goes on after what is on the disk. Once it has written, it goes on after records of its own only: where the directory ends in
   * others, or in fewer, the chain goes on from memory, and the break shows.
   */
  async #begin(): Promise<void> {
    if (this.#isClosed) return
    let file: OpenFile | undefined
    try {
      const { last, torn } = await findTail(this.#directory)
      const isOwn = this.#tried.some(({ hash }) => hash === last?.hash)
      if (isOwn || this.#tried.length === 0) this.#last = last
      const after = this.#last
      file = await this.#create()
      const reason = this.#startReason
      const { lost } = this
      const [start] = await this.#write(file, [
        {
          kind: 'start',
          reason,
          ...(after && { after }),
          torn: torn.length > 0 ? torn : undefined,
          lost: lost || undefined,
        },
      ])
      this.lost -= lost
      this.#file = file
      this.#startReason = 'writable-again'
      this.#events.onWritable(start!)
    } catch (error) {
      if (file) await this.#discard(file.name, file.handle)
      this.#giveUp(error)
    }
  }

  #giveUp(error: unknown): void {
    const { code } = error as { code?: unknown }
    // What it holds is on the disk or lost already.
    this.#file?.handle.close().catch(() => {})
    this.#file = undefined
    this.#events.onUnwritable(typeof code === 'string' ? code : 'unknown')
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => void this.#work(() => this.#begin()), RETRY_MS)
    this.#retry.unref()
  }
}

function stalled(): Error & { readonly code: string } {
  return Object.assign(new Error('stalled'), { code: 'ETIMEDOUT' })
}
