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
    const claims = Array.from({ length: 10 }, () => budget.claim('x'))
    const waits = await Promise.all(claims.map((claim) => claim.refusedForS))
    expect(waits).toEqual([undefined, undefined, undefined, 1, 1, 1, 1, 1, 1, 1])
  })

  it('does not lose a point that is spent between a claim and its answer', async () => {
    const budget = createGuessBudget(1, 60_000)
    const first = budget.claim('x')
    const second = budget.claim('x')
    spendAndRelease(first)
    expect(await first.refusedForS).toBeUndefined()
    expect(await second.refusedForS).toBeDefined()
  })

  it('says how long until the window is over once the points are spent', async () => {
    const budget = createGuessBudget(1, 60_000)
    spendAndRelease(budget.claim('x'))
    vi.advanceTimersByTime(20_000)
    expect(await budget.claim('x').refusedForS).toBe(40)
    expect(await budget.claim('y').refusedForS).toBeUndefined()
  })

  it('makes no credit of a point given back after the window turned', async () => {
    const budget = createGuessBudget(1, 1000)
    const slow = budget.claim('x')
    vi.advanceTimersByTime(2000)
    slow.release()
    spendAndRelease(budget.claim('x'))
    expect(await budget.claim('x').refusedForS).toBe(1)
  })
})
