/** The used change counters of nodes that share a store; what a node reserved and died with is free again after a while. */
import type { LimitStore } from './limit-store.ts'
import type { ClaimState, CounterStore } from './used-counters.ts'

/** KEYS[1] the counter; ARGV[1] the request, ARGV[2] for how long in ms. A value is r or k, reserved or kept, and the request. */
const CLAIM = `
local found = redis.call('GET', KEYS[1])
if not found then
  redis.call('SET', KEYS[1], 'r' .. ARGV[1], 'PX', ARGV[2])
  return 'reserved'
end
if string.sub(found, 2) ~= ARGV[1] then return 'used' end
return string.sub(found, 1, 1) == 'k' and 'kept' or 'under-way'`

const KEEP = `
local found = redis.call('GET', KEYS[1])
if found and string.sub(found, 2) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'k' .. ARGV[1], 'PX', ARGV[2])
return 1`

const FREE = `
if redis.call('GET', KEYS[1]) == 'r' .. ARGV[1] then redis.call('DEL', KEYS[1]) end`

/**
 * Keeps counters in a store; while it is gone none is accepted, whatever `whenGone` says: a replayed PIN change is not undone when
 * a window ends.
 *
 * @param reserveMs - longer than a call can take.
 */
export function createSharedCounters(store: LimitStore, reserveMs: number, ttlMs: number): CounterStore {
  const run = (script: string, counter: string, ...parameters: string[]) =>
    store.ask((client) => client.eval(script, { keys: [`${store.prefix}counter:${counter}`], arguments: parameters }))
  return {
    claim: async (counter, request) => (await run(CLAIM, counter, request, String(reserveMs))) as ClaimState,
    keep: async (counter, request) => (await run(KEEP, counter, request, String(ttlMs))) === 1,
    free: async (counter, request) => {
      await run(FREE, counter, request)
    },
  }
}
