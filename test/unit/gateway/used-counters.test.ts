import { describe, expect, it, vi } from 'vitest'
import { createMemoryCounters } from '../../../src/gateway/used-counters.ts'

describe('createMemoryCounters', () => {
  it('keeps a counter for its time, and not longer', () => {
    let now = 0
    const counters = createMemoryCounters(1000, 10, () => now)
    expect(counters.claim('a', 'r1')).toBe('reserved')
    expect(counters.keep('a', 'r1')).toBe(true)
    now = 999
    expect(counters.claim('a', 'r1')).toBe('kept')
    expect(counters.claim('a', 'r2')).toBe('used')
    now = 1000
    expect(counters.claim('a', 'r2')).toBe('reserved')
  })

  it('forgets none when the clock of the machine is set', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const counters = createMemoryCounters(60_000)
      void counters.claim('a', 'r1')
      void counters.keep('a', 'r1')
      vi.setSystemTime(Date.now() + 120_000)
      expect(counters.claim('a', 'r2')).toBe('used')
    } finally {
      vi.useRealTimers()
    }
  })

  it('does not free what is kept', () => {
    const counters = createMemoryCounters(1000, 10, () => 0)
    void counters.claim('a', 'r1')
    void counters.keep('a', 'r1')
    void counters.free('a', 'r2')
    expect(counters.claim('a', 'r2')).toBe('used')
  })

  it('takes on no more than it can remember, and forgets none for it', () => {
    let now = 0
    const counters = createMemoryCounters(1000, 2, () => now)
    for (const counter of ['a', 'b']) {
      expect(counters.claim(counter, 'r1')).toBe('reserved')
      void counters.keep(counter, 'r1')
    }
    expect(() => counters.claim('c', 'r1')).toThrow(expect.objectContaining({ code: 'ERR_HSM_UNAVAILABLE' }))
    expect(counters.claim('a', 'r2')).toBe('used')
    expect(counters.claim('b', 'r1')).toBe('kept')
    now = 1000
    expect(counters.claim('c', 'r1')).toBe('reserved')
  })
})
