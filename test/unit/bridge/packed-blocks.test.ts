import { describe, expect, it } from 'vitest'
import { blockBytesOf, packBlocks } from '../../../src/bridge/packed-blocks.ts'
import { PIN_BLOCK_FORMATS } from '../../../src/pin/pin-block.ts'

describe('packBlocks', () => {
  it('writes all PANs, right-aligned BCD in 10 bytes, then all blocks', () => {
    const { items, packed } = packBlocks([
      { pan: '412345678901', pinBlock: '0123456789abcdef' },
      { pan: '4123456789012345678', pinBlock: 'FEDCBA9876543210' },
      { pan: '4123456789012345', pinBlock: '00112233445566Ff' },
    ])
    expect(items).toBe(3)
    expect(packed.toString('hex')).toBe(
      '00000000412345678901' +
        '04123456789012345678' +
        '00004123456789012345' +
        '0123456789abcdef' +
        'fedcba9876543210' +
        '00112233445566ff',
    )
  })

  it('writes blocks of 16 bytes', () => {
    const { packed } = packBlocks([
      { pan: '412345678901', pinBlock: '00112233445566778899aabbccddeeff' },
      { pan: '412345678902', pinBlock: 'ffeeddccbbaa99887766554433221100' },
    ])
    expect(packed.toString('hex')).toBe(
      '0000000041234567890100000000412345678902' +
        '00112233445566778899aabbccddeeff' +
        'ffeeddccbbaa99887766554433221100',
    )
  })
})

it('the gateway and the vault agree on the length of every block', () => {
  expect([...PIN_BLOCK_FORMATS].map(([format, { blockBytes }]) => [format, blockBytes])).toEqual(
    (['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'] as const).map((format) => [format, blockBytesOf(format)]),
  )
})
