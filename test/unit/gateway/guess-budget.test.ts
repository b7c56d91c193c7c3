import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createGuessBudget, type Claim } from '../../../src/gateway/guess-budget.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const spendAndRelease = (claim: Claim) => {
  claim.spend()
  claim.release()
}

describe('createGuessBudget', () => {
  it('grants as many claims at once as there are points, however they interleave', async () => {
    const budget = createGuessBudget(3, 60_000)
    const claims = Array.from({ length: 10 }, () => budget.claim(7))
    const granted = await Promise.all(claims.map((claim) => claim.granted))
    expect(granted.map(({ points }) => points)).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    expect(granted.at(-1)?.retryAfterS).toBe(1)
  })

  it('grants of several points as many as are left beside what others have claimed and spent', async () => {
    const budget = createGuessBudget(10, 60_000)
    spendAndRelease(budget.claim(7))
    const other = budget.claim(7, 4)
    const mine = budget.claim(7, 8)
    expect((await other.granted).points).toBe(4)
    expect((await mine.granted).points).toBe(5)
    other.release()
    expect((await budget.claim(7, 8).granted).points).toBe(1)
    mine.release()
  })

  it('knows who may have spent: who has, and who is about to', () => {
    const budget = createGuessBudget(3, 1000)
    expect(budget.mayHaveSpent(1)).toBe(false)
    const claim = budget.claim(1)
    expect(budget.mayHaveSpent(1)).toBe(true)
    claim.release()
    expect(budget.mayHaveSpent(1)).toBe(false)
    spendAndRelease(budget.claim(1))
    expect(budget.mayHaveSpent(1)).toBe(true)
    expect(budget.mayHaveSpent(2)).toBe(false)
    vi.advanceTimersByTime(999)
    expect(budget.mayHaveSpent(1)).toBe(true)
    vi.advanceTimersByTime(3000)
    expect(budget.mayHaveSpent(1)).toBe(false)
  })

  it('does not lose a point that is spent between a claim and its answer', async () => {
    const budget = createGuessBudget(1, 60_000)
    const first = budget.claim(7)
    const second = budget.claim(7)
    spendAndRelease(first)
    expect((await first.granted).points).toBe(1)
    expect((await second.granted).points).toBe(0)
  })

  it('says how long until the window is over once the points are spent', async () => {
    const budget = createGuessBudget(1, 60_000)
    spendAndRelease(budget.claim(7))
    vi.advanceTimersByTime(20_000)
    expect(await budget.claim(7).granted).toEqual({ points: 0, retryAfterS: 40 })
    expect((await budget.claim(8).granted).points).toBe(1)
  })

  it('makes no credit of a point given back after the window turned', async () => {
    const budget = createGuessBudget(1, 1000)
    const slow = budget.claim(7)
    vi.advanceTimersByTime(2000)
    slow.release()
    spendAndRelease(budget.claim(7))
    expect(await budget.claim(7).granted).toEqual({ points: 0, retryAfterS: 1 })
  })
})
