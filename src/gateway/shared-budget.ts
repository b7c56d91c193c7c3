/**
 * One budget of guesses per subject and window that nodes share, counted by rate-limiter-flexible.
 *
 * A point is taken before anything is learned, and given back where nothing was: so a point that a node took and died with
 * stays spent until its window ends.
 */
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible'
import type { LimitClient } from './limit-store.ts'

/** A point that was taken, or why not. */
export interface TakenPoint {
  readonly isGranted: boolean
  /** When its window ends, by performance.now(). */
  readonly untilMs: number
}

/** A budget of points per subject, known by its hash. */
export interface SharedBudget {
  readonly points: number
  /** The key that a subject's count stands under. */
  readonly keyOf: (subject: number) => string
  readonly take: (subject: number) => Promise<TakenPoint>
  readonly giveBack: (subject: number, taken: TakenPoint) => Promise<void>
  /** How long there is no point; undefined if there is one. */
  readonly usedUpMs: (subject: number) => Promise<number | undefined>
}

/**
 * Counts points up or down: KEYS[1] the subject; ARGV points, seconds of a window, the budget.
 *
 * As the library's own script does, but a refused point is not counted, and a subject that owes nothing is forgotten: else every
 * card that was ever asked for would stand in the store for a window.
 */
const COUNT = `
local points = tonumber(ARGV[1])
local counted = tonumber(redis.call('GET', KEYS[1]) or '0') + points
local left = redis.call('PTTL', KEYS[1])
if points > 0 and counted > tonumber(ARGV[3]) then return {counted, left} end
if counted <= 0 then
  redis.call('DEL', KEYS[1])
  return {0, 0}
end
if left > 0 then
  redis.call('SET', KEYS[1], counted, 'KEEPTTL')
else
  left = 1000 * tonumber(ARGV[2])
  redis.call('SET', KEYS[1], counted, 'PX', left)
end
return {counted, left}`

/** Makes a budget over one connection; `name` tells budgets apart. */
export function createSharedBudget(client: LimitClient, name: string, points: number, windowMs: number): SharedBudget {
  const limiter = new RateLimiterRedis({
    storeClient: client,
    useRedisPackage: true,
    keyPrefix: name,
    points,
    duration: Math.ceil(windowMs / 1000),
    customIncrTtlLuaScript: COUNT,
  })
  const textOf = (subject: number) => subject.toString(36)
  const take: SharedBudget['take'] = async (subject) => {
    const askedMs = performance.now()
    try {
      const { msBeforeNext } = await limiter.consume(textOf(subject))
      return { isGranted: true, untilMs: askedMs + msBeforeNext }
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal
      return { isGranted: false, untilMs: askedMs + refusal.msBeforeNext }
    }
  }
  return {
    points,
    keyOf: (subject) => limiter.getKey(textOf(subject)),
    take,
    giveBack: async (subject, { untilMs }) => {
      // In the next window it would be a point more than there are.
      if (performance.now() < untilMs) await limiter.reward(textOf(subject))
    },
    usedUpMs: async (subject) => {
      const found = await limiter.get(textOf(subject))
      return found === null || found.remainingPoints > 0 ? undefined : found.msBeforeNext
    },
  }
}
