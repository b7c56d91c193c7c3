/** Collects garbage once nothing is asked any more: V8 keeps dead strings, and so PANs, until it needs their room (M-7). */
import type { OpenRequests } from './client-errors.ts'

const LOOK_EVERY_MS = 1_000

/**
 * Collects when no request is open and none has come since the look before, once for all that came.
 *
 * Under load V8 collects by itself. What is collected is overwritten by the flags that the gateway is started with
 * (supervisor/spawn.ts); a gateway that is started otherwise collects nothing here.
 */
export function collectWhenIdle(requests: Pick<OpenRequests, 'counts'>): void {
  const { gc } = globalThis
  let seen = 0
  let collected = 0
  if (gc === undefined) return
  setInterval(() => {
    const { open, ever } = requests.counts()
    const isIdle = open === 0 && ever === seen
    seen = ever
    if (!isIdle || ever === collected) return
    collected = ever
    gc()
  }, LOOK_EVERY_MS)
}
