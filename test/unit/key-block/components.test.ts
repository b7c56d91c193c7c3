import { describe, expect, it } from 'vitest'
import {
  areSameComponents,
  combineComponents,
  evenParityPlaces,
  isZeroComponent,
  splitKey,
} from '../../../src/key-block/components.ts'
import { SecretScope } from '../../../src/secret.ts'

const hex = (text: string): Buffer => Buffer.from(text, 'hex')

// Three of odd parity; the last line is their exclusive or, worked out by hand.
const [A, B, C] = [
  '0123456789ABCDEF1032547698BADCFE',
  'FEDCBA9876543210EFCDAB8967452301',
  '1C1C1C1C1C1C1C1C2525252525252525',
]
const A_B = 'FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF'
const A_B_C = 'E3E3E3E3E3E3E3E3DADADADADADADADA'

describe('combineComponents', () => {
  it('is the exclusive or, for AES to the last bit', () => {
    using secrets = new SecretScope()
    expect(combineComponents('AES', [hex(A), hex(B)], secrets)).toEqual(hex(A_B))
    expect(combineComponents('AES', [hex(A), hex(B), hex(C)], secrets)).toEqual(hex(A_B_C))
  })

  it('gives a TDEA key odd parity, whatever parity its components had', () => {
    using secrets = new SecretScope()
    expect(combineComponents('TDEA', [hex(A), hex(B)], secrets)).toEqual(hex('FE'.repeat(16)))
    expect(combineComponents('TDEA', [hex(A), hex(B), hex(C)], secrets)).toEqual(hex('E3'.repeat(8) + 'DA'.repeat(8)))
  })

  it('leaves the components as they are', () => {
    using secrets = new SecretScope()
    const components = [hex(A), hex(B)]
    combineComponents('TDEA', components, secrets)
    expect(components).toEqual([hex(A), hex(B)])
  })

  it.each([[[]], [[hex(A)]], [[hex(A), hex(B).subarray(1)]]])(
    'refuses too few, or of different lengths',
    (components) => {
      using secrets = new SecretScope()
      expect(() => combineComponents('AES', components, secrets)).toThrow(
        expect.objectContaining({ code: 'ERR_INTERNAL' }),
      )
    },
  )
})

describe('splitKey', () => {
  it('makes the last component such that all together are the key', () => {
    using secrets = new SecretScope()
    expect(splitKey('AES', hex(A_B_C), [hex(A), hex(B)], secrets)).toEqual([hex(A), hex(B), hex(C)])
  })

  it('gives every component of a TDEA key odd parity', () => {
    using secrets = new SecretScope()
    const components = splitKey('TDEA', hex('E3'.repeat(8) + 'DA'.repeat(8)), [hex('00'.repeat(16))], secrets)
    expect(components).toEqual([hex('01'.repeat(16)), hex('E3'.repeat(8) + 'DA'.repeat(8))])
    expect(components.flatMap((component) => evenParityPlaces(component))).toEqual([])
  })
})

it('evenParityPlaces counts the bytes with an even number of ones, from 1', () => {
  expect(evenParityPlaces(hex('0001FEFF03'))).toEqual([1, 4, 5])
  // Every byte, against a count of its binary digits.
  const odd = (byte: number) => byte.toString(2).replaceAll('0', '').length % 2 === 1
  const all = Uint8Array.from({ length: 256 }, (_, byte) => byte)
  expect(evenParityPlaces(all)).toEqual([...all].filter((byte) => !odd(byte)).map((byte) => byte + 1))
})

it('a parity bit makes no difference between TDEA components, nor one that is not zero', () => {
  expect(areSameComponents('TDEA', hex('0123'), hex('0022'))).toBe(true)
  expect(areSameComponents('AES', hex('0123'), hex('0022'))).toBe(false)
  expect(areSameComponents('TDEA', hex('0123'), hex('0323'))).toBe(false)
  expect(areSameComponents('TDEA', hex('0123'), hex('01'))).toBe(false)
  expect(isZeroComponent('TDEA', hex('000100'))).toBe(true)
  expect(isZeroComponent('AES', hex('000100'))).toBe(false)
  expect(isZeroComponent('AES', hex('0000'))).toBe(true)
  expect(isZeroComponent('TDEA', hex('000002'))).toBe(false)
})
