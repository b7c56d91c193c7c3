import { describe, expect, it } from 'vitest'
import { keyOfBody, layOutBody, paddingBytes } from '../../../src/key-block/body.ts'
import { readHeader } from '../../../src/key-block/header.ts'
import { agreesWithKc, agreesWithKp, kcvBlock } from '../../../src/key-block/kcv-block.ts'
import { openKeyBlock, parseKeyBlock, sealKeyBlock, type BlockKeys } from '../../../src/key-block/key-block.ts'
import { SecretScope } from '../../../src/secret.ts'
import { agreed } from '../../support/oracles.ts'

const KEYS: BlockKeys = {
  algorithm: 'AES',
  kbek: Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
  kbak: Buffer.from('ffeeddccbbaa99887766554433221100', 'hex'),
}
const { header } = readHeader('D0000P0AB00N0000')
const KEY = Buffer.from('3f419e1cb7079442aa37474c2efbf8b8', 'hex')

describe('the body of a key block', () => {
  it.each([
    [16, 24, 8, 14],
    [24, 24, 8, 6],
    [16, 16, 8, 6],
    [16, 24, 16, 14],
    [16, 32, 16, 30],
    [32, 32, 16, 14],
  ])(
    'of a key of %i bytes, shown as %i, with cipher blocks of %i bytes, has %i bytes of padding',
    (key, as, of, padding) => {
      expect(paddingBytes(key, as, of)).toBe(padding)
    },
  )

  it('is whole cipher blocks, or is not laid out', () => {
    using secrets = new SecretScope()
    expect(layOutBody(KEY, Buffer.alloc(14, 0xee), 16, secrets).toString('hex')).toBe(
      `0080${KEY.toString('hex')}${'ee'.repeat(14)}`,
    )
    expect(() => layOutBody(KEY, Buffer.alloc(13), 16, secrets)).toThrow(
      expect.objectContaining({ code: 'ERR_INTERNAL' }),
    )
  })

  it.each([
    ['0080', 16, true],
    ['00f0', 30, true],
    ['0000', 30, false],
    ['0081', 30, false],
    ['00f8', 30, false],
    ['ffff', 30, false],
  ])('with the length field %s gives %i bytes, right: %s', (field, bytes, isRight) => {
    using secrets = new SecretScope()
    const body = Buffer.from(field + '5a'.repeat(30), 'hex')
    const read = keyOfBody(body, secrets)
    expect([read.key.toString('hex'), read.isRight]).toEqual(['5a'.repeat(bytes), isRight])
  })
})

describe('a key block', () => {
  const seal = (key: Buffer, padding: number): string => sealKeyBlock(header, key, KEYS, Buffer.alloc(padding, 0x77))

  it('opens to what was sealed, for every length of key', () => {
    for (let bytes = 1; bytes <= 64; bytes++) {
      using secrets = new SecretScope()
      const key = Buffer.alloc(bytes, bytes)
      const block = parseKeyBlock(seal(key, paddingBytes(bytes, 0, 16)))
      expect(openKeyBlock(block, KEYS, secrets).equals(key)).toBe(true)
    }
  })

  it('is refused with any character of it changed', () => {
    const text = seal(KEY, 14)
    for (let at = 0; at < text.length; at++) {
      using secrets = new SecretScope()
      const spoilt = text.slice(0, at) + (text[at] === '0' ? '1' : '0') + text.slice(at + 1)
      expect(() => openKeyBlock(parseKeyBlock(spoilt), KEYS, secrets), String(at)).toThrow(
        /^this is not a key block|^the key block is not valid under this transport key, or is for another use$/,
      )
    }
  })

  it.each([
    ['small hex digits', (text: string) => text.slice(0, 16) + text.slice(16).toLowerCase()],
    ['a line end', (text: string) => `${text}\n`],
    ['a character less', (text: string) => text.slice(0, -1)],
    ['a cipher block less', (text: string) => `D0080${text.slice(5, -32)}`],
  ])('is not read with %s', (_, spoil) => {
    const text = seal(KEY, 14)
    if (text.length === 112 && spoil(text).length === 80) {
      // The last 32 digits are the MAC: what is left has a MAC too, and it is a wrong one.
      using secrets = new SecretScope()
      expect(() => openKeyBlock(parseKeyBlock(spoil(text)), KEYS, secrets)).toThrow(
        'not valid under this transport key',
      )
    } else expect(() => parseKeyBlock(spoil(text))).toThrow('this is not a key block')
  })
})

describe('the KCVs in a header', () => {
  const cmacOfZeros = agreed((oracle) => oracle.cmac('AES', KEY.toString('hex'), '00'.repeat(16))).toUpperCase()
  const ecbOfZeros = agreed((oracle) => oracle.ecb('AES', KEY.toString('hex'), '00'.repeat(16))).toUpperCase()
  const withBlocks = (...texts: [id: string, data: string][]) => ({
    ...header,
    optionalBlocks: texts.map(([id, data]) => ({ id, data, text: '' })),
  })

  it('are written as X9.143 8.6 writes KP', () => {
    expect(kcvBlock('KP', 'AES', '2331550bc9').text).toBe('KP10012331550BC9')
    expect(kcvBlock('KC', 'TDEA', '57C409').text).toBe('KC0C0057C409')
  })

  it.each([
    ['none', [], true],
    ['by CMAC', [['KC', `01${cmacOfZeros.slice(0, 10)}`]], true],
    ['by CMAC, shorter', [['KC', `01${cmacOfZeros.slice(0, 4)}`]], true],
    ['by the encipherment of zeros', [['KC', `00${ecbOfZeros.slice(0, 6)}`]], true],
    ['by a method that is not known', [['KC', 'Z000000000']], true],
    ['too short to prove anything', [['KC', `01${cmacOfZeros.slice(0, 2)}`]], false],
    ['of no hex digit', [['KC', '01ZZZZZZ']], false],
    ['of another key', [['KC', `01${ecbOfZeros.slice(0, 10)}`]], false],
    [
      'one right and one wrong',
      [
        ['KC', `01${cmacOfZeros.slice(0, 10)}`],
        ['KC', '0000000000'],
      ],
      false,
    ],
  ] as [string, [string, string][], boolean][])('of the key: %s', (_, blocks, agrees) => {
    using secrets = new SecretScope()
    expect(agreesWithKc(withBlocks(...blocks), 'AES', KEY, secrets)).toBe(agrees)
  })

  it.each([
    ['the same', [['KP', '012331550BC9']], true],
    ['shorter', [['KP', '01233155']], true],
    ['longer than ours, which is all that is known', [['KP', '012331550BC9AABB']], true],
    ['by another method than ours', [['KP', '00000000']], true],
    ['another', [['KP', '012331550BC8']], false],
    ['too short to prove anything', [['KP', '0123']], false],
  ] as [string, [string, string][], boolean][])('of the protection key: %s', (_, blocks, agrees) => {
    expect(agreesWithKp(withBlocks(...blocks), 'AES', '2331550BC9')).toBe(agrees)
  })
})
