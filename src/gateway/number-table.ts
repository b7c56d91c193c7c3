/**
 * A table from one number to another, for keys that are hashes: some hundred thousand entries at the price of two arrays.
 *
 * Open addressing with linear probing. The keys are pseudo-random already (subject-hash.ts), so that their low bits serve
 * as index; a Map would hash each of them again, as a heap number, and take ten times as long.
 */

const FIRST_SLOTS = 1024
/** A slot that is free; no key is negative. */
const FREE = -1

/** Makes room for entries as they come; nothing is ever taken out. */
export class NumberTable {
  #keys = new Float64Array(FIRST_SLOTS).fill(FREE)
  #values = new Float64Array(FIRST_SLOTS)
  #size = 0

  get size(): number {
    return this.#size
  }

  /** @param key - a pseudo-random integer from 0 to 2^53 − 1. */
  get(key: number): number | undefined {
    const slot = this.#slotOf(key)
    return this.#keys[slot] === key ? this.#values[slot] : undefined
  }

  /** The value that is there; undefined if there was none, and then `value` is. */
  getOrSet(key: number, value: number): number | undefined {
    const slot = this.#slotOf(key)
    if (this.#keys[slot] === key) return this.#values[slot]
    this.#keys[slot] = key
    this.#values[slot] = value
    if (++this.#size * 2 > this.#keys.length) this.#grow()
    return undefined
  }

  /** Where a key is, or the free slot where it belongs; half of all slots are free, so that there is one. */
  #slotOf(key: number): number {
    const keys = this.#keys
    const mask = keys.length - 1
    // The bitwise operator takes the low 32 bits of a number of 53.
    let slot = key & mask
    while (keys[slot] !== key && keys[slot] !== FREE) slot = (slot + 1) & mask
    return slot
  }

  #grow(): void {
    const keys = this.#keys
    const values = this.#values
    this.#keys = new Float64Array(keys.length * 2).fill(FREE)
    this.#values = new Float64Array(keys.length * 2)
    for (let i = 0; i < keys.length; i++) {
      if (keys[i] === FREE) continue
      const slot = this.#slotOf(keys[i]!)
      this.#keys[slot] = keys[i]!
      this.#values[slot] = values[i]!
    }
  }
}
