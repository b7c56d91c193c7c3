/** The custodians of a ceremony: each in turn is alone at the screen, and nobody is two of them. */
import { nameProblem, type Transcript } from './transcript.ts'
import type { Terminal } from '../terminal/terminal.ts'

/** One custodian at the screen. */
export interface Custodian {
  /** From 1. */
  readonly number: number
  readonly name: string
}

/** Calls one custodian after the other; the screen, and what scrolled off it, is cleared between them. */
export class Custodians {
  readonly #terminal: Terminal
  readonly #transcript: Transcript
  readonly #count: number
  readonly #names: string[] = []

  constructor(terminal: Terminal, transcript: Transcript, count: number) {
    this.#terminal = terminal
    this.#transcript = transcript
    this.#count = count
  }

  /** All of them, in turn. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Custodian> {
    for (let number = 1; number <= this.#count; number++) {
      const name = await this.#call(number)
      yield { number, name }
    }
    this.#terminal.clear()
  }

  async #call(number: number): Promise<string> {
    const terminal = this.#terminal
    terminal.clear()
    terminal.say(`Custodian ${number} of ${this.#count}`)
    terminal.say('Everybody else leaves the screen and the keyboard now.\n')
    const name = await terminal.ask(`Name or role of custodian ${number}`, {
      problemOf: (answer) => nameProblem(answer) ?? this.#sameProblem(answer),
    })
    this.#names.push(name)
    this.#transcript.note(`Custodian ${number} is ${name}.`)
    return name
  }

  #sameProblem(name: string): string | undefined {
    const earlier = this.#names.findIndex((each) => withoutManner(each) === withoutManner(name))
    return earlier < 0 ? undefined : `that is custodian ${earlier + 1} already: one person must not know two components`
  }
}

/** A name without what makes no other name of it: case, spaces, and how its letters are encoded. */
function withoutManner(name: string): string {
  return name.normalize('NFKC').replaceAll(/\s+/g, ' ').toLowerCase()
}
