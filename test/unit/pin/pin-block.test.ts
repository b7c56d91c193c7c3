import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ServiceError } from '../../../src/errors.ts'
import { parsePan, type Pan } from '../../../src/pan.ts'
import { PIN_BLOCK_FORMATS, type PinBlockFormat } from '../../../src/pin/pin-block.ts'
import { ORACLES } from '../../support/oracles.ts'
import { ORACLE_FORMATS, oracleDecode, oracleEncipher, oracleEncode, type OracleFormat } from './pin-block-oracle.ts'

const PAN = '5432101234567891'
const PIN_LENGTHS = [4, 5, 6, 7, 8, 9, 10, 11, 12]
const PAN_LENGTHS = [12, 13, 14, 15, 16, 17, 18, 19]
const BLOCK_LENGTHS = Array.from({ length: 34 }, (_, bytes) => bytes)

function packed(text: string): Pan {
  const pan = parsePan(text)
  if (pan === undefined) throw new Error('not a PAN')
  return pan
}

function formatOf(name: string): PinBlockFormat {
  const format = PIN_BLOCK_FORMATS.get(name)
  if (format === undefined) throw new Error('not built')
  return format
}

function bytesOf(pin: string): Uint8Array {
  return Uint8Array.from(pin, Number)
}

function decode(name: string, block: string, pan: string): { pin: string; rest: number[] } {
  // Filled with ones, so that a digit or a zero which is not written shows.
  const digits = Buffer.alloc(12, 0xff)
  const length = formatOf(name).decode({ pinBlock: Buffer.from(block, 'hex'), pan: packed(pan) }, digits)
  return { pin: [...digits.subarray(0, length)].join(''), rest: [...digits.subarray(length)] }
}

/** The filler that the documented use of `fill` gives, one position after the other, as a string of nibbles. */
function oracleFiller(name: OracleFormat, pin: string, fill: Uint8Array): string {
  const bytes = [...fill]
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, '0'))
  const positions: Record<OracleFormat, string> = {
    'ISO-0': 'F'.repeat(10),
    'ISO-1': hex.map((text) => text.charAt(0)).join(''),
    'ISO-3': bytes.map((byte) => 'ABCDEF'.charAt(Math.floor((byte * 6) / 256))).join(''),
    'ISO-4': 'A'.repeat(10),
    SECCOS: 'F'.repeat(10),
  }
  return (positions[name].slice(pin.length - 4) + (name === 'ISO-4' ? hex.join('') : '')).toUpperCase()
}

/** A filler that the format allows, and not only its easiest one. */
function goodFiller(name: OracleFormat, pin: string): string {
  const ten = { 'ISO-1': 'FEDCBAFEDC', 'ISO-3': 'FEDCBAFEDC', 'ISO-4': 'AAAAAAAAAA' }[name as string] ?? 'FFFFFFFFFF'
  return ten.slice(pin.length - 4) + '0123456789ABCDEF'
}

const nibblesOf = (alphabet: string, length: number) =>
  fc
    .uint8Array({ minLength: length, maxLength: length, max: alphabet.length - 1 })
    .map((indexes) => [...indexes].map((index) => alphabet.charAt(index)).join(''))
const digitsOf = (length: number) => nibblesOf('0123456789', length)
const anyHex = (length: number) => nibblesOf('0123456789ABCDEF', length)
const panOf = (length: number) =>
  fc.tuple(nibblesOf('123456789', 1), digitsOf(length - 1)).map(([first, others]) => first + others)
const anyPin = fc.oneof(...PIN_LENGTHS.map(digitsOf))
const anyPan = fc.oneof(...PAN_LENGTHS.map(panOf))

describe('PIN_BLOCK_FORMATS', () => {
  it('holds the formats, their sizes, whether they bind a PAN, and whether between two passes', () => {
    const facts = [...PIN_BLOCK_FORMATS].map(([name, f]) => [
      name,
      f.blockBytes,
      f.bindsPan,
      f.fillBytes,
      f.xorBetweenPasses !== undefined,
    ])
    expect(facts).toEqual([
      ['ISO-0', 8, true, 0, false],
      ['ISO-1', 8, false, 10, false],
      ['ISO-3', 8, true, 10, false],
      ['ISO-4', 16, true, 8, true],
      ['SECCOS', 8, false, 0, false],
    ])
  })

  it('knows neither ISO-2 nor the names of a prototype', () => {
    for (const name of ['ISO-2', 'ISO-5', '__proto__', 'constructor', 'toString', '']) {
      expect(PIN_BLOCK_FORMATS.get(name)).toBeUndefined()
    }
  })
})

