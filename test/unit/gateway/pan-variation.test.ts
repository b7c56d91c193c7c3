import { describe, expect, it } from 'vitest'
import { createPanVariation } from '../../../src/gateway/pan-variation.ts'

describe('createPanVariation', () => {
  it('admits two PANs under a block, again and again, and never a third', () => {
    const admit = createPanVariation({ windowMs: 1000, now: () => 0 })
    expect([1, 2, 3, 1, 2, 4].map((pan) => admit(7, pan))).toEqual([true, true, false, true, true, false])
    expect(admit(8, 3)).toBe(true)
  })

  it('forgets a block within two windows, and not before one is over, however often it is asked', () => {
    let now = 0
    const admit = createPanVariation({ windowMs: 1000, now: () => now })
    for (const pan of [1, 2]) admit(7, pan)
    for (now = 0; now <= 1000; now += 100) expect(admit(7, 3)).toBe(false)
    now = 2000
    expect(admit(7, 3)).toBe(true)
  })

  it('holds a bounded number of blocks and forgets the oldest first', () => {
    const admit = createPanVariation({ windowMs: 1000, maxBlocks: 4, now: () => 0 })
    for (const block of [1, 2, 3, 4, 5]) for (const pan of [1, 2]) admit(block, pan)
    expect(admit(5, 3)).toBe(false)
    expect(admit(4, 3)).toBe(false)
    expect(admit(1, 3)).toBe(true)
  })
})
