import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkProfileMessages } from '../../../src/pin-change/known-answers.ts'
import { encodeMessage, type MessageInputs } from '../../../src/pin-change/message.ts'
import type { Profile, ProfileField, ProfileKind } from '../../../src/pin-change/profile.ts'
import { SHIPPED_PROFILES, findProfile } from '../../../src/pin-change/shipped-profiles.ts'
import { SecretScope } from '../../../src/secret.ts'

const shipped = (kind: ProfileKind, id: string) => structuredClone(findProfile(SHIPPED_PROFILES, kind, id)!)

const pinOf = (text: string): MessageInputs => ({ pin: Uint8Array.from(text, Number), pinDigits: text.length })

const PRW_INPUTS: MessageInputs = {
  pan: '4000001234567899',
  panSequenceNumber: '01',
  expiry: '2912',
  ...pinOf('1234'),
  changeCounter: '0003',
  randomNumber: Buffer.from('a1b2c3d4', 'hex'),
}
const MAC_INPUTS: MessageInputs = {
  panSequenceNumber: '01',
  changeCounter: '0003',
  transactionId: '21430919092023091909',
  encipheredPinBlock: Buffer.alloc(8, 0xab),
  prw: Buffer.alloc(8, 0xcd),
}

function encode(profile: Profile, inputs: MessageInputs): string {
  using secrets = new SecretScope()
  return encodeMessage(profile, inputs, secrets).toString('hex')
}

const refused = expect.objectContaining({
  code: 'ERR_REQUEST_INVALID',
  message: 'The request does not have the form that this route expects.',
})

