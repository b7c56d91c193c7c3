import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ServiceError } from '../../../src/errors.ts'
import { parsePan, type Pan } from '../../../src/pin/pan.ts'
import { PIN_BLOCK_FORMATS, type PinBlockFormat } from '../../../src/pin/pin-block.ts'
import { ORACLE_FORMATS, oracleDecode, oracleEncode, type OracleFormat } from './pin-block-oracle.ts'

const PAN = pan('5432101234567891')
const PIN_LENGTHS = [4, 5, 6, 7, 8, 9, 10, 11, 12]
const PAN_LENGTHS = [12, 13, 14, 15, 16, 17, 18, 19]

function pan(text: string): Pan {
  const parsed = parsePan(text)
  if (parsed === undefined) throw new Error('not a PAN')
  return parsed
}

function formatOf(name: string): PinBlockFormat {
  const format = PIN_BLOCK_FORMATS.get(name)
  if (format === undefined) throw new Error('not built')
  return format
}

function bytesOf(pin: string): Uint8Array {
  return Uint8Array.from(pin, Number)
}

function decode(name: string, block: string, pan: Pan): { pin: string; rest: number[] } {
  // Filled with ones, so that a digit or a zero which is not written shows.
  const digits = Buffer.alloc(12, 0xff)
  const length = formatOf(name).decode({ pinBlock: Buffer.from(block, 'hex'), pan }, digits)
  return { pin: [...digits.subarray(0, length)].join(''), rest: [...digits.subarray(length)] }
}

/** The filler that the documented use of `fill` gives, read from the right, as a string of nibbles. */
function oracleFiller(name: OracleFormat, pin: string, fill: Uint8Array): string {
  const bytes = [...fill]
  const nibbles =
    name === 'ISO-1'
      ? bytes.map((byte) => byte.toString(16).padStart(2, '0')).join('')
      : name === 'ISO-3'
        ? bytes.map((byte) => 'ABCDEF'.charAt(Math.floor((byte * 6) / 256))).join('')
        : 'F'.repeat(10)
  return nibbles.slice(pin.length - 4).toUpperCase()
}

const nibblesOf = (alphabet: string, length: number) =>
  fc
    .uint8Array({ minLength: length, maxLength: length, max: alphabet.length - 1 })
    .map((indexes) => [...indexes].map((index) => alphabet.charAt(index)).join(''))
const digitsOf = (length: number) => nibblesOf('0123456789', length)
const anyHex = (length: number) => nibblesOf('0123456789ABCDEF', length)
const panOf = (length: number) =>
  fc.tuple(nibblesOf('123456789', 1), digitsOf(length - 1)).map(([first, others]) => pan(first + others))
const anyPin = fc.oneof(...PIN_LENGTHS.map(digitsOf))
const anyPan = fc.oneof(...PAN_LENGTHS.map(panOf))

describe('PIN_BLOCK_FORMATS', () => {
  it('holds the built formats, their sizes and whether they bind a PAN', () => {
    const facts = [...PIN_BLOCK_FORMATS].map(([name, f]) => [name, f.blockBytes, f.bindsPan, f.fillBytes])
    expect(facts).toEqual([
      ['ISO-0', 8, true, 0],
      ['ISO-1', 8, false, 5],
      ['ISO-3', 8, true, 10],
      ['SECCOS', 8, false, 0],
    ])
  })

  it('knows neither ISO-4 yet nor the names of a prototype', () => {
    for (const name of ['ISO-4', 'ISO-2', '__proto__', 'constructor', 'toString', '']) {
      expect(PIN_BLOCK_FORMATS.get(name)).toBeUndefined()
    }
  })
})

