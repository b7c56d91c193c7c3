/** Which PIN block a block was made from, so that a chain of translations is one block to the guessing limits. */

/** Look-ups by keyed hash. */
export interface BlockOrigins {
  readonly get: (block: string) => string | undefined
  /** Notes that `block` was made from `origin`; the first origin stays, and a block is not its own. */
  readonly set: (block: string, origin: string) => void
}

/** Makes the record, kept for `windowMs`; past `maxBlocks` the oldest is forgotten. */
export function createOrigins(windowMs: number, maxBlocks = 500_000, now = Date.now): BlockOrigins {
  // Insertion order is age, because an entry is never put back.
  const origins = new Map<string, { readonly until: number; readonly origin: string }>()
  return {
    get: (block) => {
      const entry = origins.get(block)
      return entry !== undefined && entry.until > now() ? entry.origin : undefined
    },
    set: (block, origin) => {
      const at = now()
      for (const [oldest, { until }] of origins) {
        if (until > at && origins.size < maxBlocks) break
        origins.delete(oldest)
      }
      if (block !== origin && !origins.has(block)) origins.set(block, { until: at + windowMs, origin })
    },
  }
}
