import { describe, expect, it } from 'vitest'
import { formatHeader, optionalBlock, readHeader } from '../../../src/key-block/header.ts'
import { headerInWords } from '../../../src/key-block/header-words.ts'

// The texts are those of knovichikhin/psec tests/test_tr31.py (MIT); the behaviour is ours where it is stricter.
describe('the header of a key block', () => {
  it('is read with its places, whatever stands behind it', () => {
    expect(readHeader('B0016P0TE00N0000xxxxxxxx')).toEqual({
      header: {
        versionId: 'B',
        usage: 'P0',
        algorithm: 'T',
        modeOfUse: 'E',
        keyVersion: '00',
        exportability: 'N',
        keyContext: '0',
        optionalBlocks: [],
      },
      blockCharacters: 16,
      headerCharacters: 16,
    })
  })

  const long = 'P'.repeat(256)
  it.each([
    ['one block', 'B0040P0TE00N0100KS1800604B120F9292800000', [['KS', '00604B120F9292800000']]],
    [
      'a padding block',
      'B0040P0TE00N0200KS1200604B120F9292PB0600',
      [
        ['KS', '00604B120F9292'],
        ['PB', '00'],
      ],
    ],
    [
      'a length over 255',
      `B0288P0TE00N0200KS0002010A${long}PB0600`,
      [
        ['KS', long],
        ['PB', '00'],
      ],
    ],
    [
      'an extended length where a short one would do',
      'B0048P0TE00N0200KS00011600604B120F9292PB0A000000',
      [
        ['KS', '00604B120F9292'],
        ['PB', '000000'],
      ],
    ],
    [
      'several blocks, one of them empty',
      'B0056P0TE00N0400KS1800604B120F9292800000T104T20600PB0600',
      [
        ['KS', '00604B120F9292800000'],
        ['T1', ''],
        ['T2', '00'],
        ['PB', '00'],
      ],
    ],
  ])('keeps %s, and is written again as it was', (_, text, blocks) => {
    const { header, headerCharacters } = readHeader(text)
    expect(headerCharacters).toBe(text.length)
    expect(header.optionalBlocks.map(({ id, data }) => [id, data])).toEqual(blocks)
    expect(formatHeader(header, 0)).toBe(text)
  })

  it.each([
    ...['', 'K', 'KS', 'KS1', 'KS1Y', 'KS02', 'KS071', 'KS00', 'KS001', 'KS001S', 'KS0000', 'KS0001', 'KS00010'],
    ...['KS00010H', 'KS000101', 'KS0001FF', '**04', 'KS05\x03', 'ks04', 'KS1a', 'KS0003000000000E'],
  ])('is refused if the one optional block is "%s"', (blocks) => {
    expect(() => readHeader(`B0000P0TE00N0100${blocks}`)).toThrow(/^this is not a key block: optional block 1 has /)
  })

  it.each([
    ...['KS07000T', 'KS0600TT', 'KS050TT1', 'KS04TT1X', 'KS04TT03', 'KS04TT05', 'KS04TT00', 'KS04TT001', 'KS04TT001S'],
    ...['KS04TT0000', 'KS04TT0001', 'KS04TT00010', 'KS04TT00010H', 'KS04TT000101', 'KS04TT00011F', 'KS0600??04'],
    'KS04TT05\xff',
  ])('is refused if the second of two optional blocks is wrong: "%s"', (blocks) => {
    expect(() => readHeader(`B0000P0TE00N0200${blocks}`)).toThrow(/^this is not a key block: optional block 2 has /)
  })

  it.each([
    ['a character that is none of a header', '_0000P0TE00N0000', 'its first 16 characters are no header'],
    ['nothing', '', 'its first 16 characters are no header'],
    ['too little', 'B0000', 'its first 16 characters are no header'],
    ['a number of blocks that is none', 'B0000P0TE00N0X00', 'its first 16 characters are no header'],
    ['reserved places that say something', 'B0000P0TE00N0001', 'its first 16 characters are no header'],
    ['a key context that is none', 'B0000P0TE00N0030', 'its first 16 characters are no header'],
    ['version E', 'E0000P0TE00N0000', 'version E is none of A, B, C and D'],
    ['optional blocks that do not fill a cipher block', 'B0000P0TE00N0100KS0500000', 'no multiple of 8'],
    ['version D, filled for version B', 'D0000P0AE00N0100KS0800000', 'no multiple of 16'],
    ['padding before another block', 'B0000P0TE00N0200PB04KS0400000', 'its padding block PB is not the last'],
  ])('is refused with %s', (_, text, sentence) => {
    expect(() => readHeader(text)).toThrow(sentence)
  })

  it.each([0, 1, 2, 3, 4, 5, 11, 12, 13, 14, 15, 16, 27, 28])(
    'is filled up to whole cipher blocks behind an optional block of %i characters',
    (characters) => {
      for (const versionId of ['B', 'D'] as const) {
        const { header } = readHeader(`${versionId}0000P0TE00N0000`)
        const text = formatHeader({ ...header, optionalBlocks: [optionalBlock('LB', 'x'.repeat(characters))] }, 64)
        const again = readHeader(text)
        expect([again.blockCharacters, again.headerCharacters]).toEqual([text.length + 64, text.length])
        expect(text.length % (versionId === 'D' ? 16 : 8)).toBe(0)
        expect(again.header.optionalBlocks[0]!.data).toBe('x'.repeat(characters))
      }
    },
  )

  it('is not written longer than a key block can be', () => {
    const { header } = readHeader('B0000P0TE00N0000')
    const of = (characters: number) =>
      formatHeader({ ...header, optionalBlocks: [optionalBlock('LB', 'x'.repeat(characters))] }, 64)
    expect(of(9902)).toHaveLength(16 + 9912)
    expect(() => of(9920)).toThrow('it would be longer than a key block can be')
    const many = Array.from({ length: 100 }, () => optionalBlock('LB', 'PPPP'))
    expect(() => formatHeader({ ...header, optionalBlocks: many }, 64)).toThrow('longer than a key block can be')
    expect(() => formatHeader({ ...header, optionalBlocks: many.slice(0, 99) }, 64)).not.toThrow()
  })

  it('is said in words, place by place', () => {
    const { header } = readHeader('D0000K1AN01S0210KP10012331550BC9LB10ZMK of 2026 ')
    expect(headerInWords(header).map(({ name, value, meaning }) => `${name} ${value}: ${meaning}`)).toEqual([
      'version D: bound by keys derived from an AES key',
      'key usage K1: key block protection key (KBPK)',
      'algorithm A: AES',
      'mode of use N: without restriction',
      'key version 01: version 01 of the key',
      'exportability S: may be exported, also in forms that are less protected',
      'key context 1: storage',
      'block KP 012331550BC9: check value of the protection key',
      'block LB ZMK of 2026 : label',
    ])
  })
})
