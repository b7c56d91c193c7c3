/**
 * Finds a vault that hangs while it holds nothing. No deadline runs out for it, and where it is the last one no request may
 * ever find it: whoever balances the load sees that the service is not ready, and sends none.
 */
import type { VaultPool } from '../bridge/vault-pool.ts'
import { SELF_TEST_BOUND_MS } from './status.ts'

const LOOK_EVERY_MS = 1_000
/** A look that comes so late says that this process stood still; then the vaults did too, or have not been read yet. */
const LATE_MS = 5_000

/** Looks from now on, and gives up each idle vault whose keys have not been known to give their answers for too long. */
export function watchForHungVaults(pool: Pick<VaultPool, 'vaults' | 'giveUp'>): void {
  let lookedAtMs = performance.now()
  setInterval(() => {
    const sinceLookMs = performance.now() - lookedAtMs
    lookedAtMs += sinceLookMs
    if (sinceLookMs > LATE_MS) return
    for (const { id, inFlight, selfTestAgeMs } of pool.vaults) {
      if (inFlight === 0 && selfTestAgeMs > SELF_TEST_BOUND_MS) pool.giveUp(id)
    }
  }, LOOK_EVERY_MS).unref()
}
