/**
 * Blocks whose encipherment under a key is known, so that every call can carry one and be judged by it: a token that errs, an
 * object that was replaced underneath, and an answer that belongs to another call show in the call itself.
 *
 * They are random, no PIN block is among them, and each call takes the next, so that a stale answer is not taken for a new one.
 */
import { randomFillSync } from 'node:crypto'

const PAIRS = 64

export class KnownPairs {
  readonly #clear: Buffer
  readonly #enciphered: Buffer
  readonly #blockBytes: number
  #next = 0

  constructor(clear: Buffer, enciphered: Buffer, blockBytes: number) {
    this.#clear = clear
    this.#enciphered = enciphered
    this.#blockBytes = blockBytes
  }

  /** The next pair: `from` is what goes into a call that works in this direction, `to` what has to come out. */
  take(direction: 'encipher' | 'decipher'): { readonly from: Buffer; readonly to: Buffer } {
    const at = this.#next * this.#blockBytes
    this.#next = (this.#next + 1) % PAIRS
    const clear = this.#clear.subarray(at, at + this.#blockBytes)
    const enciphered = this.#enciphered.subarray(at, at + this.#blockBytes)
    return direction === 'encipher' ? { from: clear, to: enciphered } : { from: enciphered, to: clear }
  }
}

/** Random blocks to make pairs of: as many as one key has. */
export function randomBlocks(blockBytes: number): Buffer {
  return randomFillSync(Buffer.alloc(PAIRS * blockBytes))
}
