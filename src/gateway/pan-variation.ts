/**
 * Notices one PIN block that is tried with more than two PANs.
 *
 * Varying the PAN under one ISO 9564 format 0 block yields PIN digits, and answers 200 tell as much as errors do; so every
 * request counts, whatever its outcome. The first two PANs go on being served (a typing error and its correction), a third
 * never is. Memory is bounded: past `maxBlocks` the oldest blocks are forgotten, and their guess budgets still stand.
 */
import { createRecentMap } from './recent-map.ts'

/** Says whether a PAN may still be used under a block; both are keyed hashes. */
export type AdmitPan = (block: number, pan: number) => boolean

/** Makes the record of which PANs each block was seen with, kept for at least `windowMs`. */
export function createPanVariation(options: {
  readonly windowMs: number
  readonly maxBlocks?: number
  readonly now?: () => number
}): AdmitPan {
  const { maxBlocks = 2_000_000, ...clock } = options
  const firstPan = createRecentMap({ ...clock, maxEntries: maxBlocks })
  // Few blocks ever have a second one.
  const secondPan = createRecentMap({ ...clock, maxEntries: maxBlocks })

  return (block, pan) => {
    const first = firstPan.getOrSet(block, pan)
    if (first === undefined || first === pan) return true
    const second = secondPan.getOrSet(block, pan)
    return second === undefined || second === pan
  }
}
