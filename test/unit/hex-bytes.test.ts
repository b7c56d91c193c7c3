import { expect, it } from 'vitest'
import { decodeHexBytes, encodeHexBytes } from '../../src/bytes.ts'

it('takes exactly the pairs of bytes that are two hex digits, of either case, and reads their value', () => {
  const wrong: number[][] = []
  const target = Buffer.alloc(1)
  for (let high = 0; high < 256; high++) {
    for (let low = 0; low < 256; low++) {
      const text = String.fromCharCode(high, low)
      const isTaken = decodeHexBytes(Buffer.of(high, low), target)
      const isRight = /^[0-9A-Fa-f]{2}$/.test(text) ? isTaken && target[0] === Number.parseInt(text, 16) : !isTaken
      if (!isRight) wrong.push([high, low])
    }
  }
  expect(wrong).toEqual([])
  expect(decodeHexBytes(Buffer.from('0'), target)).toBe(false)
})

it('writes every byte as node does, in either case', () => {
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const target = Buffer.alloc(512)
  encodeHexBytes(bytes, target, 'lower')
  expect(target.toString()).toBe(bytes.toString('hex'))
  encodeHexBytes(bytes, target, 'upper')
  expect(target.toString()).toBe(bytes.toString('hex').toUpperCase())
})
