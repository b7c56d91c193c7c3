/** The machine's monotonic clock, which gateway and vaults share: whoever sets the wall clock leaves it alone. */

const OFFSET_MS = Number(process.hrtime.bigint()) / 1e6 - performance.now()

/** A moment of performance.now() of this process, in milliseconds of the machine's clock. */
export function monotonicMs(momentMs = performance.now()): number {
  return momentMs + OFFSET_MS
}
