import { describe, expect, it, vi } from 'vitest'
import { createRecentMap } from '../../../src/gateway/recent-map.ts'

describe('createRecentMap', () => {
  it('forgets nothing when the clock of the machine is set', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      const map = createRecentMap({ windowMs: 60_000, maxEntries: 10 })
      map.getOrSet(1, 2)
      vi.setSystemTime(Date.now() + 300_000)
      expect(map.get(1)).toBe(2)
    } finally {
      vi.useRealTimers()
    }
  })

  it('keeps an entry for at least a window and at most two, from when it was set', () => {
    for (const setAt of [0, 400, 999]) {
      let now = 0
      const map = createRecentMap({ windowMs: 1000, maxEntries: 100, now: () => now })
      now = setAt
      map.getOrSet(1, 11)
      for (; now < setAt + 1000; now += 50) expect(map.get(1)).toBe(11)
      now = setAt + 2000
      expect(map.get(1)).toBeUndefined()
    }
  })

  it('forgets both generations after a long silence', () => {
    let now = 0
    const map = createRecentMap({ windowMs: 1000, maxEntries: 100, now: () => now })
    map.getOrSet(1, 1)
    now = 5000
    expect(map.get(1)).toBeUndefined()
  })

  it('forgets the older half where there are too many, and never the younger', () => {
    const map = createRecentMap({ windowMs: 1000, maxEntries: 10, now: () => 0 })
    for (let i = 0; i < 100; i++) {
      map.getOrSet(i, i)
      for (let younger = Math.max(0, i - 4); younger <= i; younger++) expect(map.get(younger)).toBe(younger)
      if (i >= 11) expect(map.get(i - 11)).toBeUndefined()
    }
  })

  it('says what is there and keeps it, from either generation', () => {
    let now = 0
    const map = createRecentMap({ windowMs: 1000, maxEntries: 10, now: () => now })
    expect(map.getOrSet(1, 2)).toBeUndefined()
    expect(map.getOrSet(1, 3)).toBe(2)
    now = 1500
    expect(map.getOrSet(1, 4)).toBe(2)
    expect(map.get(1)).toBe(2)
  })
})
