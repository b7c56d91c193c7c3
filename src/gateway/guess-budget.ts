/**
 * One budget of guesses per subject and window, safe against requests that race.
 *
 * A request reserves a point before the vault is asked, and either spends it or gives it back. Spent points live in the
 * rate limiter, reserved ones beside it and only while a request is under way: so nothing is kept of requests that
 * succeed, and a point given back after the window turned cannot become credit.
 *
 * The price: near the limit, honest requests that run at the same time compete for the points left, and those beyond are
 * refused with a Retry-After of one second, although they might have succeeded.
 */
import { RateLimiterMemory } from 'rate-limiter-flexible'

/** A request's claim on one point. */
export interface Claim {
  /** Seconds to wait, if the budget does not allow the request; undefined if it does. */
  readonly refusedForS: Promise<number | undefined>
  /** Turns the claim into a spent point; the claim is still to be released. */
  readonly spend: () => void
  readonly release: () => void
}

/** A budget of `points` per subject and window. */
export interface GuessBudget {
  readonly claim: (subject: string) => Claim
}

/** Makes a budget in this process's memory. */
export function createGuessBudget(points: number, windowMs: number): GuessBudget {
  const spent = new RateLimiterMemory({ points, duration: windowMs / 1000 })
  const reserved = new Map<string, number>()

  return {
    claim: (subject) => {
      const claims = (reserved.get(subject) ?? 0) + 1
      reserved.set(subject, claims)
      // The memory limiter reads and counts within the call, so this is one moment with the reservation above.
      const state = spent.get(subject)
      return {
        refusedForS: state.then((record) => {
          const current = record !== null && record.msBeforeNext > 0 ? record : undefined
          const used = current?.consumedPoints ?? 0
          if (used + claims <= points) return undefined
          return used >= points && current !== undefined ? Math.ceil(current.msBeforeNext / 1000) : 1
        }),
        spend: () => void spent.penalty(subject),
        release: () => {
          const left = (reserved.get(subject) ?? 1) - 1
          if (left > 0) reserved.set(subject, left)
          else reserved.delete(subject)
        },
      }
    },
  }
}
