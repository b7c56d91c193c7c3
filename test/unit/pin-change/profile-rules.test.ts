import { Check } from 'typebox/value'
import { describe, expect, it } from 'vitest'
import { profileProblems } from '../../../src/pin-change/profile-rules.ts'
import {
  Profile,
  messageBytes,
  randomBytesOf,
  requiredInputs,
  type FieldSource,
  type ProfileField,
  type ProfileKind,
} from '../../../src/pin-change/profile.ts'
import { SHIPPED_PROFILES, findProfile } from '../../../src/pin-change/shipped-profiles.ts'

const shipped = (kind: ProfileKind, id: string) => structuredClone(findProfile(SHIPPED_PROFILES, kind, id)!)
const field = (profile: Profile, source: FieldSource) => profile.fields.find((one) => one.source === source)!
const without = (source: FieldSource) => (profile: Profile) => {
  profile.fields = profile.fields.filter((one) => one.source !== source)
}
const change = (source: FieldSource, changes: Partial<ProfileField>) => (profile: Profile) => {
  Object.assign(field(profile, source), changes)
}
const add =
  (...fields: ProfileField[]) =>
  (profile: Profile) => {
    profile.fields.push(...fields)
  }

describe('shipped profiles', () => {
  it('are four, have the form of the schema and break no rule', () => {
    expect(SHIPPED_PROFILES.map(({ kind, id }) => `${kind} ${id}`)).toEqual([
      'prw seccos-3des',
      'pin-mac seccos-3des',
      'prw dk-aes',
      'pin-mac dk-aes',
    ])
    for (const profile of SHIPPED_PROFILES) {
      expect(Check(Profile, profile)).toBe(true)
      expect(profileProblems(profile)).toEqual([])
    }
  })

  it('say which inputs they take and how long their messages are', () => {
    const facts = SHIPPED_PROFILES.map((profile) => [
      [...requiredInputs(profile)].join(' '),
      randomBytesOf(profile),
      messageBytes(profile),
    ])
    expect(facts).toEqual([
      ['pan panSequenceNumber pin changeCounter', 0, 20],
      ['encipheredPinBlock prw changeCounter transactionId', 0, 28],
      ['pan panSequenceNumber expiry pin randomNumber', 4, 24],
      ['encipheredPinBlock panSequenceNumber', 0, 17],
    ])
  })

  it('are found by kind and id together', () => {
    expect(findProfile(SHIPPED_PROFILES, 'prw', 'seccos-3des')?.algorithm).toBe('TDEA-CMAC')
    expect(findProfile(SHIPPED_PROFILES, 'pin-mac', 'seccos-3des')?.algorithm).toBe('ISO-9797-1-ALG-3')
    expect(findProfile(SHIPPED_PROFILES, 'prw', 'unknown')).toBeUndefined()
  })
})

describe('the schema of a profile', () => {
  it.each([
    ['an unknown member', { extra: 1 }],
    ['an unknown kind', { kind: 'pvv' }],
    ['an unknown algorithm', { algorithm: 'ISO-9797-1-ALG-1' }],
    ['a block of 12 bytes', { blockBytes: 12 }],
    ['no known answer', { knownAnswers: [] }],
    ['no field', { fields: [] }],
    ['an unknown source', { fields: [{ source: 'cvv', encoding: 'bcd', bytes: 2 }] }],
    ['an unknown member of a field', { fields: [{ source: 'pan', encoding: 'bcd', bytes: 10, pad: 'F' }] }],
    ['a width of 0', { fields: [{ source: 'pan', encoding: 'bcd', bytes: 0 }] }],
    ['an odd number of hex digits', { fields: [{ source: 'constant', encoding: 'raw', bytes: 1, hex: '0' }] }],
    ['a fill that is no hex', { fields: [{ source: 'pan', encoding: 'bcd', bytes: 10, align: 'left', fill: 'G' }] }],
  ])('refuses %s', (_, members) => {
    expect(Check(Profile, { ...shipped('prw', 'seccos-3des'), ...members })).toBe(false)
  })
})

const constant = (bytes: number, hex: string): ProfileField => ({ source: 'constant', encoding: 'raw', bytes, hex })
const bcd = (source: FieldSource, bytes: number): ProfileField => ({
  source,
  encoding: 'bcd',
  bytes,
  align: 'right',
  fill: '0',
})

