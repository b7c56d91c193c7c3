/** Edits one line as its bytes are typed, in place, so that a hidden answer never is in more than one place. */

/** Ctrl-C. */
export const ETX = 0x03
const EOT = 0x04
const BACKSPACE = 0x08
const NEWLINE = 0x0a
const RETURN = 0x0d
const CTRL_U = 0x15
const ESCAPE = 0x1b
const DELETE = 0x7f

/** What the person sees of what he types: the characters, or an asterisk for each. */
export type Echo = 'characters' | 'asterisks'

/** What became of a byte: the line goes on, is complete, or is given up with Ctrl-C, or Ctrl-D before anything else. */
export type Typed = 'more' | 'complete' | 'stopped'

/** One line of UTF-8 under the keys that a terminal has: backspace, Ctrl-U, Enter, Ctrl-C and Ctrl-D. */
export class LineEditor {
  readonly #target: Buffer
  readonly #echo: Echo
  #length = 0
  /** Characters beyond the end of the target: counted, not kept. */
  #excess = 0
  #escape: 'none' | 'begun' | 'sequence' = 'none'

  /** @param target - takes the line; its owner wipes it. */
  constructor(target: Buffer, echo: Echo) {
    this.#target = target
    this.#echo = echo
  }

  /** How many bytes the line has. */
  get length(): number {
    return this.#length
  }

  /** Whether more was typed than the target holds. */
  get isTooLong(): boolean {
    return this.#excess > 0
  }

  /**
   * Takes one typed byte.
   *
   * @param write - shows something to the person: never a byte of the line, unless the echo is `characters`.
   */
  type(byte: number, write: (shown: string | Uint8Array) => void): Typed {
    if (this.#isInEscape(byte)) return 'more'
    if (byte === RETURN || byte === NEWLINE) return 'complete'
    if (byte === ETX || (byte === EOT && this.#length === 0)) return 'stopped'
    if (byte === BACKSPACE || byte === DELETE) this.#eraseOne(write)
    else if (byte === CTRL_U) while (this.#length + this.#excess > 0) this.#eraseOne(write)
    else if (byte >= 0x20) this.#append(byte, write)
    return 'more'
  }

  #append(byte: number, write: (shown: string | Uint8Array) => void): void {
    if (this.#length === this.#target.length || this.#excess > 0) {
      if (isContinuation(byte)) return
      this.#excess++
      // A bell for each: what is pasted by mistake is mostly far too long.
      write(this.#echo === 'asterisks' ? '*' : '\x07')
      return
    }
    this.#target[this.#length++] = byte
    if (this.#echo === 'characters') write(Uint8Array.of(byte))
    else if (!isContinuation(byte)) write('*')
  }

  #eraseOne(write: (shown: string | Uint8Array) => void): void {
    if (this.#excess > 0) {
      this.#excess--
      if (this.#echo === 'asterisks') write('\b \b')
      return
    }
    if (this.#length === 0) return
    let byte: number
    do {
      byte = this.#target[--this.#length]!
      this.#target[this.#length] = 0
    } while (isContinuation(byte) && this.#length > 0)
    write('\b \b')
  }

  /** Cursor keys and the like, which send a sequence that begins with ESC: nothing of it is part of the line. */
  #isInEscape(byte: number): boolean {
    if (byte === ESCAPE) {
      this.#escape = 'begun'
      return true
    }
    if (this.#escape === 'none') return false
    if (this.#escape === 'begun' && (byte === 0x5b || byte === 0x4f)) {
      this.#escape = 'sequence'
      return true
    }
    const isParameter = this.#escape === 'sequence' && byte >= 0x20 && byte < 0x40
    const isFinal = this.#escape === 'sequence' && byte >= 0x40 && byte < 0x7f
    if (!isParameter) this.#escape = 'none'
    return isParameter || isFinal
  }
}

/** Whether a byte of UTF-8 is another one of the same character. */
function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80
}
