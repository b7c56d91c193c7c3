import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PAN_BYTES, PAN_PATTERN, packPan, panDigits, panText, parsePan } from '../../../src/pan.ts'
import { panFieldByte, xorPanField4 } from '../../../src/pin/pan-field.ts'
import { oraclePanField, oraclePanField4 } from './pin-block-oracle.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
const LENGTHS = [12, 13, 14, 15, 16, 17, 18, 19]
const SHORT_LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
const anyPan = fc.stringMatching(/^[1-9][0-9]{11,18}$/)
const anyShortPan = fc.stringMatching(/^[1-9][0-9]{0,10}$/)

describe('parsePan', () => {
  it('states its pattern', () => {
    expect(PAN_PATTERN).toBe('^[1-9][0-9]{11,18}$')
  })

  it.each(LENGTHS)('takes %i digits as they are, in 20 nibbles', (length) => {
    const text = '4321987654321098765'.slice(0, length)
    const pan = parsePan(text)!
    expect(pan.length).toBe(PAN_BYTES)
    expect(hex(pan)).toBe('0'.repeat(20 - length) + text)
    expect(panText(pan)).toBe(text)
    expect(panDigits(pan)).toBe(length)
  })

  it.each([
    ['nothing', ''],
    ['11 digits', '43219876543'],
    ['20 digits', '43219876543210987654'],
    ['a leading 0', '0321987654321098'],
    ['a letter', '432198765432109A'],
    ['a space before it', ' 4321987654321098'],
    ['a space in it', '4321 9876 5432 1098'],
    ['a line end after it', '4321987654321098\n'],
    ['a sign', '+321987654321098'],
    ['digits of another script', '٤٣٢١٩٨٧٦٥٤٣٢١٠٩٨'],
    ['full-width digits', '4321987654321098'.replace(/4/g, '\uFF14')],
  ])('refuses %s', (_, text) => {
    expect(parsePan(text)).toBeUndefined()
  })

  it('gives bytes of its own each time, so that they can be overwritten', () => {
    const pan = parsePan('4321987654321098')!
    pan.fill(0xff)
    expect(panText(parsePan('4321987654321098')!)).toBe('4321987654321098')
  })
})

describe('packPan', () => {
  it.each(SHORT_LENGTHS)('packs %i digits', (length) => {
    const text = '43219876543'.slice(0, length)
    expect(hex(packPan(text))).toBe('0'.repeat(20 - length) + text)
  })

  it('packs what parsePan takes as parsePan does', () => {
    fc.assert(
      fc.property(anyPan, (text) => {
        expect(hex(packPan(text))).toBe(hex(parsePan(text)!))
      }),
    )
  })
})

describe('panDigits', () => {
  const packed = (nibbles: string) => Buffer.from(nibbles, 'hex')

  it.each([...SHORT_LENGTHS, 20])('is 0 for %i digits', (length) => {
    expect(panDigits(packed('12345678901234567890'.slice(0, length).padStart(20, '0')))).toBe(0)
  })

  it('is 0 for no digit but 0', () => {
    expect(panDigits(Buffer.alloc(10))).toBe(0)
  })

  it.each([...'ABCDEF'])('is 0 for a nibble %s in any place', (nibble) => {
    const good = '00004321987654321098'
    for (let i = 0; i < 20; i++) {
      expect([i, panDigits(packed(good.slice(0, i) + nibble + good.slice(i + 1)))]).toEqual([i, 0])
    }
  })

  it('takes a packed PAN exactly if parsePan takes its digits', () => {
    const nibbles = fc.stringMatching(/^0{0,9}[0-9A-F]{20}$/).map((text) => text.slice(0, 20))
    fc.assert(
      fc.property(fc.oneof(nibbles, anyPan, anyShortPan), (text) => {
        const filled = text.padStart(20, '0')
        const digits = filled.replace(/^0+/, '')
        expect(panDigits(packed(filled))).toBe(parsePan(digits) === undefined ? 0 : digits.length)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('panFieldByte', () => {
  it.each([
    ['17 digits', '43219876543210987', '0000987654321098'],
    ['12 digits, padded to the left', '543210987654', '0000054321098765'],
    ['13 digits, exactly 12 without the check digit', '5432109876543', '0000543210987654'],
    ['19 digits', '5432109876543210987', '0000987654321098'],
  ])('takes the 12 rightmost digits without the check digit: %s', (_, text, expected) => {
    expect(field(text)).toBe(expected)
  })

  it('agrees with the oracle for every length', () => {
    fc.assert(
      fc.property(anyPan, (text) => {
        expect(field(text)).toBe(oraclePanField('ISO-0', text))
      }),
      { numRuns: 1000 },
    )
  })

  function field(text: string): string {
    const pan = parsePan(text)!
    return hex(Uint8Array.from([0, 1, 2, 3, 4, 5, 6, 7], (index) => panFieldByte(pan, index)))
  }
})

describe('xorPanField4', () => {
  it.each([
    ['19 digits', '5432109876543210987', '75432109876543210987000000000000'],
    ['16 digits', '5432109876543210', '45432109876543210000000000000000'],
    ['12 digits', '543210987654', '05432109876540000000000000000000'],
    ['11 digits, padded to the left', '54321098765', '00543210987650000000000000000000'],
    ['1 digit, padded to the left', '5', '00000000000050000000000000000000'],
  ])('adds the number of digits beyond 12 and the whole PAN with its check digit: %s', (_, text, expected) => {
    expect(field(text)).toBe(expected)
  })

  it.each([...SHORT_LENGTHS, ...LENGTHS])('agrees with the oracle for a PAN of %i digits', (length) => {
    fc.assert(
      fc.property(fc.stringMatching(new RegExp(`^[1-9][0-9]{${length - 1}}$`)), (text) => {
        expect(field(text)).toBe(oraclePanField4(text))
      }),
      { numRuns: 50 },
    )
  })

  it('adds to what is there, so that twice is nothing', () => {
    fc.assert(
      fc.property(fc.oneof(anyPan, anyShortPan), fc.uint8Array({ minLength: 16, maxLength: 16 }), (text, before) => {
        const target = Buffer.from(before)
        xorPanField4(packPan(text), target)
        expect(hex(target.map((byte, i) => byte ^ before[i]!))).toBe(oraclePanField4(text))
        xorPanField4(packPan(text), target)
        expect(hex(target)).toBe(hex(before))
      }),
      { numRuns: 500 },
    )
  })

  function field(text: string): string {
    const target = Buffer.alloc(16)
    xorPanField4(packPan(text), target)
    return hex(target)
  }
})
