/** The rules between the members of a profile, checked once when the configuration is read. */
import type { FieldEncoding, FieldSource, KnownAnswer, Profile, MacAlgorithm, ProfileField } from './profile.ts'
import { messageBytes, requiredInputs } from './profile.ts'

const MAC_BYTES: Readonly<Record<MacAlgorithm, number>> = {
  'TDEA-CMAC': 8,
  'AES-CMAC': 16,
  'ISO-9797-1-ALG-3': 8,
}

const KEY_BYTES: Readonly<Record<MacAlgorithm, readonly number[]>> = {
  'TDEA-CMAC': [16, 24],
  'AES-CMAC': [16, 24, 32],
  'ISO-9797-1-ALG-3': [16],
}

// A PIN has no binary form, because its leading zeros count; card data and identifiers have none for the same reason.
const ENCODINGS: Readonly<Record<FieldSource, readonly FieldEncoding[]>> = {
  pan: ['bcd', 'ascii'],
  panSequenceNumber: ['bcd', 'ascii', 'binary'],
  expiry: ['bcd', 'ascii'],
  pinLength: ['bcd', 'ascii', 'binary'],
  pin: ['bcd', 'ascii'],
  changeCounter: ['bcd', 'ascii', 'binary'],
  transactionId: ['bcd', 'ascii'],
  randomNumber: ['raw'],
  encipheredPinBlock: ['raw'],
  prw: ['raw'],
  constant: ['raw'],
}

// The digits of the longest value; a transaction id has no fixed length, so it is measured at each request.
const LONGEST_DIGITS: Readonly<Partial<Record<FieldSource, number>>> = {
  pan: 19,
  panSequenceNumber: 2,
  expiry: 4,
  pinLength: 2,
  pin: 12,
  changeCounter: 4,
}

const REQUIRED: Readonly<Record<Profile['kind'], readonly FieldSource[]>> = {
  prw: ['pan', 'pinLength', 'pin'],
  'pin-mac': ['encipheredPinBlock'],
}

// A MAC with the PIN in it would be a PRW under a key that need not be kept like one.
const REFUSED: Readonly<Record<Profile['kind'], readonly FieldSource[]>> = {
  prw: ['encipheredPinBlock', 'prw'],
  'pin-mac': ['pin', 'pinLength', 'randomNumber'],
}

const LEAST_OUTPUT_BYTES: Readonly<Record<Profile['kind'], number>> = { prw: 8, 'pin-mac': 4 }

/**
 * Lists in words every rule that a profile breaks, and never a value of it; an empty list is a usable profile.
 *
 * @param profile - has the form of the Profile schema.
 */
export function profileProblems(profile: Profile): string[] {
  const problems = [...kindProblems(profile), ...outputProblems(profile)]
  profile.fields.forEach((field, i) => {
    for (const problem of fieldProblems(profile, field)) problems.push(`field ${i + 1} (${field.source}): ${problem}`)
  })
  profile.knownAnswers.forEach((answer, i) => {
    for (const problem of answerProblems(profile, answer)) problems.push(`known answer ${i + 1}: ${problem}`)
  })
  return problems
}

function kindProblems({ kind, fields, blockBytes, randomBytes }: Profile): string[] {
  const problems: string[] = []
  const sources = new Set(fields.map((field) => field.source))
  for (const source of REQUIRED[kind]) {
    if (!sources.has(source)) problems.push(`a ${kind} profile needs the field ${source}`)
  }
  for (const source of REFUSED[kind]) {
    if (sources.has(source)) problems.push(`a ${kind} profile must not have the field ${source}`)
  }
  if (kind === 'pin-mac' && blockBytes === undefined) problems.push('a pin-mac profile needs blockBytes')
  if (kind === 'prw' && blockBytes !== undefined) problems.push('a prw profile takes no blockBytes')
  if (sources.has('randomNumber') !== (randomBytes !== undefined)) {
    problems.push('a randomNumber field and randomBytes go together')
  }
  return problems
}

function outputProblems({ kind, algorithm, outputBytes }: Profile): string[] {
  const problems: string[] = []
  const least = LEAST_OUTPUT_BYTES[kind]
  if (outputBytes < least) problems.push(`the output of a ${kind} profile has at least ${least} bytes`)
  if (outputBytes > MAC_BYTES[algorithm]) problems.push(`${algorithm} gives ${MAC_BYTES[algorithm]} bytes at most`)
  return problems
}

function fieldProblems(profile: Profile, field: ProfileField): string[] {
  const { source, encoding, bytes } = field
  if (!ENCODINGS[source].includes(encoding)) return [`cannot be encoded as ${encoding}`]

  const problems: string[] = []
  if ((source === 'constant') !== (field.hex !== undefined)) problems.push('a constant has hex, and nothing else has')

  if (encoding === 'bcd' || encoding === 'ascii') {
    if (field.align === undefined) problems.push(`${encoding} needs align`)
    if (field.fill?.length !== (encoding === 'bcd' ? 1 : 2)) {
      problems.push(encoding === 'bcd' ? 'bcd needs fill, one hex digit' : 'ascii needs fill, one byte in hex')
    }
  } else if (field.align !== undefined || field.fill !== undefined) {
    problems.push(`${encoding} takes its whole width and has neither align nor fill`)
  }

  const least = leastBytes(field)
  if (least !== undefined && bytes < least) problems.push(`needs at least ${least} bytes`)
  const exact = exactBytes(profile, field)
  if (exact !== undefined && bytes !== exact) problems.push(`must be as wide as its value: ${exact}`)
  if (source === 'prw' && (bytes < 8 || bytes > 16)) problems.push('must be 8 to 16 bytes wide, as a PRW is')
  return problems
}

/** The bytes that the longest value takes, where that is fixed. */
function leastBytes({ source, encoding }: ProfileField): number | undefined {
  const digits = LONGEST_DIGITS[source]
  if (digits === undefined) return undefined
  if (encoding === 'ascii') return digits
  if (encoding === 'bcd') return Math.ceil(digits / 2)
  return source === 'changeCounter' ? 2 : 1
}

/** The one width of a raw field, which is never filled and never cut; undefined where no other member says it. */
function exactBytes(profile: Profile, field: ProfileField): number | undefined {
  if (field.source === 'encipheredPinBlock') return profile.blockBytes
  if (field.source === 'randomNumber') return profile.randomBytes
  return field.hex === undefined ? undefined : field.hex.length / 2
}

function answerProblems(profile: Profile, answer: KnownAnswer): string[] {
  const problems: string[] = []
  const required: ReadonlySet<string> = requiredInputs(profile)
  for (const name of Object.keys(answer.inputs)) {
    if (!required.has(name)) problems.push(`no field takes ${name}`)
  }
  for (const name of required) {
    if (!Object.hasOwn(answer.inputs, name)) problems.push(`${name} is missing`)
  }
  if (answer.messageHex.length !== 2 * messageBytes(profile)) problems.push('the message is not as long as the fields')
  if (answer.outputHex.length !== 2 * profile.outputBytes) problems.push('the output is not outputBytes long')
  if (!KEY_BYTES[profile.algorithm].includes(answer.keyHex.length / 2)) {
    problems.push(`the key is not one of ${profile.algorithm}`)
  }
  return problems
}
