/** Tells on standard error how far a migration is: one line redrawn on a terminal, and elsewhere a line every ten seconds. */
import type { Standing } from './record.ts'
import { rejectedRows } from './rejects.ts'

const REDRAW_MS = 250
const LINE_MS = 10_000
const ERASE_LINE = '\r\u001b[K'

/** What is written to. */
export interface Terminal {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

export class Progress {
  readonly #terminal: Terminal
  readonly #inputBytes: number | undefined
  readonly #standing: () => Standing
  readonly #timer: NodeJS.Timeout
  readonly #started = performance.now()
  readonly #bytesBefore: number
  readonly #rowsBefore: number

  /** @param inputBytes - the input's size; undefined if that shows only at the end. */
  constructor(terminal: Terminal, inputBytes: number | undefined, standing: () => Standing) {
    this.#terminal = terminal
    this.#inputBytes = inputBytes
    this.#standing = standing
    this.#bytesBefore = standing().input.bytes
    this.#rowsBefore = standing().rowsRead
    this.#timer = setInterval(() => this.#show(), terminal.isTTY ? REDRAW_MS : LINE_MS)
  }

  /** Writes a line of somebody else's, without tearing the one that is redrawn. */
  say(text: string): void {
    this.#terminal.write(`${this.#terminal.isTTY ? ERASE_LINE : ''}${text}\n`)
  }

  /** Shows the last state, and no more. */
  end(): void {
    clearInterval(this.#timer)
    if (this.#terminal.isTTY) this.#terminal.write(`${ERASE_LINE}${this.line()}\n`)
  }

  /** Percent of the bytes, rows, rows a second, time left, rejects. */
  line(): string {
    const { input, rowsRead, rowsRejected } = this.#standing()
    const seconds = (performance.now() - this.#started) / 1000
    const rate = (rowsRead - this.#rowsBefore) / seconds
    const parts = [`${rowsRead} rows`, `${Math.round(rate)} rows/s`]
    if (this.#inputBytes !== undefined) {
      const done = this.#inputBytes === 0 ? 1 : input.bytes / this.#inputBytes
      parts.unshift(`${Math.floor(100 * done)} %`)
      const left = ((this.#inputBytes - input.bytes) * seconds) / (input.bytes - this.#bytesBefore)
      if (Number.isFinite(left)) parts.push(`${clock(left)} left`)
    }
    return [...parts, `${rejectedRows(rowsRejected)} rejected`].join(', ')
  }

  #show(): void {
    const { isTTY, columns = 80 } = this.#terminal
    this.#terminal.write(isTTY ? `${ERASE_LINE}${this.line().slice(0, columns - 1)}` : `${this.line()}\n`)
  }
}

function clock(seconds: number): string {
  const whole = Math.ceil(seconds)
  const two = (value: number) => String(value).padStart(2, '0')
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`
}
