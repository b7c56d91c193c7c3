import { describe, expect, it, vi } from 'vitest'
import { createGuessBudget } from '../../../src/gateway/guess-budget.ts'

const WINDOW_MS = 60_000

function budgetOf(points: number) {
  const clock = { ms: 1_000_000 }
  return { clock, ...createGuessBudget(points, WINDOW_MS, () => clock.ms) }
}

describe('createGuessBudget', () => {
  it('has as many points left as are neither spent nor reserved, and never fewer than none', () => {
    const { left, reserve, release, spend } = budgetOf(3)
    expect(left(7)).toBe(3)
    reserve(7)
    reserve(7)
    expect(left(7)).toBe(1)
    spend(7)
    expect(left(7)).toBe(0)
    spend(7)
    expect(left(7)).toBe(0)
    release(7)
    release(7)
    expect(left(7)).toBe(1)
    expect(left(8)).toBe(3)
  })

  it('refills when the window is over that began with the first point, and not before', () => {
    const { clock, left, spend, retryAfterS } = budgetOf(2)
    spend(7)
    clock.ms += 20_000
    spend(7)
    expect([left(7), retryAfterS(7)]).toEqual([0, 40])
    clock.ms += 39_999
    expect([left(7), retryAfterS(7)]).toEqual([0, 1])
    clock.ms += 1
    expect(left(7)).toBe(2)
    // A new window, of full length.
    spend(7)
    spend(7)
    expect(retryAfterS(7)).toBe(60)
  })

  it('says to come back in a second where others only have reserved what is left', () => {
    const { left, reserve, spend, retryAfterS } = budgetOf(2)
    spend(7)
    reserve(7)
    expect([left(7), retryAfterS(7)]).toEqual([0, 1])
  })

  it('makes no credit of a point given back after the window turned', () => {
    const { clock, left, reserve, release, spend } = budgetOf(1)
    reserve(7)
    clock.ms += 2 * WINDOW_MS
    release(7)
    release(7)
    spend(7)
    expect(left(7)).toBe(0)
  })

  it('gives nobody more guesses when the clock of the machine is set', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const { left, spend } = createGuessBudget(1, WINDOW_MS)
      spend(7)
      // Back, so that the window of 8 would end before that of 7, and then beyond the end of both.
      vi.setSystemTime(Date.now() - WINDOW_MS / 2)
      spend(8)
      vi.setSystemTime(Date.now() + 2 * WINDOW_MS)
      expect([left(7), left(8)]).toEqual([0, 0])
    } finally {
      vi.useRealTimers()
    }
  })

  it('keeps each subject for its own window, whatever others spend meanwhile', () => {
    const { clock, left, spend } = budgetOf(1)
    for (let subject = 0; subject < 100; subject++) {
      spend(subject)
      clock.ms += 1000
    }
    // Subject n spent at n seconds, and it is the hundredth.
    for (let subject = 0; subject < 100; subject++) expect(left(subject)).toBe(subject <= 40 ? 1 : 0)
    for (let subject = 0; subject <= 40; subject++) spend(subject)
    clock.ms += 30_000
    for (let subject = 0; subject < 100; subject++) expect(left(subject)).toBe(subject > 40 && subject <= 70 ? 1 : 0)
  })
})
