/** The file of a transcript: made before the ceremony begins, so that it cannot fail for a path that is wrong. */
import { closeSync, fsyncSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs'
import { EX_CANTCREAT, EX_IOERR } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** A new file that only its owner can read; it goes away again if nothing was written to it. */
export class TranscriptFile implements Disposable {
  readonly path: string
  readonly #file: number
  #isWritten = false

  /** @throws CommandError if there is something of that name, or it cannot be made. */
  constructor(path: string) {
    this.path = path
    try {
      this.#file = openSync(path, 'wx', 0o600)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EEXIST') {
        throw new CommandError(EX_CANTCREAT, `--transcript: there is a ${path} already, and it is not overwritten`)
      }
      throw new CommandError(EX_IOERR, `--transcript: ${path} cannot be made (${code})`)
    }
  }

  /** Writes the text, in the place of what was written before. */
  write(text: string): void {
    // What could not be written whole goes away too: the text before it would be one that is no longer true.
    this.#isWritten = false
    try {
      ftruncateSync(this.#file)
      const bytes = Buffer.from(text)
      let written = 0
      while (written < bytes.length) written += writeSync(this.#file, bytes, written, bytes.length - written, written)
      fsyncSync(this.#file)
      this.#isWritten = true
    } catch (error) {
      throw new CommandError(EX_IOERR, `--transcript: writing failed (${(error as NodeJS.ErrnoException).code})`)
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#file)
    if (!this.#isWritten) rmSync(this.path, { force: true })
  }
}
