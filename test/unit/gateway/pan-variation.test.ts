import { describe, expect, it } from 'vitest'
import { createPanVariation } from '../../../src/gateway/pan-variation.ts'

describe('createPanVariation', () => {
  it('admits two PANs under a block, again and again, and never a third', () => {
    const admit = createPanVariation({ windowMs: 1000, now: () => 0 })
    expect(['a', 'b', 'c', 'a', 'b', 'd'].map((pan) => admit('block', pan))).toEqual([
      true,
      true,
      false,
      true,
      true,
      false,
    ])
    expect(admit('other', 'c')).toBe(true)
  })

  it('forgets a block when its window is over, and not before, however often it is asked', () => {
    let now = 0
    const admit = createPanVariation({ windowMs: 1000, now: () => now })
    for (const pan of ['a', 'b']) admit('block', pan)
    for (now = 0; now < 1000; now += 100) expect(admit('block', 'c')).toBe(false)
    now = 1000
    expect(admit('block', 'c')).toBe(true)
  })

  it('holds a bounded number of blocks and forgets the oldest first', () => {
    const admit = createPanVariation({ windowMs: 1000, maxBlocks: 2, now: () => 0 })
    for (const block of ['1', '2', '3', '4']) for (const pan of ['a', 'b']) admit(block, pan)
    expect(admit('4', 'c')).toBe(false)
    expect(admit('3', 'c')).toBe(false)
    expect(admit('1', 'c')).toBe(true)
  })
})
