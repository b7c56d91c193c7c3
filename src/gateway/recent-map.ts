/**
 * A map that forgets: in two generations, so that neither remembering nor forgetting looks at more than one entry.
 *
 * An entry is kept for at least `windowMs`, and at most twice as long; past `maxEntries` the older generation goes early.
 */
import { NumberTable } from './number-table.ts'

/** Look-ups from the hash of a subject to another number. */
export interface RecentMap {
  readonly get: (key: number) => number | undefined
  /** The value that is there; undefined if there was none, and then `value` is. */
  readonly getOrSet: (key: number, value: number) => number | undefined
}

/** Makes a map; `now` is a clock in milliseconds that nobody sets. */
export function createRecentMap(options: {
  readonly windowMs: number
  readonly maxEntries: number
  readonly now?: () => number
}): RecentMap {
  const { windowMs, maxEntries, now = () => performance.now() } = options
  let current = new NumberTable()
  let previous = new NumberTable()
  let turnsAt = now() + windowMs

  const turnIfDue = () => {
    const at = now()
    if (at < turnsAt && current.size < maxEntries / 2) return
    // After a long silence the younger generation is out of date too.
    previous = at < turnsAt + windowMs ? current : new NumberTable()
    current = new NumberTable()
    turnsAt = at + windowMs
  }
  const find = (key: number) => current.get(key) ?? previous.get(key)
  const get = (key: number) => {
    // The clock is looked at only where something is found: what is not there cannot be too old.
    if (find(key) === undefined) return undefined
    turnIfDue()
    return find(key)
  }
  return {
    get,
    getOrSet: (key, value) => {
      turnIfDue()
      return previous.get(key) ?? current.getOrSet(key, value)
    },
  }
}