describe('encodeMessage', () => {
  it.each([4, 5, 6, 7, 8, 9, 10, 11, 12])('encodes a PIN of %i digits', (length) => {
    const pin = '192837465019'.slice(0, length)
    const lengthHex = ['04', '05', '06', '07', '08', '09', '0a', '0b', '0c'][length - 4]!
    const expected = `00004000001234567899` + `01` + lengthHex + pin.padEnd(12, 'f') + `0003`
    expect(encode(shipped('prw', 'seccos-3des'), { ...PRW_INPUTS, ...pinOf(pin) })).toBe(expected)
  })

  it.each([12, 13, 14, 15, 16, 17, 18, 19])('encodes a PAN of %i digits', (length) => {
    const pan = '9876543210987654321'.slice(0, length)
    const expected = `${'0'.repeat(20 - length)}${pan}` + `01` + `04` + `1234ffffffff` + `0003`
    expect(encode(shipped('prw', 'seccos-3des'), { ...PRW_INPUTS, pan })).toBe(expected)
  })

  it('looks at no digit behind the count of a PIN', () => {
    const pin = Uint8Array.of(1, 2, 3, 4, 250, 251, 252, 253, 254, 255, 7, 7)
    const expected = encode(shipped('prw', 'seccos-3des'), PRW_INPUTS)
    expect(encode(shipped('prw', 'seccos-3des'), { ...PRW_INPUTS, pin, pinDigits: 4 })).toBe(expected)
  })

  it('writes into its scope, which wipes the message, and leaves the inputs as they were', () => {
    const secrets = new SecretScope()
    const inputs = { ...PRW_INPUTS, ...pinOf('1234') }
    const message = encodeMessage(shipped('prw', 'seccos-3des'), inputs, secrets)
    expect(message.includes(Buffer.from('041234', 'hex'))).toBe(true)
    secrets[Symbol.dispose]()
    expect(message.every((byte) => byte === 0)).toBe(true)
    expect([...inputs.pin!]).toEqual([1, 2, 3, 4])
  })

  it.each([
    ['no PAN', { pan: undefined }],
    ['no PAN sequence number', { panSequenceNumber: undefined }],
    ['no PIN', { pin: undefined }],
    ['a PIN without its count', { pinDigits: undefined }],
    ['no change counter', { changeCounter: undefined }],
    ['a PAN of 11 digits', { pan: '40000012345' }],
    ['a PAN of 20 digits', { pan: '40000012345678991234' }],
    ['a PAN with a leading 0', { pan: '0000001234567899' }],
    ['a PAN with a letter', { pan: '400000123456789A' }],
    ['a PAN with a line feed behind it', { pan: '4000001234567899\n' }],
    ['a PAN in other digits', { pan: '٤000001234567899' }],
    ['a sequence number of 1 digit', { panSequenceNumber: '1' }],
    ['a sequence number of 3 digits', { panSequenceNumber: '001' }],
    ['a counter of 3 digits', { changeCounter: '003' }],
    ['a counter of 5 digits', { changeCounter: '00003' }],
    ['a counter with a sign', { changeCounter: '+003' }],
    ['a PIN of 3 digits', pinOf('123')],
    ['a PIN of 13 digits', pinOf('1234567890123')],
    ['a count that is no whole number', { pin: new Uint8Array(12), pinDigits: 4.5 }],
    ['a count beyond the PIN', { pinDigits: 5 }],
    ['a PIN with a digit of 10', { pin: Uint8Array.of(1, 2, 3, 10), pinDigits: 4 }],
    ['a PIN of ASCII digits', { pin: Uint8Array.of(0x31, 0x32, 0x33, 0x34), pinDigits: 4 }],
  ])('refuses %s with ERR_REQUEST_INVALID', (_, change) => {
    expect(() => encode(shipped('prw', 'seccos-3des'), { ...PRW_INPUTS, ...change })).toThrow(refused)
  })

  it.each([
    ['no expiry', { expiry: undefined }],
    ['an expiry of 3 digits', { expiry: '291' }],
    ['no random number', { randomNumber: undefined }],
    ['a random number of 3 bytes', { randomNumber: Buffer.alloc(3) }],
    ['a random number of 5 bytes', { randomNumber: Buffer.alloc(5) }],
  ])('refuses %s for PRW dk-aes with ERR_REQUEST_INVALID', (_, change) => {
    expect(() => encode(shipped('prw', 'dk-aes'), { ...PRW_INPUTS, ...change })).toThrow(refused)
  })

  it.each([
    ['no enciphered PIN block', { encipheredPinBlock: undefined }],
    ['an enciphered PIN block of 16 bytes', { encipheredPinBlock: Buffer.alloc(16) }],
    ['no PRW', { prw: undefined }],
    ['a PRW of 16 bytes', { prw: Buffer.alloc(16) }],
    ['no transaction id', { transactionId: undefined }],
    ['an empty transaction id', { transactionId: '' }],
    ['a transaction id with a letter', { transactionId: '2143091909202309190A' }],
    ['a transaction id of 21 digits', { transactionId: '214309190920230919091' }],
    ['no change counter', { changeCounter: undefined }],
  ])('refuses %s for MAC seccos-3des with ERR_REQUEST_INVALID', (_, change) => {
    expect(() => encode(shipped('pin-mac', 'seccos-3des'), { ...MAC_INPUTS, ...change })).toThrow(refused)
  })

  it('refuses an enciphered PIN block of 8 bytes for MAC dk-aes with ERR_REQUEST_INVALID', () => {
    expect(() => encode(shipped('pin-mac', 'dk-aes'), MAC_INPUTS)).toThrow(refused)
  })

  it('does not look at inputs that no field takes', () => {
    const spoilt = { ...PRW_INPUTS, expiry: 'never', transactionId: '\0', prw: Buffer.alloc(1) }
    expect(encode(shipped('prw', 'seccos-3des'), spoilt)).toBe(encode(shipped('prw', 'seccos-3des'), PRW_INPUTS))
  })
})

const one = (field: ProfileField, inputs: MessageInputs) =>
  encode({ ...shipped('pin-mac', 'dk-aes'), fields: [field] }, inputs)

