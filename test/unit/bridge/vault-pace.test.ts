import { describe, expect, it } from 'vitest'
import type { Lane } from '../../../src/bridge/bundle.ts'
import { MessageSizes, VaultPace } from '../../../src/bridge/vault-pace.ts'

describe('the pace of a vault', () => {
  /** A vault with `held` messages that has just answered many others, each of which took 20 ms. */
  function paceOf(held: number): VaultPace {
    const pace = new VaultPace()
    for (let n = 0; n < held; n++) pace.give(0)
    for (let n = 0; n < 200; n++) {
      pace.give(0)
      pace.answer(0, 20)
    }
    return pace
  }

  it('is what it holds by the time that a message takes', () => {
    expect(paceOf(8).messagesPerMs(20)).toBeCloseTo(8 / 20)
    expect(paceOf(2).messagesPerMs(20)).toBeCloseTo(2 / 20)
    expect(paceOf(8).delay(30)).toBe(1)
  })

  it('falls while it holds something and says nothing, and is what it was once it answers', () => {
    const pace = paceOf(8)
    expect(pace.messagesPerMs(20 + 2000)).toBeCloseTo(8 / 2000)
    expect(pace.delay(20 + 2000)).toBeCloseTo(100)
    pace.answer(2000, 2020)
    expect(pace.messagesPerMs(2020)).toBeCloseTo(7 / 20)
    expect(pace.delay(2020)).toBe(1)
  })

  it('does not fall while it holds nothing, and silence is counted from the next message', () => {
    const pace = paceOf(0)
    expect(pace.delay(10_000)).toBe(1)
    pace.give(10_000)
    expect(pace.delay(10_010)).toBe(1)
    expect(pace.delay(10_100)).toBeCloseTo(5)
  })

  it('follows an HSM that becomes slow within a hundred messages', () => {
    const pace = paceOf(8)
    for (let n = 0; n < 100; n++) {
      pace.give(0)
      pace.answer(0, 200)
    }
    expect(pace.messagesPerMs(200)).toBeLessThan(8 / 180)
  })

  it('is that of its silence as long as it has answered nothing', () => {
    const pace = new VaultPace()
    pace.give(0)
    expect(pace.messagesPerMs(0)).toBe(Infinity)
    expect(pace.messagesPerMs(50)).toBeCloseTo(1 / 50)
    expect(pace.delay(50)).toBe(1)
  })
})

describe('the size of a message', () => {
  const lane: Lane = { name: 'a b', isShared: true, firstItems: 64 }
  const other: Lane = { name: 'b a', isShared: true, firstItems: 16 }

  it('is one item for what is no translation, and that of its lane for what is one', () => {
    const sizes = new MessageSizes(4000)
    sizes.learn(lane, 64, 1)
    expect([undefined, lane, other].map((each) => sizes.of(each))).toEqual([1, 128, 16])
  })

  it('doubles after a full and quick message up to 10 000, and does not after one that was not full', () => {
    const sizes = new MessageSizes(4000)
    sizes.learn(lane, 20, 1)
    expect(sizes.of(lane)).toBe(64)
    for (let n = 0; n < 20; n++) sizes.learn(lane, sizes.of(lane), 1)
    expect(sizes.of(lane)).toBe(10_000)
  })

  it.each([0.5, 2, 10])('settles where a message takes a quarter of the time at most, at %f ms an item', (itemMs) => {
    const sizes = new MessageSizes(4000)
    for (let n = 0; n < 20; n++) {
      const items = sizes.of(lane)
      sizes.learn(lane, items, items * itemMs)
    }
    expect(sizes.of(lane) * itemMs).toBeLessThanOrEqual(1000)
    expect(sizes.of(lane) * itemMs).toBeGreaterThanOrEqual(500)
  })

  it('follows an HSM that becomes slow', () => {
    const sizes = new MessageSizes(4000)
    for (let n = 0; n < 20; n++) sizes.learn(lane, sizes.of(lane), 1)
    expect(sizes.of(lane)).toBe(10_000)
    sizes.learn(lane, 3000, 3000)
    expect(sizes.of(lane)).toBe(1000)
  })

  it('is no smaller than the first, however slow, as long as messages are answered in time', () => {
    const sizes = new MessageSizes(4000)
    for (let n = 0; n < 20; n++) sizes.learn(lane, sizes.of(lane), 3900)
    expect(sizes.of(lane)).toBe(64)
    sizes.giveUp(lane, 64)
    for (let n = 0; n < 20; n++) sizes.learn(lane, sizes.of(lane), 3900)
    expect(sizes.of(lane)).toBe(8)
  })

  it('is an eighth of one that was not answered in time', () => {
    const sizes = new MessageSizes(4000)
    sizes.giveUp(lane, 64)
    expect(sizes.of(lane)).toBe(8)
    sizes.giveUp(lane, 8)
    expect(sizes.of(lane)).toBe(1)
    sizes.giveUp(lane, 1)
    expect(sizes.of(lane)).toBe(1)
    sizes.giveUp(lane, 10_000)
    expect(sizes.of(lane)).toBe(64)
  })
})
