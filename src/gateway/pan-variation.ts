/**
 * Notices one PIN block that is tried with more than two PANs.
 *
 * Varying the PAN under one ISO 9564 format 0 block yields PIN digits, and answers 200 tell as much as errors do; so every
 * request counts, whatever its outcome. The first two PANs go on being served (a typing error and its correction), a third
 * never is. Memory is bounded: past `maxBlocks` the oldest block is forgotten, and its guess budget still stands.
 */

const MAX_PANS = 2

/** Says whether a PAN may still be used under a block; both are keyed hashes. */
export type AdmitPan = (block: string, pan: string) => boolean

/** Makes the record of which PANs each block was seen with, kept for `windowMs` from a block's first sight. */
export function createPanVariation(options: {
  readonly windowMs: number
  readonly maxBlocks?: number
  readonly now?: () => number
}): AdmitPan {
  const { windowMs, maxBlocks = 500_000, now = Date.now } = options
  // Insertion order is age, because an entry is never put back.
  const seen = new Map<string, { readonly until: number; readonly pans: string[] }>()

  return (block, pan) => {
    const at = now()
    for (const [oldest, { until }] of seen) {
      if (until > at && seen.size <= maxBlocks) break
      seen.delete(oldest)
    }
    const entry = seen.get(block)
    if (entry === undefined) {
      seen.set(block, { until: at + windowMs, pans: [pan] })
      return true
    }
    if (entry.pans.includes(pan)) return true
    if (entry.pans.length >= MAX_PANS) return false
    entry.pans.push(pan)
    return true
  }
}
