import { describe, expect, it } from 'vitest'
import { padMethod2, splitLastBlock } from '../../../src/key-block/iso-9797-padding.ts'
import { retailMacKeyObjects } from '../../../src/key-block/retail-mac-key.ts'
import { SecretScope } from '../../../src/secret.ts'

describe('retailMacKeyObjects', () => {
  it('gives K1|K2|K1 and K1|K1|K1, and wipes both with their scope', () => {
    const secrets = new SecretScope()
    const { mac, cbc } = retailMacKeyObjects(Buffer.from('0123456789abcdeffedcba9876543210', 'hex'), secrets)
    expect(mac.toString('hex')).toBe('0123456789abcdeffedcba98765432100123456789abcdef')
    expect(cbc.toString('hex')).toBe('0123456789abcdef0123456789abcdef0123456789abcdef')
    secrets[Symbol.dispose]()
    expect(Buffer.concat([mac, cbc]).every((byte) => byte === 0)).toBe(true)
  })

  it.each([8, 15, 24])('refuses a key of %i bytes with ERR_INTERNAL', (bytes) => {
    using secrets = new SecretScope()
    expect(() => retailMacKeyObjects(Buffer.alloc(bytes), secrets)).toThrow(
      expect.objectContaining({ code: 'ERR_INTERNAL' }),
    )
  })
})

describe('padding method 2', () => {
  // psec tests/test_mac.py (MIT) and dmrtd's ISO9797 tests.
  it.each([
    ['', 8, '8000000000000000'],
    ['1234', 8, '1234800000000000'],
    ['12345678901234', 8, '1234567890123480'],
    ['1234567890123456', 8, '12345678901234568000000000000000'],
    ['000102030405060708090a0b0c0d0e', 8, '000102030405060708090a0b0c0d0e80'],
    ['1234', 4, '12348000'],
    ['12345678', 4, '1234567880000000'],
  ])('pads "%s" to blocks of %i bytes', (message, blockBytes, padded) => {
    using secrets = new SecretScope()
    expect(padMethod2(Buffer.from(message, 'hex'), blockBytes, secrets).toString('hex')).toBe(padded)
  })

  it('splits before the last block, with nothing before a single one', () => {
    const three = Buffer.from('000102030405060708090a0b0c0d0e0f1011121314151617', 'hex')
    const { allButLast, last } = splitLastBlock(three, 8)
    expect(allButLast.toString('hex')).toBe('000102030405060708090a0b0c0d0e0f')
    expect(last.toString('hex')).toBe('1011121314151617')
    expect(splitLastBlock(last, 8)).toEqual({ allButLast: Buffer.alloc(0), last })
  })

  it.each([0, 7, 12])('refuses to split %i bytes with ERR_INTERNAL', (bytes) => {
    expect(() => splitLastBlock(Buffer.alloc(bytes), 8)).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }))
  })
})
