import fc from 'fast-check'
import forge from 'node-forge'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { isWeakTdeaKey, setOddParity } from '../../../src/key-block/tdea-key.ts'

const K1 = '0123456789abcdef'
const K2 = 'fedcba9876543210'
const K3 = '23456789abcdef01'
const isWeak = (hex: string) => isWeakTdeaKey(Buffer.from(hex, 'hex'))

// The list as it stands in the source, so that the test below sees every entry of it.
const WEAK = readFileSync(new URL('../../../src/key-block/tdea-key.ts', import.meta.url), 'utf8').match(
  /[0-9a-f]{16}/g,
)!

function des(keyHex: string, blockHex: string): string {
  const cipher = forge.cipher.createCipher('DES-ECB', forge.util.hexToBytes(keyHex))
  cipher.start({})
  cipher.update(forge.util.createBuffer(forge.util.hexToBytes(blockHex)))
  return cipher.output.toHex()
}

describe('setOddParity', () => {
  it('gives the example of psec and pyemv', () => {
    const key = Buffer.from('1A2B3C4D5F0A1B2C4D5F6A7B8C9D0F1A', 'hex')
    setOddParity(key)
    expect(key.toString('hex').toUpperCase()).toBe('1A2A3D4C5E0B1A2C4C5E6B7A8C9D0E1A')
  })

  it('gives every byte an odd number of ones and changes at most its lowest bit', () => {
    const key = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    setOddParity(key)
    key.forEach((byte, i) => {
      expect([...byte.toString(2)].filter((bit) => bit === '1').length % 2).toBe(1)
      expect(byte >> 1).toBe(i >> 1)
    })
  })
})

describe('isWeakTdeaKey', () => {
  it('knows 16 parts, and each one undoes itself or another one of them', () => {
    expect(new Set(WEAK).size).toBe(16)
    for (const weak of WEAK) {
      const once = des(weak, '0123456789abcdef')
      expect(WEAK.some((other) => des(other, once) === '0123456789abcdef')).toBe(true)
    }
  })

  it.each(WEAK)('refuses %s as either part, whatever its parity bits', (weak) => {
    const flipped = Buffer.from(Buffer.from(weak, 'hex').map((byte) => byte ^ 1)).toString('hex')
    for (const part of [weak, flipped]) {
      expect(isWeak(K1 + part)).toBe(true)
      expect(isWeak(part + K1)).toBe(true)
      expect(isWeak(K1 + K2 + part)).toBe(true)
    }
  })

  it('refuses two equal parts, also if they differ by parity bits only', () => {
    expect(isWeak(K1 + K1)).toBe(true)
    expect(isWeak(K1 + '0022446688aaccee')).toBe(true)
    expect(isWeak(K1 + K1 + K2)).toBe(true)
    expect(isWeak(K2 + K1 + K1)).toBe(true)
    expect(isWeak(K1 + K2 + K1)).toBe(true)
  })

  it('accepts parts that differ, and any two random ones', () => {
    expect(isWeak(K1 + K2)).toBe(false)
    expect(isWeak(K1 + K2 + K3)).toBe(false)
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (key) => {
        fc.pre(key.subarray(0, 8).some((byte, i) => (byte ^ key[i + 8]!) & 0xfe) && new Set(key).size > 4)
        expect(isWeakTdeaKey(key)).toBe(false)
      }),
    )
  })

  it.each([0, 8, 15, 17, 32])('refuses to judge a key of %i bytes with ERR_INTERNAL', (bytes) => {
    expect(() => isWeakTdeaKey(Buffer.alloc(bytes))).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }))
  })
})