describe.each(ORACLE_FORMATS)('%s', (name) => {
  const format = formatOf(name)
  const nibbles = format.blockBytes * 2
  const otherLengths = BLOCK_LENGTHS.filter((bytes) => bytes !== format.blockBytes)

  describe.each(PIN_LENGTHS)('with a PIN of %i digits', (pinLength) => {
    it.each(PAN_LENGTHS)('encodes and decodes as the oracle does for a PAN of %i digits', (panLength) => {
      const anyFill = fc.uint8Array({ minLength: format.fillBytes, maxLength: format.fillBytes })
      fc.assert(
        fc.property(digitsOf(pinLength), panOf(panLength), anyFill, (pin, pan, fill) => {
          const target = Buffer.alloc(format.blockBytes, 0xff)
          format.encode({ pin: bytesOf(pin), pinDigits: pin.length, pan: packed(pan), fill }, target)
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
      const good = oracleEncode(name, pin, PAN, goodFiller(name, pin))
      let valid = 0
      for (let i = 0; i < nibbles; i++) {
        for (const nibble of '0123456789ABCDEF') {
          const block = good.slice(0, i) + nibble + good.slice(i + 1)
          const expected = oracleDecode(name, block, PAN)
          expect(decode(name, block, PAN).pin).toBe(expected ?? '')
          if (expected !== undefined) valid++
        }
      }
      // The good block itself once a nibble, and ten values of each digit less that one: so many at the least are
      // valid, and in format 4 every other value of the 16 random nibbles.
      expect(valid).toBeGreaterThanOrEqual(nibbles + pinLength * 9 + (name === 'ISO-4' ? 16 * 15 : 0))
      expect(valid).toBeLessThan(nibbles * 16)
    })
  })

  it('answers as the oracle does for any bytes and for blocks near a good one', () => {
    const nearGood = fc
      .tuple(anyPin, anyPan, anyHex(26), fc.boolean(), fc.integer({ min: 0, max: nibbles - 1 }), anyHex(1))
      .map(([pin, pan, anyFiller, isGood, i, nibble]) => {
        const block = oracleEncode(name, pin, pan, isGood ? goodFiller(name, pin) : anyFiller)
        return { block: block.slice(0, i) + nibble + block.slice(i + 1), pan }
      })
    const any = fc.record({ block: anyHex(nibbles), pan: anyPan })
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
        const block = oracleEncode(name, pin, pan, name === 'ISO-1' ? filler : goodFiller(name, pin))
        const expected = oracleDecode(name, block, otherPan) ?? ''
        expect(decode(name, block, otherPan).pin).toBe(expected)
        // Format 4 binds the PAN between its two passes, and not in the PIN field.
        if (!format.bindsPan || name === 'ISO-4') expect(expected).toBe(pin)
      }),
      { numRuns: 500 },
    )
  })

  it('returns 0 and leaves only zeros for a block of another length', () => {
    const good = oracleEncode(name, '1234', PAN, goodFiller(name, '1234'))
    for (const bytes of otherLengths) {
      const block = good.repeat(5).slice(0, bytes * 2)
      expect(decode(name, block, PAN)).toEqual({ pin: '', rest: Array(12).fill(0) })
    }
  })

  it('looks at every byte of the block and of the PAN just as often whatever is wrong with it', () => {
    const readsOf = (block: string) => {
      const reads = new Map<string, number>()
      const pinBlock = watched(Buffer.from(block, 'hex'), 'block', reads)
      const pan = watched(packed(PAN), 'PAN', reads)
      format.decode({ pinBlock, pan }, Buffer.alloc(12))
      return reads
    }
    const good = oracleEncode(name, '12345678', PAN, goodFiller(name, '12345678'))
    const expected = readsOf(good)
    // The random half of format 4 is looked at by nobody, and a PAN only where its field is part of the block.
    const block = ['0', '1', '2', '3', '4', '5', '6', '7', 'length'].map((key) => `block ${key}`)
    const pan = ['3', '4', '5', '6', '7', '8', '9'].map((key) => `PAN ${key}`)
    const bindsHere = format.bindsPan && name !== 'ISO-4'
    expect([...expected.keys()].sort()).toEqual([...(bindsHere ? pan : []), ...block])
    for (let i = 0; i < nibbles; i++) {
      for (const change of [0x1, 0x4, 0xa, 0xf]) {
        const nibble = (parseInt(good.charAt(i), 16) ^ change).toString(16)
        expect(readsOf(good.slice(0, i) + nibble + good.slice(i + 1))).toEqual(expected)
      }
    }
    expect(readsOf('0'.repeat(nibbles))).toEqual(expected)
    expect(readsOf('F'.repeat(nibbles))).toEqual(expected)
  })

  it('looks at every byte of the PIN and of the random bytes just as often whatever the PIN and its length', () => {
    const readsOf = (pin: string) => {
      const reads = new Map<string, number>()
      const digits = watched(bytesOf(pin.padEnd(12, '0')), 'PIN', reads)
      const fill = watched(new Uint8Array(format.fillBytes), 'fill', reads)
      const target = Buffer.alloc(format.blockBytes)
      format.encode({ pin: digits, pinDigits: pin.length, pan: packed(PAN), fill }, target)
      return reads
    }
    const expected = readsOf('1234')
    expect([...expected.keys()].filter((key) => /^PIN \d/.test(key)).length).toBe(12)
    for (const length of PIN_LENGTHS) {
      for (const digit of '059') expect(readsOf(digit.repeat(length))).toEqual(expected)
    }
  })

  describe('refuses a mistake of its caller with ERR_INTERNAL', () => {
    const fill = new Uint8Array(format.fillBytes)
    const pan = packed(PAN)
    const zeros = Buffer.alloc(format.blockBytes)
    const expectInternal = (act: () => unknown) => {
      expect(act).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL', message: 'Internal error.' }))
      expect(act).toThrow(ServiceError)
    }

    it.each([0, 1, 3, 13, 16, -4, 4.5, NaN])('a PIN of %d digits', (pinDigits) => {
      const target = Buffer.alloc(format.blockBytes, 0xff)
      expectInternal(() => {
        format.encode({ pin: new Uint8Array(16), pinDigits, pan, fill }, target)
      })
      expect(target.equals(zeros)).toBe(true)
    })

    it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])('a digit over 9 in place %i', (place) => {
      for (const digit of [10, 15, 16, 49, 255]) {
        const target = Buffer.alloc(format.blockBytes, 0xff)
        const pin = bytesOf('123456789012').fill(digit, place, place + 1)
        expectInternal(() => {
          format.encode({ pin, pinDigits: 12, pan, fill }, target)
        })
        expect(target.equals(zeros)).toBe(true)
      }
    })

    it('a slice that holds fewer digits than it says', () => {
      expectInternal(() => {
        format.encode({ pin: bytesOf('1234'), pinDigits: 5, pan, fill }, Buffer.alloc(format.blockBytes))
      })
    })

    it.each(otherLengths)('a target of %i bytes', (bytes) => {
      expectInternal(() => {
        format.encode({ pin: bytesOf('1234'), pinDigits: 4, pan, fill }, Buffer.alloc(bytes))
      })
    })

    it.each([0, 4, 11, 13])('a place for the PIN of %i bytes', (bytes) => {
      expectInternal(() => format.decode({ pinBlock: Buffer.alloc(format.blockBytes), pan }, Buffer.alloc(bytes)))
    })

    it.each(format.fillBytes === 0 ? [] : [0, format.fillBytes - 1, format.fillBytes + 1])(
      '%i random bytes where it takes another number',
      (bytes) => {
        expectInternal(() => {
          const input = { pin: bytesOf('1234'), pinDigits: 4, pan, fill: new Uint8Array(bytes) }
          format.encode(input, Buffer.alloc(format.blockBytes))
        })
      },
    )
  })

  it('does not look at what follows the PIN in its slice', () => {
    const [a, b] = [Buffer.alloc(format.blockBytes), Buffer.alloc(format.blockBytes)]
    const fill = new Uint8Array(format.fillBytes)
    const pan = packed(PAN)
    format.encode({ pin: bytesOf('1234'), pinDigits: 4, pan, fill }, a)
    format.encode({ pin: Uint8Array.of(1, 2, 3, 4, 255, 9, 17, 0, 1, 2, 3, 4, 5, 6, 7, 8), pinDigits: 4, pan, fill }, b)
    expect(b.equals(a)).toBe(true)
  })
})

