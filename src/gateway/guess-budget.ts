/**
 * One budget of guesses per subject and window, safe against requests that race.
 *
 * A request reserves a point before it learns anything, and either spends it or gives it back. Everything happens within
 * the call, so that a batch can be settled in one moment: a limiter that answers by promise would need a second record of
 * what is under way, and ten thousand promises. Nothing is kept of subjects that never guessed wrong.
 *
 * The price: near the limit, honest requests that run at the same time compete for the points left, and those beyond are
 * refused with a Retry-After of one second, although they might have succeeded.
 */

/** A budget of points per subject, known by its hash, and window; the window begins with the first point that is spent. */
export interface GuessBudget {
  /** The points that are neither spent nor reserved. */
  readonly left: (subject: number) => number
  /** Seconds until there can be more than none left. */
  readonly retryAfterS: (subject: number) => number
  readonly reserve: (subject: number) => void
  readonly release: (subject: number) => void
  readonly spend: (subject: number) => void
}

/** Makes a budget in this process's memory; `now` is a clock in milliseconds that nobody sets: a window must not end, or stay, by that. */
export function createGuessBudget(points: number, windowMs: number, now = () => performance.now()): GuessBudget {
  // All windows are of one length, so that insertion order is the order in which they end.
  const spent = new Map<number, { points: number; readonly until: number }>()
  const reserved = new Map<number, number>()
  // Nearly always one of the two is empty, and a look into an empty map is not for nothing.
  const reservedOf = (subject: number) => (reserved.size === 0 ? 0 : (reserved.get(subject) ?? 0))
  const currentOf = (subject: number) => {
    const window = spent.size === 0 ? undefined : spent.get(subject)
    return window !== undefined && window.until > now() ? window : undefined
  }
  return {
    left: (subject) => Math.max(0, points - (currentOf(subject)?.points ?? 0) - reservedOf(subject)),
    retryAfterS: (subject) => {
      const window = currentOf(subject)
      return window !== undefined && window.points >= points ? Math.ceil((window.until - now()) / 1000) : 1
    },
    reserve: (subject) => void reserved.set(subject, (reserved.get(subject) ?? 0) + 1),
    release: (subject) => {
      const left = (reserved.get(subject) ?? 1) - 1
      if (left > 0) reserved.set(subject, left)
      else reserved.delete(subject)
    },
    spend: (subject) => {
      const at = now()
      for (const [oldest, { until }] of spent) {
        if (until > at) break
        spent.delete(oldest)
      }
      const window = spent.get(subject)
      if (window) window.points++
      else spent.set(subject, { points: 1, until: at + windowMs })
    },
  }
}
