/** The ids of one stretch of rows, compared byte for byte. */
import { randomInt } from 'node:crypto'
import type { IdSet } from './row-batch.ts'

/** A multiplier of FNV-1a, whose spread over the low bits is enough for a table. */
const PRIME = 0x01000193

export class ChunkIds implements IdSet {
  /** What a file could be made to collide with is not known to who makes it. */
  readonly #seed = randomInt(2 ** 32)
  readonly #mask: number
  /** One more than the number of an id; 0 for a free place. */
  readonly #table: Int32Array
  readonly #hashes: Int32Array
  readonly #ends: Int32Array
  #count = 0
  #text: Buffer

  /**
   * @param capacity - the most ids.
   * @param bytes - the most bytes of all ids together.
   */
  constructor(capacity: number, bytes: number) {
    const places = 2 ** Math.ceil(Math.log2(2 * capacity))
    this.#mask = places - 1
    this.#table = new Int32Array(places)
    this.#hashes = new Int32Array(capacity)
    this.#ends = new Int32Array(capacity + 1)
    this.#text = Buffer.allocUnsafeSlow(bytes)
  }

  startStretch(): void {
    this.#table.fill(0)
    this.#count = 0
  }

  add(bytes: Uint8Array, from: number, to: number): boolean {
    const text = this.#text
    const start = this.#ends[this.#count]!
    let hash = this.#seed
    let end = start
    for (let i = from; i < to; i++) {
      const byte = bytes[i]!
      text[end++] = byte
      hash = Math.imul(hash ^ byte, PRIME)
    }
    hash ^= hash >>> 15
    for (let place = hash & this.#mask; ; place = (place + 1) & this.#mask) {
      const other = this.#table[place]!
      if (other === 0) {
        this.#hashes[this.#count] = hash
        this.#ends[++this.#count] = end
        this.#table[place] = this.#count
        return true
      }
      if (this.#hashes[other - 1] === hash && this.#isSame(other - 1, start, end)) return false
    }
  }

  #isSame(other: number, start: number, end: number): boolean {
    const from = this.#ends[other]!
    if (this.#ends[other + 1]! - from !== end - start) return false
    for (let i = start, j = from; i < end; i++, j++) if (this.#text[i] !== this.#text[j]) return false
    return true
  }
}
