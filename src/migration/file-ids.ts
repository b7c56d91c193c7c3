/**
 * The ids of a whole file, by the leftmost 96 bits of the SHA-256 of each: that two of a billion ids differ and look alike
 * happens in one of 10¹¹ files.
 *
 * An id takes 16 to 32 bytes, and 48 while the table grows.
 */
import { hash } from 'node:crypto'
import type { IdSet } from '../rows/row-batch.ts'

const WORDS = 3
const FIRST_PLACES = 2 ** 16

export class FileIds implements IdSet {
  #places = FIRST_PLACES
  /** Three words a place; a place of zeros is free. */
  #table = new Int32Array(FIRST_PLACES * WORDS)
  #count = 0

  startStretch(): void {
    // The file is one stretch.
  }

  add(bytes: Uint8Array, from: number, to: number): boolean {
    if (4 * this.#count >= 3 * this.#places) this.#grow()
    // A string is made three times as quickly as a buffer of it.
    const digest = hash('sha256', bytes.subarray(from, to), 'binary')
    const isNew = this.#put(wordAt(digest, 0), wordAt(digest, 4), wordAt(digest, 8))
    if (isNew) this.#count++
    return isNew
  }

  #put(a: number, b: number, c: number): boolean {
    const table = this.#table
    for (let place = (a >>> 0) % this.#places; ; place = (place + 1) % this.#places) {
      const i = place * WORDS
      if (table[i] === a && table[i + 1] === b && table[i + 2] === c) return false
      if (table[i] === 0 && table[i + 1] === 0 && table[i + 2] === 0) {
        table[i] = a
        table[i + 1] = b
        table[i + 2] = c
        return true
      }
    }
  }

  #grow(): void {
    const old = this.#table
    this.#places *= 2
    this.#table = new Int32Array(this.#places * WORDS)
    for (let i = 0; i < old.length; i += WORDS) {
      const [a, b, c] = [old[i]!, old[i + 1]!, old[i + 2]!]
      if (a !== 0 || b !== 0 || c !== 0) this.#put(a, b, c)
    }
  }
}

function wordAt(bytes: string, at: number): number {
  return (
    bytes.charCodeAt(at) |
    (bytes.charCodeAt(at + 1) << 8) |
    (bytes.charCodeAt(at + 2) << 16) |
    (bytes.charCodeAt(at + 3) << 24)
  )
}
