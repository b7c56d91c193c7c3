/** Back-off between starts: none after the first failure, then doubling to a limit; a good start forgets it all. */

const FIRST_MS = 100
/** As long as it takes at most to notice that an HSM is back. */
const LONGEST_MS = 2_000

export class Backoff {
  #failures = 0

  /** The pause before the next start, counting this failure. */
  next(): number {
    const pause = this.#failures === 0 ? 0 : Math.min(LONGEST_MS, FIRST_MS * 2 ** (this.#failures - 1))
    this.#failures++
    return pause
  }

  /** A start went well. */
  reset(): void {
    this.#failures = 0
  }
}