const PRW_REFUSALS: readonly [string, (profile: Profile) => unknown, string][] = [
  ['without a PAN', without('pan'), 'a prw profile needs the field pan'],
  ['without a PIN length', without('pinLength'), 'a prw profile needs the field pinLength'],
  ['without a PIN', without('pin'), 'a prw profile needs the field pin'],
  [
    'with an enciphered PIN block',
    add({ source: 'encipheredPinBlock', encoding: 'raw', bytes: 8 }),
    'a prw profile must not have the field encipheredPinBlock',
  ],
  ['with a PRW', add({ source: 'prw', encoding: 'raw', bytes: 8 }), 'a prw profile must not have the field prw'],
  ['with blockBytes', (p) => (p.blockBytes = 8), 'a prw profile takes no blockBytes'],
  ['of 7 bytes', (p) => (p.outputBytes = 7), 'the output of a prw profile has at least 8 bytes'],
  ['of 9 bytes with TDEA', (p) => (p.outputBytes = 9), 'TDEA-CMAC gives 8 bytes at most'],
  [
    'with random bytes and no field for them',
    (p) => (p.randomBytes = 4),
    'a randomNumber field and randomBytes go together',
  ],
  [
    'with a random number of unknown length',
    add({ source: 'randomNumber', encoding: 'raw', bytes: 4 }),
    'a randomNumber field and randomBytes go together',
  ],
  ['with a raw PAN', change('pan', { encoding: 'raw' }), 'field 1 (pan): cannot be encoded as raw'],
  ['with a binary PAN', change('pan', { encoding: 'binary' }), 'field 1 (pan): cannot be encoded as binary'],
  ['with a binary PIN', change('pin', { encoding: 'binary' }), 'field 4 (pin): cannot be encoded as binary'],
  ['with a raw PIN', change('pin', { encoding: 'raw' }), 'field 4 (pin): cannot be encoded as raw'],
  [
    'with a constant in BCD',
    add({ ...constant(1, '00'), encoding: 'bcd' }),
    'field 6 (constant): cannot be encoded as bcd',
  ],
  ['with a PAN in 9 bytes BCD', change('pan', { bytes: 9 }), 'field 1 (pan): needs at least 10 bytes'],
  [
    'with a PAN in 18 bytes ASCII',
    change('pan', { encoding: 'ascii', bytes: 18, fill: '30' }),
    'field 1 (pan): needs at least 19 bytes',
  ],
  ['with a PIN in 5 bytes BCD', change('pin', { bytes: 5 }), 'field 4 (pin): needs at least 6 bytes'],
  [
    'with a PIN in 11 bytes ASCII',
    change('pin', { encoding: 'ascii', bytes: 11, fill: '20' }),
    'field 4 (pin): needs at least 12 bytes',
  ],
  [
    'with a counter in 1 byte BCD',
    change('changeCounter', { bytes: 1 }),
    'field 5 (changeCounter): needs at least 2 bytes',
  ],
  [
    'with a sequence number in 1 byte ASCII',
    change('panSequenceNumber', { encoding: 'ascii', fill: '30' }),
    'field 2 (panSequenceNumber): needs at least 2 bytes',
  ],
  ['with an expiry in 1 byte BCD', add(bcd('expiry', 1)), 'field 6 (expiry): needs at least 2 bytes'],
  ['with BCD and no alignment', (p) => delete field(p, 'pan').align, 'field 1 (pan): bcd needs align'],
  ['with BCD and no fill', (p) => delete field(p, 'pan').fill, 'field 1 (pan): bcd needs fill, one hex digit'],
  ['with BCD and a fill of a byte', change('pan', { fill: '00' }), 'field 1 (pan): bcd needs fill, one hex digit'],
  [
    'with ASCII and a fill of a digit',
    change('pan', { encoding: 'ascii', bytes: 19 }),
    'field 1 (pan): ascii needs fill, one byte in hex',
  ],
  [
    'with a filled binary field',
    change('pinLength', { fill: '0' }),
    'field 3 (pinLength): binary takes its whole width and has neither align nor fill',
  ],
  [
    'with hex where there is no constant',
    change('pan', { hex: '00' }),
    'field 1 (pan): a constant has hex, and nothing else has',
  ],
  [
    'with a constant without hex',
    add({ source: 'constant', encoding: 'raw', bytes: 1 }),
    'field 6 (constant): a constant has hex, and nothing else has',
  ],
  ['with a constant that is too short', add(constant(2, '00')), 'field 6 (constant): must be as wide as its value: 1'],
  [
    'with a known answer of another length',
    (p) => (p.knownAnswers[0]!.messageHex += '00'),
    'known answer 1: the message is not as long as the fields',
  ],
  [
    'with a known output of another length',
    (p) => (p.knownAnswers[1]!.outputHex += '00'),
    'known answer 2: the output is not outputBytes long',
  ],
  [
    'with a test key of another length',
    (p) => (p.knownAnswers[0]!.keyHex = '00'.repeat(32)),
    'known answer 1: the key is not one of TDEA-CMAC',
  ],
  [
    'with a known answer that lacks an input',
    (p) => delete p.knownAnswers[0]!.inputs.changeCounter,
    'known answer 1: changeCounter is missing',
  ],
  [
    'with a known answer of an input that no field takes',
    (p) => (p.knownAnswers[0]!.inputs.expiry = '2912'),
    'known answer 1: no field takes expiry',
  ],
  [
    'with a binary counter in 1 byte',
    (p) => p.fields.push({ source: 'changeCounter', encoding: 'binary', bytes: 1 }),
    'field 6 (changeCounter): needs at least 2 bytes',
  ],
  [
    'with a PIN length in 1 byte ASCII',
    change('pinLength', { encoding: 'ascii', align: 'right', fill: '30' }),
    'field 3 (pinLength): needs at least 2 bytes',
  ],
]

