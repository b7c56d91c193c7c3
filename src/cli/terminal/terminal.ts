/** Questions to the person at the terminal, and his answers: they are no part of the command's output. */
import { EX_USAGE } from '../../exit-codes.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import { StdinLines } from './stdin-lines.ts'
import { TtyLines } from './tty-lines.ts'

const MOST_ANSWER_BYTES = 1024
// Home, the screen, and what scrolled off it.
const CLEAR = '\x1b[H\x1b[2J\x1b[3J'
const TO_OTHER_SCREEN = '\x1b[?1049h'
const FROM_OTHER_SCREEN = '\x1b[?1049l'

/** The person at the terminal. Where there is none, lines of standard input answer, and nothing can be asked hidden. */
export interface Terminal {
  /** Whether there is a terminal. */
  readonly isInteractive: boolean

  /** Shows a line, or several, to the person: never on standard output. */
  say(text: string): void

  /** Shows a line of secret bytes, such as hex digits: it is made no string. Nothing, where there is no terminal. */
  showSecret(line: Uint8Array): void

  /**
   * Asks for a line.
   *
   * @param options - `fallback` is taken for an empty answer; `problemOf` says what is wrong with an answer, which is then
   *   asked for again.
   * @throws CommandError (130) at Ctrl-C; (64) where lines of standard input answer, and they end or are wrong.
   */
  ask(question: string, options?: AskOptions): Promise<string>

  /**
   * Asks for a secret, shown as asterisks: it is in a slice of `secrets` only, never in a string.
   *
   * @param mostBytes - what is longer is asked for again.
   * @returns the bytes as they were typed, perhaps none; wiped when the scope ends.
   * @throws CommandError (130) at Ctrl-C; (64) where there is no terminal.
   */
  askHidden(question: string, secrets: SecretScope, mostBytes: number): Promise<Buffer>

  /** Asks for yes or no; an empty answer is no. */
  confirm(question: string): Promise<boolean>

  /** Says what will happen and has `expected` typed, such as the id of the key that it happens to; otherwise throws (64). */
  confirmByTyping(sentence: string, expected: string): Promise<void>

  /** Clears the screen and what scrolled off it. */
  clear(): void

  /**
   * Lends `work` a screen of its own, which is gone when it ends and which a terminal does not let scroll back.
   */
  onOtherScreen<T>(work: () => Promise<T>): Promise<T>

  /** Gives the terminal back; what was asked before is answered. */
  close(): void
}

/** How a question is asked. */
export interface AskOptions {
  readonly fallback?: string
  readonly problemOf?: (answer: string) => string | undefined
}

/** Opens the terminal of this process; whoever opens it closes it. */
export function openTerminal(): Terminal {
  const tty = TtyLines.open()
  return tty ? new Questions(tty) : new Questions(undefined)
}

class Questions implements Terminal {
  readonly #tty: TtyLines | undefined
  readonly #stdin = new StdinLines()

  constructor(tty: TtyLines | undefined) {
    this.#tty = tty
  }

  get isInteractive(): boolean {
    return this.#tty !== undefined
  }

  say(text: string): void {
    this.#write(`${text}\n`)
  }

  showSecret(line: Uint8Array): void {
    this.#tty?.write(line)
    this.#tty?.write('\n')
  }

  async ask(question: string, { fallback, problemOf }: AskOptions = {}): Promise<string> {
    for (;;) {
      this.#write(fallback ? `${question} [${fallback}]: ` : `${question}: `)
      const line = await this.#line()
      const answer = line === '' ? fallback : line
      const problem =
        answer === undefined ? (line === '' ? 'an answer is needed' : 'that is too long') : problemOf?.(answer)
      if (answer !== undefined && problem === undefined) return answer
      if (!this.isInteractive) throw new CommandError(EX_USAGE, `${question}: ${problem}`)
      this.say(`  ${problem}`)
    }
  }

  async askHidden(question: string, secrets: SecretScope, mostBytes: number): Promise<Buffer> {
    if (!this.#tty) throw new CommandError(EX_USAGE, 'this is typed at a terminal, and there is none')
    const target = secrets.take(mostBytes)
    for (;;) {
      this.#write(`${question}: `)
      const bytes = await this.#tty.readLine(target, 'asterisks')
      if (bytes !== undefined) return target.subarray(0, bytes)
      target.fill(0)
      this.say(`  that is longer than ${mostBytes} characters: type it again`)
    }
  }

  async confirm(question: string): Promise<boolean> {
    const isYes = (answer: string): boolean => /^y(?:es)?$/i.test(answer)
    const isNo = (answer: string): boolean => /^(?:no?)?$/i.test(answer)
    const problemOf = (answer: string) => (isYes(answer) || isNo(answer) ? undefined : 'answer y for yes or n for no')
    return isYes(await this.ask(`${question} [y/N]`, { fallback: '', problemOf }))
  }

  async confirmByTyping(sentence: string, expected: string): Promise<void> {
    this.say(sentence)
    const answer = await this.ask(`Type ${expected} to go on`, { fallback: '' })
    if (answer !== expected) throw new CommandError(EX_USAGE, `${expected} was not typed: nothing was changed`)
  }

  clear(): void {
    if (this.#tty) this.#write(CLEAR)
  }

  async onOtherScreen<T>(work: () => Promise<T>): Promise<T> {
    if (!this.#tty) return work()
    this.#write(`${TO_OTHER_SCREEN}${CLEAR}`)
    try {
      return await work()
    } finally {
      this.#write(`${CLEAR}${FROM_OTHER_SCREEN}`)
    }
  }

  close(): void {
    this.#tty?.close()
    this.#stdin.close()
  }

  async #line(): Promise<string | undefined> {
    if (!this.#tty) return (await this.#stdin.next()).trim()
    using scope = new SecretScope()
    const target = scope.take(MOST_ANSWER_BYTES)
    const bytes = await this.#tty.readLine(target, 'characters')
    return bytes === undefined ? undefined : target.toString('utf8', 0, bytes).trim()
  }

  #write(text: string): void {
    if (this.#tty) this.#tty.write(text)
    else process.stderr.write(text)
  }
}
