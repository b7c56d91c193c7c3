/** Which PIN block a block was made from, so that a chain of translations is one block to the guessing limits. */
import { createRecentMap } from './recent-map.ts'

/** Look-ups by keyed hash. */
export interface BlockOrigins {
  readonly get: (block: number) => number | undefined
  /** Notes that `block` was made from `origin`; the first origin stays, and a block is not its own. */
  readonly set: (block: number, origin: number) => void
}

/** Makes the record, kept for at least `windowMs`; past `maxBlocks` the oldest are forgotten. */
export function createOrigins(windowMs: number, maxBlocks = 2_000_000): BlockOrigins {
  const origins = createRecentMap({ windowMs, maxEntries: maxBlocks })
  return {
    get: origins.get,
    set: (block, origin) => {
      if (block !== origin) origins.getOrSet(block, origin)
    },
  }
}
