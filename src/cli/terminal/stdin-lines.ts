/** Answers that are not typed but come as lines of standard input, where a process has no terminal. */
import { createInterface, type Interface } from 'node:readline'
import { EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** The lines of standard input, each an answer. */
export class StdinLines {
  #reader: Interface | undefined
  #lines: AsyncIterator<string> | undefined

  /**
   * The next line.
   *
   * @throws CommandError (64) at the end of the input.
   */
  async next(): Promise<string> {
    this.#reader ??= createInterface({ input: process.stdin, terminal: false })
    this.#lines ??= this.#reader[Symbol.asyncIterator]()
    const next = await this.#lines.next()
    if (next.done === true) throw new CommandError(EX_USAGE, 'this command asks questions: run it at a terminal')
    return next.value
  }

  close(): void {
    this.#reader?.close()
  }
}
