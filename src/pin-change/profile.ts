/**
 * The data type of a PRW or MAC profile: a message layout as data, so that an issuer who holds a licensed specification
 * can write its real layout without a change of code.
 *
 * The schema checks the form of each member; the rules between members are in profile-rules.ts.
 */
import { Type, type Static } from 'typebox'

const strict = { additionalProperties: false } as const
const choice = <T extends string[]>(...values: [...T]) => Type.Enum(values, { type: 'string' })
const hex = (bytes: string) => Type.String({ pattern: `^(?:[0-9A-Fa-f]{2}){${bytes}}$` })
const digits = (count: string) => Type.String({ pattern: `^[0-9]{${count}}$` })

/** What a field takes its value from. */
export const FIELD_SOURCES = [
  'pan',
  'panSequenceNumber',
  'expiry',
  'pinLength',
  'pin',
  'changeCounter',
  'transactionId',
  'randomNumber',
  'encipheredPinBlock',
  'prw',
  'constant',
] as const

/** The name of a field's source. */
export type FieldSource = (typeof FIELD_SOURCES)[number]

/**
 * How a field's value becomes bytes: BCD is a decimal digit a nibble, ASCII a character a byte, binary one big-endian
 * number that takes the whole width, and raw the value's own bytes, which must take the whole width.
 */
export const FIELD_ENCODINGS = ['bcd', 'ascii', 'binary', 'raw'] as const

/** The name of a field's encoding. */
export type FieldEncoding = (typeof FIELD_ENCODINGS)[number]

/** One field of a message, always `bytes` wide. */
export const ProfileField = Type.Object(
  {
    source: choice(...FIELD_SOURCES),
    encoding: choice(...FIELD_ENCODINGS),
    bytes: Type.Integer({ minimum: 1, maximum: 64 }),
    // BCD and ASCII only: on which side the value stands, and what fills the rest.
    align: Type.Optional(choice('left', 'right')),
    // One hex digit for BCD, one byte in hex for ASCII.
    fill: Type.Optional(Type.String({ pattern: '^[0-9A-Fa-f]{1,2}$' })),
    // The value of a constant.
    hex: Type.Optional(hex('1,64')),
  },
  strict,
)
export type ProfileField = Static<typeof ProfileField>

/** The inputs of a known answer as texts: invented card data and an invented PIN, byte values in hex. */
export const KnownAnswerInputs = Type.Object(
  {
    pan: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{11,18}$' })),
    panSequenceNumber: Type.Optional(digits('2')),
    expiry: Type.Optional(digits('4')),
    pin: Type.Optional(digits('4,12')),
    changeCounter: Type.Optional(digits('4')),
    transactionId: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9_-]{1,64}$' })),
    randomNumber: Type.Optional(hex('4,16')),
    encipheredPinBlock: Type.Optional(Type.String({ pattern: '^(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})$' })),
    prw: Type.Optional(hex('8,16')),
  },
  strict,
)
export type KnownAnswerInputs = Static<typeof KnownAnswerInputs>

/** One known answer: from these inputs this message, and from it under this test key this output. */
export const KnownAnswer = Type.Object(
  {
    inputs: KnownAnswerInputs,
    messageHex: hex('1,1024'),
    // A key for tests only: never one that protects anything.
    keyHex: Type.String({ pattern: '^(?:[0-9A-Fa-f]{32}|[0-9A-Fa-f]{48}|[0-9A-Fa-f]{64})$' }),
    outputHex: hex('4,16'),
  },
  strict,
)
export type KnownAnswer = Static<typeof KnownAnswer>

/** A PRW or MAC profile; the output is the `outputBytes` leftmost bytes of the MAC over the fields in their order. */
export const Profile = Type.Object(
  {
    id: Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$' }),
    kind: choice('prw', 'pin-mac'),
    // ISO 9797-1 algorithm 3 is always with padding method 2.
    algorithm: choice('TDEA-CMAC', 'AES-CMAC', 'ISO-9797-1-ALG-3'),
    outputBytes: Type.Integer({ minimum: 1, maximum: 16 }),
    // pin-mac only: the bytes of the enciphered PIN block, 8 or 16.
    blockBytes: Type.Optional(Type.Union([Type.Literal(8), Type.Literal(16)])),
    // Only with a randomNumber field: how many random bytes the HSM draws.
    randomBytes: Type.Optional(Type.Integer({ minimum: 4, maximum: 16 })),
    fields: Type.Array(ProfileField, { minItems: 1, maxItems: 16 }),
    knownAnswers: Type.Array(KnownAnswer, { minItems: 1, maxItems: 16 }),
  },
  strict,
)
export type Profile = Static<typeof Profile>

/** What a profile computes: a PIN reference value, or a MAC over an enciphered PIN block. */
export type ProfileKind = Profile['kind']

/** The MAC algorithm of a profile. */
export type MacAlgorithm = Profile['algorithm']

/** What `encodeMessage` must be given. */
export type RequiredInput = Exclude<FieldSource, 'constant' | 'pinLength'>

/** Returns the inputs that a profile's fields take; a PIN length is taken from the PIN. */
export function requiredInputs(profile: Profile): ReadonlySet<RequiredInput> {
  const inputs = new Set<RequiredInput>()
  for (const { source } of profile.fields) {
    if (source !== 'constant') inputs.add(source === 'pinLength' ? 'pin' : source)
  }
  return inputs
}

/** Returns how many random bytes the HSM draws for each new PRW of a profile; 0 if it takes none. */
export function randomBytesOf(profile: Profile): number {
  return requiredInputs(profile).has('randomNumber') ? (profile.randomBytes ?? 0) : 0
}

/** Returns the length in bytes of every message of a profile. */
export function messageBytes(profile: Profile): number {
  return profile.fields.reduce((sum, field) => sum + field.bytes, 0)
}
