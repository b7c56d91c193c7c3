/** Where rejects go: a file that is made with the first of them, or standard error. */
import { FileSink } from './sink.ts'

export interface RejectSink {
  /** Writes lines; returns the bytes that were written. */
  write(lines: string): Promise<Buffer>
  sync(): Promise<void>
  close(): Promise<void>
}

/** The reject file. */
export class RejectFile implements RejectSink {
  readonly #path: string
  readonly #header: () => string
  #file: FileSink | undefined
  #isEmpty: boolean

  /**
   * @param header - what the file begins with.
   * @param file - the file of an earlier run, and whether there is anything in it.
   */
  constructor(path: string, header: () => string, file?: FileSink, isEmpty = true) {
    this.#path = path
    this.#header = header
    this.#file = file
    this.#isEmpty = isEmpty
  }

  async write(lines: string): Promise<Buffer> {
    this.#file ??= await FileSink.create(this.#path)
    const bytes = Buffer.from(this.#isEmpty ? this.#header() + lines : lines)
    await this.#file.write(bytes)
    this.#isEmpty = false
    return bytes
  }

  async sync(): Promise<void> {
    await this.#file?.sync()
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}

/** Standard error, for an operator who has no file for them. */
export class RejectLines implements RejectSink {
  readonly #say: (text: string) => void
  #left: number

  /** @param most - how many lines are said; the others are counted only. */
  constructor(say: (text: string) => void, most = Infinity) {
    this.#say = say
    this.#left = most
  }

  async write(lines: string): Promise<Buffer> {
    for (const line of lines.split('\n').slice(0, -1)) if (this.#left-- > 0) this.#say(line)
    return Buffer.alloc(0)
  }

  async sync(): Promise<void> {
    // It is said.
  }

  async close(): Promise<void> {
    // It is not ours to close.
  }
}
