/** Where a gateway counts: in its memory, or in a store that it shares with others, and then in memory while that is gone if it may. */
import type { GatewayConfig } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import { createGuessLimits, type GuessLimits, type MaybePromise } from './guess-limits.ts'
import type { HashSource } from './hash-source.ts'
import type { LimitStore } from './limit-store.ts'
import { createSharedCounters } from './shared-counters.ts'
import { createSharedGuessLimits } from './shared-guess-limits.ts'
import { createMemoryCounters, createUsedCounters, type UsedCounters } from './used-counters.ts'

/** For this long beyond a call's deadlines a counter stays reserved. */
const RESERVE_MARGIN_MS = 5_000

/** What a gateway counts. */
export interface Limits {
  /** The guessing limits, once their hash key is known. */
  readonly guesses: () => Promise<GuessLimits>
  readonly counters: UsedCounters
}

/** Makes the limits of one gateway. */
export function createLimits(
  limits: GatewayConfig['limits'],
  hashes: HashSource,
  store: LimitStore | undefined,
): Limits {
  let made: Promise<GuessLimits> | undefined
  const make = async (): Promise<GuessLimits> => {
    const hash = await hashes()
    if (store === undefined) return createGuessLimits(limits, hash)
    const shared = createSharedGuessLimits(limits, hash, store)
    return store.whenGone === 'memory' ? withFallback(shared, createGuessLimits(limits, hash)) : shared
  }
  const { counterTtlMs, hsmMs } = limits
  const counters =
    store === undefined
      ? createMemoryCounters(counterTtlMs)
      : createSharedCounters(store, 2 * hsmMs + RESERVE_MARGIN_MS, counterTtlMs)
  return {
    guesses: () => {
      made ??= make().catch((error: unknown) => {
        made = undefined
        throw error
      })
      return made
    },
    counters: createUsedCounters(counters, hashes),
  }
}

function isStoreGone(error: unknown): boolean {
  return error instanceof ServiceError && error.detail?.reason === 'limit-store-gone'
}

/** Counts in memory what the store cannot be asked about; what it knew is then not known. */
function withFallback(shared: GuessLimits, memory: GuessLimits): GuessLimits {
  const or = async <T>(ask: MaybePromise<T>, instead: () => MaybePromise<T>): Promise<T> => {
    try {
      return await ask
    } catch (error) {
      if (!isStoreGone(error)) throw error
      return instead()
    }
  }
  return {
    reserve: (attempt) =>
      or(
        (async () => {
          const reservation = await shared.reserve(attempt)
          if ('reason' in reservation) return reservation
          return { ...reservation, made: (block) => or(reservation.made(block), () => {}) }
        })(),
        () => memory.reserve(attempt),
      ),
    refuseBatch: (client) => or(shared.refuseBatch(client), () => memory.refuseBatch(client)),
    settleBatch: (batch) => or(shared.settleBatch(batch), () => memory.settleBatch(batch)),
  }
}
