import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FileIds } from '../../../src/migration/file-ids.ts'
import { ChunkIds } from '../../../src/rows/chunk-ids.ts'

describe.each([
  ['ChunkIds', () => new ChunkIds(64, 2048)],
  ['FileIds', () => new FileIds()],
])('%s', (_, make) => {
  it('tells whether an id is new, as a set of strings does', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom('a', 'b', '1') }), { maxLength: 64 }),
        (ids) => {
          const seen = new Set<string>()
          const set = make()
          set.startStretch()
          for (const id of ids) {
            const bytes = Buffer.from(`xx${id}yy`)
            expect(set.add(bytes, 2, bytes.length - 2)).toBe(!seen.has(id))
            seen.add(id)
          }
        },
      ),
    )
  })
})

describe('ChunkIds', () => {
  it('forgets with every stretch', () => {
    const ids = new ChunkIds(2, 8)
    for (let stretch = 0; stretch < 5; stretch++) {
      ids.startStretch()
      expect(ids.add(Buffer.from('a'), 0, 1)).toBe(true)
      expect(ids.add(Buffer.from('a'), 0, 1)).toBe(false)
    }
  })
})

describe('FileIds', () => {
  it('forgets nothing, however many ids there are', () => {
    const ids = new FileIds()
    const count = 200_000
    const add = (i: number) => {
      const bytes = Buffer.from(String(i))
      return ids.add(bytes, 0, bytes.length)
    }
    for (let i = 0; i < count; i++) if (!add(i)) throw new Error(`${i} is not new`)
    ids.startStretch()
    for (let i = 0; i < count; i++) if (add(i)) throw new Error(`${i} is new`)
  })
})
