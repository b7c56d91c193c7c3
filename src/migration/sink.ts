/** Where what comes out goes: a file, or standard output. */
import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { ioError } from './migration-error.ts'

export interface Sink {
  /** Writes all of `bytes`, which may be used again afterwards. */
  write(bytes: Uint8Array): Promise<void>
  /** What was written is on the disk. */
  sync(): Promise<void>
  /** Drops what was written behind a place. */
  truncate(bytes: number): Promise<void>
  close(): Promise<void>
}

/** A file that is written from a place on. */
export class FileSink implements Sink {
  readonly #path: string
  readonly #handle: FileHandle
  #at: number

  private constructor(path: string, handle: FileHandle, at: number) {
    this.#path = path
    this.#handle = handle
    this.#at = at
  }

  /** Makes the file, mode 0600; one that is there is left alone, and that is an error. */
  static async create(path: string): Promise<FileSink> {
    try {
      return new FileSink(path, await open(path, 'wx', 0o600), 0)
    } catch (error) {
      throw ioError(path, error)
    }
  }

  /** Opens a file, or makes it, and drops what stands behind a place; a link is not followed. */
  static async reopen(path: string, at: number): Promise<FileSink> {
    try {
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
      await handle.truncate(at)
      return new FileSink(path, handle, at)
    } catch (error) {
      throw ioError(path, error)
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < bytes.length;) {
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, this.#at)
        done += bytesWritten
        this.#at += bytesWritten
      }
    } catch (error) {
      throw ioError(this.#path, error)
    }
  }

  async sync(): Promise<void> {
    try {
      await this.#handle.datasync()
    } catch (error) {
      throw ioError(this.#path, error)
    }
  }

  async truncate(bytes: number): Promise<void> {
    await this.#handle.truncate(bytes)
    this.#at = bytes
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** Standard output or standard error. */
export class StreamSink implements Sink {
  readonly #name: string
  readonly #stream: Writable

  constructor(name: string, stream: Writable) {
    this.#name = name
    this.#stream = stream
    // It is told by the write that failed.
    stream.on('error', () => {})
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, (error) => {
        if (error) reject(ioError(this.#name, error))
        else resolve()
      })
    })
  }

  async sync(): Promise<void> {
    // Whoever reads it has it.
  }

  async truncate(): Promise<void> {
    // What was read cannot be taken back.
  }

  async close(): Promise<void> {
    // It is not ours to close.
  }
}
