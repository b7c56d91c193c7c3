/** Which requests are traced: those whose callers decided so, a share of the others, and never more than so many a second. */
import type { TracingConfig } from '../../config/schema.ts'
import { traceparentOf } from '../correlation.ts'

/** Whether a request is to be traced; `limited` if it were, but for the limit. */
export type Sampler = (traceparent: string | undefined, nowMs: number) => 'taken' | 'limited' | 'not'

/**
 * Makes the sampler of one gateway.
 *
 * A caller's decision stands, either way, so that a trace is whole. Any client can decide for all of its requests: so it is the
 * limit that bounds what traces cost, and not the share. Its bucket holds one second.
 *
 * @param random - a number from 0 up to 1, for each request that nobody has decided on.
 */
export function createSampler(
  { sampleRatio, tracesPerSecond }: Pick<TracingConfig, 'sampleRatio' | 'tracesPerSecond'>,
  random: () => number = Math.random,
): Sampler {
  let left = tracesPerSecond
  let filledMs = -Infinity
  return (traceparent, nowMs) => {
    const parent = traceparent === undefined ? undefined : traceparentOf(traceparent)
    const isWanted = parent === undefined ? random() < sampleRatio : parent.isSampled
    if (!isWanted) return 'not'
    left = Math.min(tracesPerSecond, left + ((nowMs - filledMs) / 1000) * tracesPerSecond)
    filledMs = nowMs
    if (left < 1) return 'limited'
    left--
    return 'taken'
  }
}