describe('field encodings', () => {
  const ascii = { encoding: 'ascii', bytes: 6, align: 'left', fill: '20' } as const

  it.each([
    [{ source: 'expiry', ...ascii }, '323931322020'],
    [{ source: 'expiry', ...ascii, align: 'right', fill: '30' }, '303032393132'],
    [{ source: 'expiry', encoding: 'bcd', bytes: 3, align: 'left', fill: 'E' }, '2912ee'],
    [{ source: 'expiry', encoding: 'bcd', bytes: 3, align: 'right', fill: 'd' }, 'dd2912'],
    [{ source: 'changeCounter', encoding: 'binary', bytes: 2 }, '270f'],
    [{ source: 'changeCounter', encoding: 'binary', bytes: 6 }, '00000000270f'],
    [{ source: 'panSequenceNumber', encoding: 'binary', bytes: 1 }, '63'],
    [{ source: 'pinLength', encoding: 'binary', bytes: 2 }, '0005'],
    [{ source: 'pinLength', encoding: 'bcd', bytes: 1, align: 'right', fill: '0' }, '05'],
    [{ source: 'pinLength', encoding: 'ascii', bytes: 2, align: 'right', fill: '30' }, '3035'],
    [{ source: 'pin', encoding: 'ascii', bytes: 12, align: 'left', fill: 'FF' }, '3738393031ffffffffffffff'],
    [{ source: 'pin', encoding: 'bcd', bytes: 6, align: 'right', fill: '0' }, '000000078901'],
    [{ source: 'transactionId', encoding: 'ascii', bytes: 8, align: 'right', fill: '00' }, '0000547832315f2d'],
    [{ source: 'constant', encoding: 'raw', bytes: 3, hex: 'C0FFEE' }, 'c0ffee'],
  ] as const)('encodes %j to %s', (field, expected) => {
    const inputs = {
      expiry: '2912',
      changeCounter: '9999',
      panSequenceNumber: '99',
      transactionId: 'Tx21_-',
      ...pinOf('78901'),
    }
    expect(one(field, inputs)).toBe(expected)
  })

  it.each([
    ['a number that is too large for its width', { source: 'changeCounter', encoding: 'binary', bytes: 1 }],
    ['ASCII that is too long', { source: 'transactionId', encoding: 'ascii', bytes: 5, align: 'left', fill: '20' }],
    ['BCD without a fill', { source: 'changeCounter', encoding: 'bcd', bytes: 2, align: 'left' }],
    ['BCD without an alignment', { source: 'changeCounter', encoding: 'bcd', bytes: 2, fill: '0' }],
    ['a raw counter', { source: 'changeCounter', encoding: 'raw', bytes: 4, align: 'left', fill: '0' }],
    ['a constant without a value', { source: 'constant', encoding: 'raw', bytes: 1 }],
    ['a PIN with a bad digit in ASCII', { source: 'pin', encoding: 'ascii', bytes: 12, align: 'left', fill: '20' }],
    [
      'a PIN with a digit of 10 in ASCII',
      { source: 'pin', encoding: 'ascii', bytes: 12, align: 'left', fill: '20' },
      10,
    ],
  ] as const)('refuses %s with ERR_REQUEST_INVALID', (_, field, digit: number = 77) => {
    const pin = Uint8Array.of(1, 2, 3, digit)
    expect(() => one(field, { changeCounter: '9999', transactionId: 'Tx21_-', pin, pinDigits: 4 })).toThrow(refused)
  })
})

describe('a PIN of 13 digits', () => {
  it.each([
    { source: 'pin', encoding: 'bcd', bytes: 7, align: 'left', fill: 'F' },
    { source: 'pinLength', encoding: 'binary', bytes: 1 },
  ] as const)('is refused with ERR_REQUEST_INVALID even where $source in $encoding had room for it', (field) => {
    expect(() => one(field, pinOf('1234567890123'))).toThrow(refused)
  })
})

