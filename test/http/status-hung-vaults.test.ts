import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { VaultStatus } from '../../src/bridge/vault-pool.ts'
import { watchForHungVaults } from '../../src/gateway/hung-vaults.ts'
import { statusOf } from './harness.ts'

let vaults: VaultStatus[]
let givenUp: number[]
const vault = (over: Partial<VaultStatus>): VaultStatus => ({ ...statusOf().vaults[0]!, ...over })

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'performance'] })
  givenUp = []
  const giveUp = (id: number) => {
    givenUp.push(id)
    vaults = vaults.filter((each) => each.id !== id)
  }
  watchForHungVaults({
    get vaults() {
      return vaults
    },
    giveUp,
  })
})
afterEach(() => vi.useRealTimers())

describe('a vault that holds nothing', () => {
  it('is given up once its known answers are more than 35 seconds old, and not before', () => {
    vaults = [vault({ id: 1, selfTestAgeMs: 35_000 }), vault({ id: 2, selfTestAgeMs: 100 })]
    vi.advanceTimersByTime(3000)
    expect(givenUp).toEqual([])
    vaults = [vault({ id: 1, selfTestAgeMs: 35_001 }), vault({ id: 2, selfTestAgeMs: 100 })]
    vi.advanceTimersByTime(3000)
    expect(givenUp).toEqual([1])
  })

  it('is not given up by a process that stood still itself', () => {
    vaults = [vault({ id: 1, selfTestAgeMs: 60_000 })]
    // A process that was stopped comes back to one look, which is late.
    const now = performance.now()
    vi.spyOn(performance, 'now').mockReturnValueOnce(now + 61_000)
    vi.advanceTimersByTime(1000)
    expect(givenUp).toEqual([])
  })
})

describe('a vault that holds a request', () => {
  it('is left to the deadline of the request', () => {
    vaults = [vault({ id: 1, inFlight: 1, selfTestAgeMs: 60_000 })]
    vi.advanceTimersByTime(5000)
    expect(givenUp).toEqual([])
  })
})