describe('any format into any other', () => {
  const pairs = ORACLE_FORMATS.flatMap((from) => ORACLE_FORMATS.map((to) => [from, to] as const))
  it.each(pairs)('%s into %s keeps the PIN', (from, to) => {
    fc.assert(
      fc.property(anyPin, anyPan, (pin, pan) => {
        const digits = Buffer.alloc(12)
        const target = Buffer.alloc(formatOf(to).blockBytes)
        const pinBlock = Buffer.from(oracleEncode(from, pin, pan, goodFiller(from, pin)), 'hex')
        const pinDigits = formatOf(from).decode({ pinBlock, pan: packed(pan) }, digits)
        const fill = new Uint8Array(formatOf(to).fillBytes).fill(0x5a)
        formatOf(to).encode({ pin: digits, pinDigits, pan: packed(pan), fill }, target)
        expect(oracleDecode(to, target.toString('hex').toUpperCase(), pan)).toBe(pin)
      }),
      { numRuns: 50 },
    )
  })
})

describe('filler', () => {
  const lastFiller = (name: string) => {
    const counts: Record<string, number> = {}
    for (let byte = 0; byte < 256; byte++) {
      const target = Buffer.alloc(8)
      const fill = new Uint8Array(10).fill(byte)
      formatOf(name).encode({ pin: bytesOf('1234'), pinDigits: 4, pan: packed('100000000000'), fill }, target)
      const filler = target.toString('hex').toUpperCase().charAt(15)
      counts[filler] = (counts[filler] ?? 0) + 1
    }
    return counts
  }

  it('of ISO-3 comes from A, B, D and E for 43 and from C and F for 42 of the 256 bytes', () => {
    expect(lastFiller('ISO-3')).toEqual({ A: 43, B: 43, C: 42, D: 43, E: 43, F: 42 })
  })

  it('of ISO-1 comes from every nibble for 16 of the 256 bytes', () => {
    expect(lastFiller('ISO-1')).toEqual(Object.fromEntries([...'0123456789ABCDEF'].map((nibble) => [nibble, 16])))
  })
})