describe.each(ORACLE_FORMATS)('%s', (name) => {
  const format = formatOf(name)

  describe.each(PIN_LENGTHS)('with a PIN of %i digits', (pinLength) => {
    it.each(PAN_LENGTHS)('encodes and decodes as the oracle does for a PAN of %i digits', (panLength) => {
      const anyFill = fc.uint8Array({ minLength: format.fillBytes, maxLength: format.fillBytes })
      fc.assert(
        fc.property(digitsOf(pinLength), panOf(panLength), anyFill, (pin, pan, fill) => {
          const target = Buffer.alloc(8, 0xff)
          format.encode({ pin: bytesOf(pin), pinDigits: pin.length, pan, fill }, target)
          const block = target.toString('hex').toUpperCase()
          expect(block).toBe(oracleEncode(name, pin, pan, oracleFiller(name, pin, fill)))
          expect(oracleDecode(name, block, pan)).toBe(pin)
          expect(decode(name, block, pan)).toEqual({ pin, rest: Array(12 - pin.length).fill(0) })
        }),
        { numRuns: 25 },
      )
    })

    it('answers as the oracle does for every value of every nibble of a good block', () => {
      const pin = '907856341209'.slice(0, pinLength)
      const good = oracleEncode(name, pin, PAN, 'FEDCBAFEDC'.replace(/./g, name === 'ISO-3' ? '$&' : 'F'))
      let valid = 0
      for (let i = 0; i < 16; i++) {
        for (const nibble of '0123456789ABCDEF') {
          const block = good.slice(0, i) + nibble + good.slice(i + 1)
          const expected = oracleDecode(name, block, PAN)
          expect(decode(name, block, PAN).pin).toBe(expected ?? '')
          if (expected !== undefined) valid++
        }
      }
      // The good block itself once a nibble, and ten values of each digit less that one: so many at the least are
      // valid.
      expect(valid).toBeGreaterThanOrEqual(16 + pinLength * 9)
      expect(valid).toBeLessThan(256)
    })
  })

  it('answers as the oracle does for any 8 bytes and for blocks near a good one', () => {
    const nearGood = fc
      .tuple(anyPin, anyPan, anyHex(10), fc.integer({ min: 0, max: 15 }), anyHex(1))
      .map(([pin, pan, filler, i, nibble]) => {
        const block = oracleEncode(name, pin, pan, filler)
        return { block: block.slice(0, i) + nibble + block.slice(i + 1), pan }
      })
    const any = fc.record({ block: anyHex(16), pan: anyPan })
    fc.assert(
      fc.property(fc.oneof(nearGood, any), ({ block, pan }) => {
        expect(decode(name, block, pan).pin).toBe(oracleDecode(name, block, pan) ?? '')
      }),
      { numRuns: 2000 },
    )
  })

  it('answers as the oracle does for a block and another PAN', () => {
    fc.assert(
      fc.property(anyPin, anyPan, anyPan, anyHex(10), (pin, pan, otherPan, filler) => {
        const block = oracleEncode(name, pin, pan, name === 'ISO-1' ? filler : 'FFFFFFFFFF')
        const expected = oracleDecode(name, block, otherPan) ?? ''
        expect(decode(name, block, otherPan).pin).toBe(expected)
        if (!format.bindsPan) expect(expected).toBe(pin)
      }),
      { numRuns: 500 },
    )
  })

  it('returns 0 and leaves only zeros for a block of another length', () => {
    for (const bytes of [0, 1, 7, 9, 16]) {
      const block = oracleEncode(name, '1234', PAN, 'FFFFFFFFFF')
        .repeat(2)
        .slice(0, bytes * 2)
      expect(decode(name, block, PAN)).toEqual({ pin: '', rest: Array(12).fill(0) })
    }
  })

  it('looks at every byte of the block just as often whatever is wrong with it', () => {
    const readsOf = (block: string) => {
      const reads = new Map<string, number>()
      const pinBlock = new Proxy(Buffer.from(block, 'hex'), {
        get(bytes, key) {
          reads.set(String(key), (reads.get(String(key)) ?? 0) + 1)
          return Reflect.get(bytes, key) as unknown
        },
      })
      format.decode({ pinBlock, pan: PAN }, Buffer.alloc(12))
      return reads
    }
    const good = oracleEncode(name, '12345678', PAN, 'FFFFFF')
    const expected = readsOf(good)
    expect([...expected.keys()].sort()).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', 'length'])
    for (let i = 0; i < 16; i++) {
      const nibble = (parseInt(good.charAt(i), 16) ^ 0xa).toString(16)
      expect(readsOf(good.slice(0, i) + nibble + good.slice(i + 1))).toEqual(expected)
    }
  })

  describe('refuses a mistake of its caller with ERR_INTERNAL', () => {
    const fill = new Uint8Array(format.fillBytes)
    const expectInternal = (act: () => unknown) => {
      expect(act).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL', message: 'Internal error.' }))
      expect(act).toThrow(ServiceError)
    }

    it.each([0, 1, 3, 13, 16, -4, 4.5, NaN])('a PIN of %d digits', (pinDigits) => {
      const target = Buffer.alloc(8, 0xff)
      expectInternal(() => {
        format.encode({ pin: new Uint8Array(16), pinDigits, pan: PAN, fill }, target)
      })
      expect(target.equals(Buffer.alloc(8))).toBe(true)
    })

    it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])('a digit over 9 in place %i', (place) => {
      for (const digit of [10, 15, 16, 49, 255]) {
        const target = Buffer.alloc(8, 0xff)
        const pin = bytesOf('123456789012').fill(digit, place, place + 1)
        expectInternal(() => {
          format.encode({ pin, pinDigits: 12, pan: PAN, fill }, target)
        })
        expect(target.equals(Buffer.alloc(8))).toBe(true)
      }
    })

    it('a slice that holds fewer digits than it says', () => {
      expectInternal(() => {
        format.encode({ pin: bytesOf('1234'), pinDigits: 5, pan: PAN, fill }, Buffer.alloc(8))
      })
    })

    it.each([0, 7, 9, 16])('a target of %i bytes', (bytes) => {
      expectInternal(() => {
        format.encode({ pin: bytesOf('1234'), pinDigits: 4, pan: PAN, fill }, Buffer.alloc(bytes))
      })
    })

    it.each([0, 4, 11, 13])('a place for the PIN of %i bytes', (bytes) => {
      expectInternal(() => format.decode({ pinBlock: Buffer.alloc(8), pan: PAN }, Buffer.alloc(bytes)))
    })

    it.each(format.fillBytes === 0 ? [] : [0, format.fillBytes - 1, format.fillBytes + 1])(
      '%i random bytes where it takes another number',
      (bytes) => {
        expectInternal(() => {
          format.encode({ pin: bytesOf('1234'), pinDigits: 4, pan: PAN, fill: new Uint8Array(bytes) }, Buffer.alloc(8))
        })
      },
    )
  })

  it('does not look at what follows the PIN in its slice', () => {
    const [a, b] = [Buffer.alloc(8), Buffer.alloc(8)]
    const fill = new Uint8Array(format.fillBytes)
    format.encode({ pin: bytesOf('1234'), pinDigits: 4, pan: PAN, fill }, a)
    format.encode(
      { pin: Uint8Array.of(1, 2, 3, 4, 255, 9, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8), pinDigits: 4, pan: PAN, fill },
      b,
    )
    expect(b.equals(a)).toBe(true)
  })
})

