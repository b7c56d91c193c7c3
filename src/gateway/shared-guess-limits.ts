/**
 * What guessing costs where nodes share a store: the same budgets as in guess-limits.ts, and together no more than one of each (M-14).
 *
 * Requests that run at the same time compete for the points left, as they do in memory; but a store does not tell a point that is
 * reserved from one that is spent, so that Retry-After is then the end of the window.
 */
import { settleSharedBatch } from './batch/shared-settlement.ts'
import type { GuessLimits, GuessSettings } from './guess-limits.ts'
import { blockSubject, cardSubject } from './guess-subjects.ts'
import type { LimitStore } from './limit-store.ts'
import { createSharedBlocks } from './shared-blocks.ts'
import { createSharedPoints, type Subject } from './shared-points.ts'
import type { SubjectHash } from './subject-hash.ts'

/** Makes the limits of the nodes that share a store. */
export function createSharedGuessLimits(
  { guesses, batchRejects }: GuessSettings,
  hash: SubjectHash,
  store: LimitStore,
): GuessLimits {
  const { windowMs } = guesses
  const blocks = createSharedBlocks(store.prefix, windowMs)
  const points = createSharedPoints(guesses, store)

  return {
    reserve: (attempt) =>
      store.ask(async (redis) => {
        const card = cardSubject(hash, attempt.pan)
        const [known] = await blocks.see(redis, [[blockSubject(hash, attempt, card), card]])
        const { origin, isAdmitted } = known!
        if (!isAdmitted) return { retryAfterS: secondsOf(windowMs), reason: 'pan-variation' }
        const guessed: Subject[] = [
          ['client', hash.client(attempt.client)],
          ['block', origin],
        ]
        if (card !== undefined) guessed.push(['card', card])
        const set: Subject[] = attempt.setsPin && card !== undefined ? [['set', card]] : []

        const [guess, setting] = await Promise.all([points.take(redis, guessed), points.take(redis, set)])
        const taken = [...guess, ...setting]
        const refused = taken.filter(({ point }) => !point.isGranted)
        if (refused.length > 0) {
          points.giveBack(taken)
          const waitsMs = refused.map(({ point }) => point.untilMs - performance.now())
          return { retryAfterS: secondsOf(Math.max(...waitsMs)), reason: 'budget' }
        }
        const unspent = new Set([guess, setting])
        return {
          made: (made) => store.ask((now) => blocks.note(now, [[blockSubject(hash, made, card), origin]])),
          spend: () => void unspent.delete(guess),
          spendSet: () => void unspent.delete(setting),
          release: () => points.giveBack([...unspent].flat()),
        }
      }),

    refuseBatch: (client) =>
      store.ask(async (redis) => {
        const usedUpMs = await points.usedUpMs(redis, ['client', hash.client(client)])
        return usedUpMs === undefined ? undefined : { retryAfterS: secondsOf(usedUpMs), reason: 'budget' }
      }),

    settleBatch: (batch) => settleSharedBatch({ hash, store, points, blocks, batchRejects }, batch),
  }
}

/** A time in whole seconds, as Retry-After gives it: at least one. */
function secondsOf(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000))
}