describe.each(ORACLES)('ISO-4 deciphered in two passes by $name', ({ ecb, decipherEcb }) => {
  const decipher = (key: string, block: string, pan: string): string => {
    const between = Buffer.from(decipherEcb('AES', key, block), 'hex')
    formatOf('ISO-4').xorBetweenPasses?.(packed(pan), between)
    return decipherEcb('AES', key, between.toString('hex')).toUpperCase()
  }
  const anyKey = fc.oneof(...[32, 48, 64].map(anyHex))

  it('gives the PIN with its PAN, and nothing with another', () => {
    fc.assert(
      fc.property(anyKey, anyPin, anyPan, anyPan, (key, pin, pan, otherPan) => {
        fc.pre(otherPan !== pan)
        const pinField = oracleEncode('ISO-4', pin, pan, goodFiller('ISO-4', pin))
        const block = oracleEncipher('ISO-4', (clear) => ecb('AES', key, clear), pinField, pan)
        expect(decode('ISO-4', decipher(key, block, pan), pan).pin).toBe(pin)
        expect(decode('ISO-4', decipher(key, block, otherPan), otherPan).pin).toBe('')
      }),
      { numRuns: 100 },
    )
  })
})

/** `bytes`, with every look at one of them or at their length counted in `reads`. */
function watched<T extends Uint8Array>(bytes: T, name: string, reads: Map<string, number>): T {
  return new Proxy(bytes, {
    get(target, key) {
      reads.set(`${name} ${String(key)}`, (reads.get(`${name} ${String(key)}`) ?? 0) + 1)
      return Reflect.get(target, key) as unknown
    },
  })
}