describe('any format into any other', () => {
  const pairs = ORACLE_FORMATS.flatMap((from) => ORACLE_FORMATS.map((to) => [from, to] as const))
  it.each(pairs)('%s into %s keeps the PIN', (from, to) => {
    fc.assert(
      fc.property(anyPin, anyPan, (pin, pan) => {
        const digits = Buffer.alloc(12)
        const target = Buffer.alloc(8)
        const pinBlock = Buffer.from(oracleEncode(from, pin, pan, 'FFFFFFFFFF'), 'hex')
        const pinDigits = formatOf(from).decode({ pinBlock, pan }, digits)
        const fill = new Uint8Array(formatOf(to).fillBytes).fill(0x5a)
        formatOf(to).encode({ pin: digits, pinDigits, pan, fill }, target)
        expect(oracleDecode(to, target.toString('hex').toUpperCase(), pan)).toBe(pin)
      }),
      { numRuns: 50 },
    )
  })
})

describe('ISO-3 filler', () => {
  it('comes from A, B, D and E for 43 and from C and F for 42 of the 256 bytes', () => {
    const counts: Record<string, number> = {}
    for (let byte = 0; byte < 256; byte++) {
      const target = Buffer.alloc(8)
      const fill = new Uint8Array(10).fill(byte)
      formatOf('ISO-3').encode({ pin: bytesOf('1234'), pinDigits: 4, pan: pan('100000000000'), fill }, target)
      const filler = target.toString('hex').toUpperCase().charAt(15)
      counts[filler] = (counts[filler] ?? 0) + 1
    }
    expect(counts).toEqual({ A: 43, B: 43, C: 42, D: 43, E: 43, F: 42 })
  })
})