describe('encodeMessage against a naive oracle', () => {
  const digits = (minLength: number, maxLength = minLength) =>
    fc.array(fc.integer({ min: 0, max: 9 }), { minLength, maxLength }).map((list) => list.join(''))
  const hex = (bytes: number) => fc.uint8Array({ minLength: bytes, maxLength: bytes })
  const pan = fc.tuple(fc.integer({ min: 1, max: 9 }), digits(11, 18)).map(([first, rest]) => `${first}${rest}`)
  const card = { pan, sequence: digits(2), expiry: digits(4), pin: digits(4, 12), counter: digits(4) }

  it('agrees for PRW seccos-3des', () => {
    fc.assert(
      fc.property(fc.record(card), ({ pan, sequence, pin, counter }) => {
        const length = pin.length.toString(16).padStart(2, '0')
        const naive = pan.padStart(20, '0') + sequence + length + pin.padEnd(12, 'f') + counter
        const inputs = { pan, panSequenceNumber: sequence, ...pinOf(pin), changeCounter: counter }
        expect(encode(shipped('prw', 'seccos-3des'), inputs)).toBe(naive)
      }),
    )
  })

  it('agrees for PRW dk-aes', () => {
    fc.assert(
      fc.property(fc.record({ ...card, random: hex(4) }), ({ pan, sequence, expiry, pin, random }) => {
        const length = pin.length.toString(16).padStart(2, '0')
        const tail = Buffer.from(random).toString('hex')
        const naive = pan.padStart(20, '0') + sequence + expiry + length + pin.padEnd(12, 'f') + tail
        const inputs = { pan, panSequenceNumber: sequence, expiry, ...pinOf(pin), randomNumber: random }
        expect(encode(shipped('prw', 'dk-aes'), inputs)).toBe(naive)
      }),
    )
  })

  it('agrees for MAC seccos-3des', () => {
    const record = fc.record({ block: hex(8), prw: hex(8), counter: digits(4), id: digits(1, 20) })
    fc.assert(
      fc.property(record, ({ block, prw, counter, id }) => {
        const naive = Buffer.from([...block, ...prw]).toString('hex') + counter + id.padStart(20, '0')
        const inputs = { encipheredPinBlock: block, prw, changeCounter: counter, transactionId: id }
        expect(encode(shipped('pin-mac', 'seccos-3des'), inputs)).toBe(naive)
      }),
    )
  })
})

describe('checkProfileMessages', () => {
  it.each(SHIPPED_PROFILES)('passes the shipped $kind profile $id', (profile) => {
    expect(checkProfileMessages(profile)).toBe(true)
  })

  it.each(SHIPPED_PROFILES)('fails the $kind profile $id when one digit of a message differs', (profile) => {
    const wrong = structuredClone(profile)
    const answer = wrong.knownAnswers.at(-1)!
    answer.messageHex = answer.messageHex.replace(/.$/, (digit) => (digit === '1' ? '2' : '1'))
    expect(checkProfileMessages(wrong)).toBe(false)
  })

  it('fails a profile whose known answer is of another length, cannot be encoded, or is not there', () => {
    const profile = shipped('prw', 'seccos-3des')
    profile.knownAnswers[0]!.messageHex += '00'
    expect(checkProfileMessages(profile)).toBe(false)
    const incomplete = shipped('prw', 'seccos-3des')
    delete incomplete.knownAnswers[0]!.inputs.pan
    expect(checkProfileMessages(incomplete)).toBe(false)
    expect(checkProfileMessages({ ...profile, knownAnswers: [] })).toBe(false)
  })

  it('takes hex of either case', () => {
    const profile = shipped('prw', 'seccos-3des')
    for (const answer of profile.knownAnswers) answer.messageHex = answer.messageHex.toLowerCase()
    expect(checkProfileMessages(profile)).toBe(true)
  })
})