const MAC_REFUSALS: readonly [string, (profile: Profile) => unknown, string][] = [
  [
    'without the enciphered PIN block',
    without('encipheredPinBlock'),
    'a pin-mac profile needs the field encipheredPinBlock',
  ],
  ['without blockBytes', (p) => delete p.blockBytes, 'a pin-mac profile needs blockBytes'],
  [
    'with a block of another width',
    (p) => (p.blockBytes = 16),
    'field 1 (encipheredPinBlock): must be as wide as its value: 16',
  ],
  ['with the PIN', add(bcd('pin', 6)), 'a pin-mac profile must not have the field pin'],
  [
    'with the PIN length',
    add({ source: 'pinLength', encoding: 'binary', bytes: 1 }),
    'a pin-mac profile must not have the field pinLength',
  ],
  [
    'with a random number',
    add({ source: 'randomNumber', encoding: 'raw', bytes: 4 }),
    'a pin-mac profile must not have the field randomNumber',
  ],
  ['of 3 bytes', (p) => (p.outputBytes = 3), 'the output of a pin-mac profile has at least 4 bytes'],
  ['of 9 bytes', (p) => (p.outputBytes = 9), 'ISO-9797-1-ALG-3 gives 8 bytes at most'],
  ['with a PRW of 7 bytes', change('prw', { bytes: 7 }), 'field 2 (prw): must be 8 to 16 bytes wide, as a PRW is'],
  ['with a PRW of 17 bytes', change('prw', { bytes: 17 }), 'field 2 (prw): must be 8 to 16 bytes wide, as a PRW is'],
  [
    'with a triple-length retail MAC key',
    (p) => (p.knownAnswers[0]!.keyHex = '00'.repeat(24)),
    'known answer 1: the key is not one of ISO-9797-1-ALG-3',
  ],
]

describe('profileProblems', () => {
  it.each(PRW_REFUSALS)('refuses a PRW profile %s', (_, spoil, problem) => {
    const profile = shipped('prw', 'seccos-3des')
    spoil(profile)
    expect(profileProblems(profile)).toContain(problem)
  })

  it.each(MAC_REFUSALS)('refuses a MAC profile %s', (_, spoil, problem) => {
    const profile = shipped('pin-mac', 'seccos-3des')
    spoil(profile)
    expect(profileProblems(profile)).toContain(problem)
  })

  it('refuses a random number of another width, and 17 bytes of AES-CMAC', () => {
    const profile = shipped('prw', 'dk-aes')
    profile.randomBytes = 8
    profile.outputBytes = 17
    expect(profileProblems(profile)).toContain('field 6 (randomNumber): must be as wide as its value: 8')
    expect(profileProblems(profile)).toContain('AES-CMAC gives 16 bytes at most')
  })

  it('names every problem at once, and no value of the profile', () => {
    const profile = shipped('prw', 'seccos-3des')
    profile.outputBytes = 4
    field(profile, 'pin').bytes = 1
    profile.knownAnswers[0]!.keyHex = 'C0FFEE'.repeat(10)
    const problems = profileProblems(profile)
    expect(problems.length).toBeGreaterThanOrEqual(4)
    expect(problems.join()).not.toMatch(/c0ffee|4000001234567899|1234/i)
  })

  it('accepts what a real layout may need: a constant, ASCII, a binary counter, a random number of 8 bytes', () => {
    const profile = shipped('prw', 'dk-aes')
    profile.randomBytes = 8
    profile.fields = [
      constant(2, 'C0DE'),
      { source: 'pan', encoding: 'ascii', bytes: 19, align: 'left', fill: '20' },
      { source: 'pinLength', encoding: 'bcd', bytes: 1, align: 'right', fill: '0' },
      { source: 'pin', encoding: 'ascii', bytes: 12, align: 'left', fill: 'FF' },
      { source: 'changeCounter', encoding: 'binary', bytes: 2 },
      { source: 'randomNumber', encoding: 'raw', bytes: 8 },
    ]
    profile.knownAnswers = [
      {
        inputs: { pan: '4000001234567899', pin: '1234', changeCounter: '0003', randomNumber: '0011223344556677' },
        messageHex: '00'.repeat(44),
        keyHex: '00'.repeat(16),
        outputHex: '00'.repeat(16),
      },
    ]
    expect(profileProblems(profile)).toEqual([])
  })
})
