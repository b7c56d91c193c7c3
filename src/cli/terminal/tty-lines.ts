/**
 * Lines that a person types at the terminal, read in raw mode: the terminal's own line buffer and echo never see them, and
 * neither does a string.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { ReadStream } from 'node:tty'
import { EX_INTERRUPTED } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'
import { ENDING_SIGNALS } from './hang-up.ts'
import { ETX, LineEditor, type Echo, type Typed } from './line-editor.ts'

const DEVICE = '/dev/tty'
/** More than a person types ahead. */
const BUFFER_BYTES = 4096

/**
 * The terminal of this process, whatever its standard streams are.
 *
 * It is in raw mode until it is closed, not only while a question waits: what is typed, or pasted, too early must not be
 * echoed either. node puts it back when the process ends in another way.
 */
export class TtyLines {
  readonly #output: number
  readonly #input: ReadStream
  /** What the kernel puts typed bytes into; cleared as they are taken. */
  readonly #arriving = Buffer.from(new ArrayBuffer(BUFFER_BYTES))
  /** What was typed and is not yet part of a line. */
  readonly #typed = Buffer.from(new ArrayBuffer(BUFFER_BYTES))
  #typedBytes = 0
  #question: { readonly arrived: () => void; readonly failed: (error: Error) => void } | undefined
  #isGone = false

  private constructor(output: number, input: number) {
    this.#output = output
    const callback = (bytes: number): boolean => {
      this.#arrive(bytes)
      return true
    }
    // With a buffer of ours, no copy is made that could not be wiped.
    const options = { onread: { buffer: this.#arriving, callback } }
    this.#input = new (ReadStream as new (fd: number, more: typeof options) => ReadStream)(input, options)
    const gone = (): void => {
      this.#isGone = true
      this.#question?.failed(goneError())
    }
    this.#input.on('error', gone).on('end', gone).on('close', gone)
    this.#input.setRawMode(true)
    this.#input.resume()
    this.#input.unref()
  }

  /** Opens the terminal; undefined where the process has none. */
  static open(): TtyLines | undefined {
    try {
      return new TtyLines(openSync(DEVICE, 'r+'), openSync(DEVICE, 'r+'))
    } catch {
      return undefined
    }
  }

  /** Shows something; a terminal that is gone shows nothing, and what is to be undone and written down then still is. */
  write(shown: string | Uint8Array): void {
    try {
      if (typeof shown === 'string') writeSync(this.#output, shown)
      else writeSync(this.#output, shown)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
    }
  }

  /**
   * Reads one line. What was pasted beyond the end of a hidden one is dropped: the next question would show it.
   *
   * @param target - takes the line; its owner wipes it.
   * @returns the number of bytes, or undefined if more was typed than `target` holds.
   * @throws CommandError (130) at Ctrl-C, when the process is asked to end, and when the terminal is gone.
   */
  async readLine(target: Buffer, echo: Echo): Promise<number | undefined> {
    const editor = new LineEditor(target, echo)
    const interrupted = (): void => this.#question?.failed(new CommandError(EX_INTERRUPTED, 'stopped'))
    for (const signal of ENDING_SIGNALS) process.on(signal, interrupted)
    this.#input.ref()
    try {
      let typed: Typed
      while ((typed = this.#typeInto(editor)) === 'more') await this.#nextBytes()
      this.write('\n')
      if (echo === 'asterisks') this.#forgetTyped()
      if (typed === 'stopped') throw new CommandError(EX_INTERRUPTED, 'stopped')
      return editor.isTooLong ? undefined : editor.length
    } finally {
      this.#question = undefined
      this.#input.unref()
      for (const signal of ENDING_SIGNALS) process.off(signal, interrupted)
    }
  }

  /** Gives the terminal back as it was. */
  close(): void {
    this.#forgetTyped()
    if (!this.#isGone) this.#input.setRawMode(false)
    this.#input.destroy()
    this.#arriving.fill(0)
    closeSync(this.#output)
  }

  #arrive(bytes: number): void {
    const arrived = this.#arriving.subarray(0, bytes)
    if (this.#question === undefined && arrived.includes(ETX)) {
      // Raw mode makes no signal of it, and there is no question that it could end.
      this.#forgetTyped()
      arrived.fill(0)
      process.kill(process.pid, 'SIGINT')
      return
    }
    const taken = arrived.copy(this.#typed, this.#typedBytes)
    this.#typedBytes += taken
    arrived.fill(0)
    this.#question?.arrived()
  }

  #forgetTyped(): void {
    this.#typed.fill(0)
    this.#typedBytes = 0
  }

  /** Takes the bytes that are there; what was typed beyond the end of the line stays for the next one. */
  #typeInto(editor: LineEditor): Typed {
    let from = 0
    let typed: Typed = 'more'
    while (typed === 'more' && from < this.#typedBytes) {
      typed = editor.type(this.#typed[from++]!, (shown) => this.write(shown))
    }
    this.#typed.copyWithin(0, from, this.#typedBytes)
    this.#typed.fill(0, this.#typedBytes - from, this.#typedBytes)
    this.#typedBytes -= from
    return typed
  }

  #nextBytes(): Promise<void> {
    return new Promise((arrived, failed) => {
      if (this.#isGone) failed(goneError())
      else this.#question = { arrived, failed }
    })
  }
}

function goneError(): CommandError {
  return new CommandError(EX_INTERRUPTED, 'stopped: the terminal is gone')
}
