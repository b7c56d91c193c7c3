/** Asks each question of the set-up once: of the answers file if it has the answer, else of the person at the terminal. */
import { EX_DATAERR, EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'
import type { Terminal } from '../terminal/terminal.ts'
import type { Answers, ClientAnswer, QuestionName } from './answers.ts'

/** A question. */
export interface Question {
  readonly name: QuestionName
  readonly text: string
  /** What a person should know before he answers. */
  readonly help?: string
  /** Taken for an empty answer, and where there is nobody to ask. */
  readonly fallback?: string
  /** What is wrong with an answer. */
  readonly problemOf?: (answer: string) => string | undefined
}

/** Who answers, and what was answered. */
export class Questions {
  readonly terminal: Terminal
  readonly #file: Answers | undefined
  readonly #throwIfInterrupted: () => void
  readonly #given = new Map<QuestionName, string>()

  /** @param throwIfInterrupted - is asked before each question: Ctrl-C between two of them counts too. */
  constructor(terminal: Terminal, file: Answers | undefined, throwIfInterrupted: () => void) {
    this.terminal = terminal
    this.#file = file
    this.#throwIfInterrupted = throwIfInterrupted
  }

  /** What was answered so far, in its order. */
  get given(): ReadonlyMap<QuestionName, string> {
    return this.#given
  }

  /** The clients of the answers file; undefined where a person is to be asked. */
  get clients(): readonly ClientAnswer[] | undefined {
    return this.#file?.clients ?? (this.terminal.isInteractive ? undefined : [])
  }

  /** Shows a person where he is; not said where nobody is asked. */
  explain(text: string): void {
    if (this.terminal.isInteractive) this.terminal.say(text)
  }

  /**
   * Asks a question.
   *
   * @throws CommandError; where the file's answer is wrong (65), or where there is no answer and nobody to ask (64).
   */
  async ask(question: Question): Promise<string> {
    const answer = await this.#answerOf(question)
    this.#given.set(question.name, answer)
    return answer
  }

  /** Asks for yes or no. */
  async agree(name: QuestionName, text: string, help?: string): Promise<boolean> {
    this.#throwIfInterrupted()
    const filed = this.#file?.texts.get(name)
    if (filed === undefined && help !== undefined) this.explain(help)
    const agreed =
      filed !== undefined ? filed === 'yes' : this.terminal.isInteractive && (await this.terminal.confirm(text))
    this.#given.set(name, agreed ? 'yes' : 'no')
    return agreed
  }

  /**
   * Says what is dangerous and has `expected` typed.
   *
   * @throws CommandError (64) if it is not.
   */
  async agreeByTyping(name: QuestionName, sentence: string, expected: string): Promise<void> {
    this.#throwIfInterrupted()
    const filed = this.#file?.texts.get(name)
    if (filed === undefined && this.terminal.isInteractive) await this.terminal.confirmByTyping(sentence, expected)
    else if (filed !== expected) {
      throw new CommandError(EX_USAGE, `${sentence} To go on all the same, answer ${name} with: ${expected}`)
    }
    this.#given.set(name, expected)
  }

  async #answerOf({ name, text, help, fallback, problemOf }: Question): Promise<string> {
    this.#throwIfInterrupted()
    const filed = this.#file?.texts.get(name)
    if (filed === undefined && this.terminal.isInteractive) {
      if (help !== undefined) this.terminal.say(`\n${help}`)
      return this.terminal.ask(text, {
        ...(fallback !== undefined && { fallback }),
        ...(problemOf && { problemOf }),
      })
    }
    const answer = filed ?? fallback
    if (answer === undefined) throw new CommandError(EX_USAGE, `--answers: ${name} is not answered (${text})`)
    const problem = problemOf?.(answer)
    if (problem !== undefined) throw new CommandError(EX_DATAERR, `--answers: ${name}: ${problem}`)
    return answer
  }
}
