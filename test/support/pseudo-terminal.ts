/** A command at a terminal of its own, where a test reads the screen and types as a person would: it waits for text, never for time. */
import { spawn, type ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'

const NODE = new URL('../../node_modules/.bin/node', import.meta.url).pathname
const CLI = new URL('../../dist/cli/main.js', import.meta.url).pathname
const HELPER = new URL('pseudo-terminal.py', import.meta.url).pathname
const PATIENCE_MS = 50_000

/** How a command ended: negative for a signal; whether the terminal is set as it was before. */
export interface TerminalEnd {
  readonly code: number
  readonly restored: boolean
  readonly echoes: boolean
}

/** A command that runs at a terminal. */
export class PseudoTerminal {
  readonly #helper: ChildProcess
  readonly #began: Promise<{ readonly pid: number }>
  readonly #ended: Promise<TerminalEnd>
  #shown = ''
  #seen = 0
  #look: () => void = () => undefined

  private constructor(command: readonly string[], environment: Readonly<Record<string, string>>) {
    this.#helper = spawn('/usr/bin/env', ['python3', HELPER, ...command], {
      stdio: ['pipe', 'pipe', 'inherit', 'pipe'],
      env: { PATH: process.env['PATH'] ?? '', TERM: 'xterm', ...environment },
    })
    this.#helper.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.#shown += text
      this.#look()
    })
    const lines = linesOf(this.#helper.stdio[3] as Readable)
    this.#began = lines.next().then(({ value }) => JSON.parse(value!) as { pid: number })
    this.#ended = this.#began
      .then(() => lines.next())
      .then(async ({ value }) => {
        await allShown
        return JSON.parse(value!) as TerminalEnd
      })
    const allShown = new Promise<void>((resolve) => this.#helper.stdout!.once('end', () => resolve()))
    // Who waits for them hears of it.
    for (const each of [this.#began, this.#ended]) each.catch(() => undefined)
  }

  /** Starts the built `pinbridge` command. */
  static pinbridge(args: readonly string[], environment: Readonly<Record<string, string>> = {}): PseudoTerminal {
    return new PseudoTerminal([NODE, CLI, ...args], environment)
  }

  /** Starts any program. */
  static spawn(command: readonly string[], environment: Readonly<Record<string, string>> = {}): PseudoTerminal {
    return new PseudoTerminal(command, environment)
  }

  /** The process of the command. */
  async pid(): Promise<number> {
    return (await this.#began).pid
  }

  /** All that was shown. */
  get shown(): string {
    return this.#shown
  }

  /**
   * Waits until something is shown, after what was last waited for.
   *
   * @returns what was shown since then, up to and with it.
   */
  async expect(text: string | RegExp): Promise<string> {
    return new Promise<string>((resolve, reject) => {
      const fail = (why: string): void => {
        done()
        reject(new Error(`${why} while waiting for ${String(text)}; shown since:\n${this.#shown.slice(this.#seen)}`))
      }
      const timer = setTimeout(() => fail('time went by'), PATIENCE_MS)
      const onEnd = (): void => fail('it ended')
      const done = (): void => {
        clearTimeout(timer)
        this.#look = () => undefined
        this.#helper.stdout!.off('end', onEnd)
      }
      this.#look = () => {
        const rest = this.#shown.slice(this.#seen)
        const found = typeof text === 'string' ? { 0: text, index: rest.indexOf(text) } : text.exec(rest)
        if (!found || found.index < 0) return
        const until = found.index + found[0].length
        this.#seen += until
        done()
        resolve(rest.slice(0, until))
      }
      if (this.#helper.stdout!.readableEnded) fail('it ended before')
      else {
        this.#helper.stdout!.once('end', onEnd)
        this.#look()
      }
    })
  }

  /** Types. */
  type(keys: string): void {
    this.#helper.stdin!.write(keys)
  }

  /** Types an answer to a question, once it is asked; returns what was shown up to the question. */
  async answer(question: string | RegExp, line: string): Promise<string> {
    const shown = await this.expect(question)
    this.type(`${line}\r`)
    return shown
  }

  /** Waits until the command has ended. */
  end(): Promise<TerminalEnd> {
    return this.#ended
  }

  /** Hangs up, as when the window is closed; resolves once the command can know of it. */
  async hangUp(): Promise<void> {
    const hungUp = new Promise<void>((resolve) => this.#helper.stdout!.once('end', () => resolve()))
    this.#helper.kill('SIGUSR1')
    await hungUp
  }

  /** Ends it at once, whatever it does. */
  kill(): void {
    this.#helper.stdin!.end()
  }
}

async function* linesOf(stream: Readable): AsyncGenerator<string, undefined> {
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) {
    text += chunk as string
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
      yield text.slice(0, at)
      text = text.slice(at + 1)
    }
  }
  return undefined
}
