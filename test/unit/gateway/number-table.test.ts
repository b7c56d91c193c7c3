import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { NumberTable } from '../../../src/gateway/number-table.ts'

describe('NumberTable', () => {
  it('answers as a Map does, also for keys that fall on one slot, while it grows', () => {
    const key = fc.oneof(
      fc.maxSafeNat(),
      // The same low bits: all want one slot.
      fc.nat(200).map((n) => n * 2 ** 32 + 5),
      fc.constantFrom(0, 1, 1022, 1023, 1024, 2 ** 53 - 1, 2 ** 31, 2 ** 32 - 1),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(key, fc.maxSafeNat()), { maxLength: 4000, size: 'max' }), (entries) => {
        const table = new NumberTable()
        const map = new Map<number, number>()
        for (const [key, value] of entries) {
          expect(table.get(key)).toBe(map.get(key))
          expect(table.getOrSet(key, value)).toBe(map.get(key))
          if (!map.has(key)) map.set(key, value)
        }
        expect(table.size).toBe(map.size)
        for (const [key, value] of map) expect(table.get(key)).toBe(value)
      }),
      { numRuns: 20 },
    )
  })

  it('holds 200 000 entries', () => {
    const table = new NumberTable()
    const key = (i: number) => (i * 2_654_435_761) % 2 ** 53
    for (let i = 0; i < 200_000; i++) table.getOrSet(key(i), i)
    expect(table.size).toBe(200_000)
    for (let i = 0; i < 200_000; i += 997) expect(table.get(key(i))).toBe(i)
  })
})
