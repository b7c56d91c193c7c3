import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PAN_PATTERN, panField, parsePan } from '../../../src/pin/pan.ts'
import { oraclePanField } from './pin-block-oracle.ts'

describe('parsePan', () => {
  it('states its pattern', () => {
    expect(PAN_PATTERN).toBe('^[1-9][0-9]{11,18}$')
  })

  it.each([12, 13, 14, 15, 16, 17, 18, 19])('takes %i digits as they are', (length) => {
    const text = '4321987654321098765'.slice(0, length)
    expect(parsePan(text)).toBe(text)
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
})

describe('panField', () => {
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
      fc.property(fc.stringMatching(/^[1-9][0-9]{11,18}$/), (text) => {
        expect(field(text)).toBe(oraclePanField('ISO-0', text))
      }),
      { numRuns: 1000 },
    )
  })

  function field(text: string): string | undefined {
    const pan = parsePan(text)
    return pan && panField(pan).toString('hex')
  }
})
