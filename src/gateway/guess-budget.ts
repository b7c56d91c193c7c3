/**
 * One budget of guesses per subject and window, safe against requests that race.
 *
 * A request reserves points before it learns anything, and either spends them or gives them back. Spent points live in the
 * rate limiter, reserved ones beside it and only while a request is under way: so nothing is kept of requests that
 * succeed, and a point given back after the window turned cannot become credit.
 *
 * The price: near the limit, honest requests that run at the same time compete for the points left, and those beyond are
 * refused with a Retry-After of one second, although they might have succeeded.
 */
import { RateLimiterMemory } from 'rate-limiter-flexible'
import { createRecentMap } from './recent-map.ts'

/** What a claim came to. */
export interface Granted {
  /** How many of the points that were asked for the budget still has, beyond what others have reserved. */
  readonly points: number
  /** Seconds to wait, if it is fewer than were asked for. */
  readonly retryAfterS: number
}

/** A request's claim on points. */
export interface Claim {
  readonly granted: Promise<Granted>
  /** Turns a claimed point into a spent one; the claim is still to be released. */
  readonly spend: () => void
  readonly release: () => void
}

/** A budget of points per subject, known by its hash, and window. */
export interface GuessBudget {
  readonly claim: (subject: number, points?: number) => Claim
  /** False only if the subject has spent nothing in this window: the quick answer for nearly everybody. */
  readonly mayHaveSpent: (subject: number) => boolean
}

/** Makes a budget in this process's memory. */
export function createGuessBudget(points: number, windowMs: number): GuessBudget {
  const spent = new RateLimiterMemory({ points, duration: windowMs / 1000 })
  const reserved = new Map<number, number>()
  const spenders = createRecentMap({ windowMs, maxEntries: Infinity })

  return {
    claim: (subject, wanted = 1) => {
      const before = reserved.get(subject) ?? 0
      reserved.set(subject, before + wanted)
      // The memory limiter reads and counts within the call, so this is one moment with the reservation above.
      const state = spent.get(String(subject))
      return {
        granted: state.then((record) => {
          const current = record !== null && record.msBeforeNext > 0 ? record : undefined
          const used = current?.consumedPoints ?? 0
          const windowS = used >= points && current !== undefined ? Math.ceil(current.msBeforeNext / 1000) : 1
          return { points: Math.min(wanted, Math.max(0, points - used - before)), retryAfterS: windowS }
        }),
        spend: () => {
          spenders.getOrSet(subject, 1)
          void spent.penalty(String(subject))
        },
        release: () => {
          const left = (reserved.get(subject) ?? wanted) - wanted
          if (left > 0) reserved.set(subject, left)
          else reserved.delete(subject)
        },
      }
    },
    mayHaveSpent: (subject) => reserved.has(subject) || spenders.get(subject) !== undefined,
  }
}
