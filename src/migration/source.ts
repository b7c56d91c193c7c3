/** Where the rows come from: a file, or standard input. */
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { EX_IOERR } from '../exit-codes.ts'
import { ioError, MigrationError } from './migration-error.ts'

export interface Source {
  /** How many bytes there are; undefined if that shows only at the end. */
  readonly size: number | undefined
  /** What tells this file from any other; undefined for standard input. */
  readonly identity: string | undefined
  /** Reads at most `bytes` bytes into `target`; returns how many, and 0 at the end. */
  read(target: Buffer, at: number, bytes: number): Promise<number>
  /** Whether it is still the file that it was when it was opened. */
  isUnchanged(): Promise<boolean>
  /** Ends a read that waits. */
  cancel(): void
  close(): Promise<void>
}

/** Opens a regular file. */
export async function openFile(path: string): Promise<Source> {
  let handle: FileHandle | undefined
  try {
    // Not to wait for whoever writes to a pipe of that name.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const before = await handle.stat({ bigint: true })
    if (!before.isFile()) throw new MigrationError(EX_IOERR, `${path}: is not a regular file`)
    return new FileSource(path, handle, before)
  } catch (error) {
    await handle?.close()
    throw ioError(path, error)
  }
}

type Stats = Awaited<ReturnType<FileHandle['stat']>> & { readonly mtimeNs: bigint; readonly size: bigint }

class FileSource implements Source {
  readonly size: number
  readonly identity: string
  readonly #path: string
  readonly #handle: FileHandle
  readonly #before: Pick<Stats, 'size' | 'mtimeNs'>

  constructor(path: string, handle: FileHandle, before: { dev: bigint; ino: bigint; size: bigint; mtimeNs: bigint }) {
    this.#path = path
    this.#handle = handle
    this.#before = before
    this.size = Number(before.size)
    this.identity = `${before.dev}:${before.ino}`
  }

  async read(target: Buffer, at: number, bytes: number): Promise<number> {
    try {
      return (await this.#handle.read(target, at, bytes, null)).bytesRead
    } catch (error) {
      throw ioError(this.#path, error)
    }
  }

  async isUnchanged(): Promise<boolean> {
    const { size, mtimeNs } = await this.#handle.stat({ bigint: true })
    return size === this.#before.size && mtimeNs === this.#before.mtimeNs
  }

  cancel(): void {
    // A read of a file does not wait for anybody.
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** Standard input, or any stream. */
export class StreamSource implements Source {
  readonly size = undefined
  readonly identity = undefined
  readonly #stream: Readable
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(stream: Readable) {
    this.#stream = stream
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  }

  async read(target: Buffer, at: number, bytes: number): Promise<number> {
    try {
      while (this.#rest.length === 0) {
        const next = await this.#chunks.next()
        if (next.done) return 0
        this.#rest = next.value
      }
    } catch (error) {
      throw ioError('standard input', error)
    }
    const count = this.#rest.copy(target, at, 0, bytes)
    this.#rest = this.#rest.subarray(count)
    return count
  }

  async isUnchanged(): Promise<boolean> {
    return true
  }

  cancel(): void {
    this.#stream.destroy()
  }

  async close(): Promise<void> {
    this.#stream.destroy()
  }
}
