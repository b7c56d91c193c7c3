/**
 * The PIN change counters that were used, where a D1 profile accepts each once for a card (M-15).
 *
 * A counter is reserved before the vault is asked, kept when the answer is 200, and freed when it is not. The same request again
 * is carried out again, so that a lost answer can be asked for and nothing secret has to be stored; another one is refused. A
 * counter stays used for `limits.counterTtlMs`, whatever others come after it: 0000 after 9999 is one like any other.
 */
import { ServiceError } from '../errors.ts'
import type { MaybePromise } from './guess-limits.ts'
import type { HashSource } from './hash-source.ts'

/** A request and the counter it uses, as text that is hashed before it is kept. */
export interface CounterClaim {
  /** The card and its counter. */
  readonly counter: readonly (string | undefined)[]
  /** Everything that makes the request the same one. */
  readonly request: readonly (string | undefined)[]
}

/** How a claim stands: reserved for this request; kept for it before; reserved for it by a call that is under way; another's. */
export type ClaimState = 'reserved' | 'kept' | 'under-way' | 'used'

/** Where counters are kept: in this process, or in a store that nodes share. Both names are keyed hashes. */
export interface CounterStore {
  /** @throws ERR_HSM_UNAVAILABLE if it cannot be known, or there is no room to remember one more. */
  readonly claim: (counter: string, request: string) => MaybePromise<ClaimState>
  /** False if another request has taken the counter, because this one's reservation had run out. */
  readonly keep: (counter: string, request: string) => MaybePromise<boolean>
  readonly free: (counter: string, request: string) => MaybePromise<void>
}

/** Uses counters up. */
export interface UsedCounters {
  /**
   * Makes a call for whoever has the counter; without a claim, for anybody: the vault refuses a request that lacks its counter.
   *
   * @throws ERR_COUNTER_REPLAYED if another request has it; ERR_HSM_BUSY, with Retry-After, while the same request is under way.
   */
  readonly once: <T>(claim: CounterClaim | undefined, call: () => Promise<T>) => Promise<T>
}

const RETRY_AFTER_S = 1

/** Makes the gateway's side of a store of counters. */
export function createUsedCounters(store: CounterStore, hashes: HashSource): UsedCounters {
  return {
    once: async (claim, call) => {
      if (claim === undefined) return call()
      const hash = await hashes()
      const counter = hash.tag('counter', claim.counter)
      const request = hash.tag('request', claim.request)
      const state = await store.claim(counter, request)
      if (state === 'used') throw new ServiceError('ERR_COUNTER_REPLAYED')
      // Not 409, which would say that the PIN change was another's; nor a second call, which could free what the first one keeps.
      if (state === 'under-way') throw new ServiceError('ERR_HSM_BUSY', undefined, RETRY_AFTER_S)
      if (state === 'kept') return call()
      let answer
      try {
        answer = await call()
      } catch (error) {
        await Promise.resolve(store.free(counter, request)).catch(() => {})
        throw error
      }
      if (!(await store.keep(counter, request))) throw new ServiceError('ERR_COUNTER_REPLAYED')
      return answer
    },
  }
}

/**
 * Keeps counters in this process.
 *
 * Past `maxCounters` none is taken on, and none forgotten: a counter that is forgotten could be used again. So `now` is a clock
 * in milliseconds that nobody sets.
 */
export function createMemoryCounters(
  ttlMs: number,
  maxCounters = 500_000,
  now = () => performance.now(),
): CounterStore {
  const reserved = new Map<string, string>()
  // All are kept for the same time, so that insertion order is the order in which they end.
  const kept = new Map<string, { readonly request: string; readonly untilMs: number }>()
  const forgetOld = () => {
    for (const [counter, { untilMs }] of kept) {
      if (untilMs > now()) return
      kept.delete(counter)
    }
  }
  return {
    claim: (counter, request) => {
      forgetOld()
      const before = kept.get(counter)
      if (before !== undefined) return before.request === request ? 'kept' : 'used'
      const other = reserved.get(counter)
      if (other !== undefined) return other === request ? 'under-way' : 'used'
      if (kept.size + reserved.size >= maxCounters) throw new ServiceError('ERR_HSM_UNAVAILABLE')
      reserved.set(counter, request)
      return 'reserved'
    },
    keep: (counter, request) => {
      reserved.delete(counter)
      kept.set(counter, { request, untilMs: now() + ttlMs })
      return true
    },
    free: (counter) => void reserved.delete(counter),
  }
}
