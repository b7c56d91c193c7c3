/** Encodes the message that a PRW or MAC is computed over, field by field as its profile says. */
import { decodeHex } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import { putAscii, putBcd, putBinary, putRaw } from './field-encoding.ts'
import { messageBytes, type Profile, type ProfileField } from './profile.ts'

/** What a message may be made of; the caller owns all of it, and wipes the PIN. */
export interface MessageInputs {
  /** 12–19 digits, the first not 0. */
  readonly pan?: string | undefined
  /** 2 digits. */
  readonly panSequenceNumber?: string | undefined
  /** 4 digits, YYMM. */
  readonly expiry?: string | undefined
  /** Secret: one digit (0–9) a byte, the first `pinDigits` bytes. */
  readonly pin?: Uint8Array | undefined
  /** How many digits the PIN has, 4–12. */
  readonly pinDigits?: number | undefined
  /** 4 digits. */
  readonly changeCounter?: string | undefined
  /** 1–64 characters of A–Z, a–z, 0–9, `_` and `-`. */
  readonly transactionId?: string | undefined
  /** As many bytes as the profile draws. */
  readonly randomNumber?: Uint8Array | undefined
  /** The PIN block under its key, as many bytes as the profile says. */
  readonly encipheredPinBlock?: Uint8Array | undefined
  /** 8–16 bytes. */
  readonly prw?: Uint8Array | undefined
}

const FORMS = {
  pan: /^[1-9][0-9]{11,18}$/,
  panSequenceNumber: /^[0-9]{2}$/,
  expiry: /^[0-9]{4}$/,
  changeCounter: /^[0-9]{4}$/,
  transactionId: /^[A-Za-z0-9_-]{1,64}$/,
} as const

/**
 * Encodes the message of a profile; a value is used as it is or refused, never made up with zeros and never cut.
 *
 * Layout: the fields one after the other, each as wide as the profile says.
 *
 * @param profile - one without `profileProblems`.
 * @param inputs - not wiped here; inputs that no field takes are not looked at.
 * @param secrets - the message contains the PIN if the profile does; wiped when this scope ends.
 * @returns `messageBytes(profile)` bytes.
 * @throws ERR_REQUEST_INVALID if a field's value is missing, or does not fit its form, encoding or width.
 */
export function encodeMessage(profile: Profile, inputs: MessageInputs, secrets: SecretScope): Buffer {
  const message = secrets.take(messageBytes(profile))
  let offset = 0
  for (const field of profile.fields) {
    const target = message.subarray(offset, offset + field.bytes)
    if (!putField(field, inputs, target, secrets)) throw new ServiceError('ERR_REQUEST_INVALID')
    offset += field.bytes
  }
  return message
}

/** Writes one field into `target`, its whole width; false if its value is missing or does not fit. */
function putField(field: ProfileField, inputs: MessageInputs, target: Buffer, secrets: SecretScope): boolean {
  switch (field.source) {
    case 'pan':
    case 'panSequenceNumber':
    case 'expiry':
    case 'changeCounter':
    case 'transactionId': {
      const text = inputs[field.source]
      if (text === undefined || !FORMS[field.source].test(text)) return false
      return putCharacters(field, Buffer.from(text, 'latin1'), target)
    }
    case 'pinLength': {
      const count = pinDigitsOf(inputs)
      if (count === undefined) return false
      const tens = Math.trunc(count / 10)
      // Two digits for every length, so that a message differs in its value and not in its form.
      return putCharacters(field, asciiDigits([tens, count - 10 * tens], secrets), target)
    }
    case 'pin': {
      const count = pinDigitsOf(inputs)
      if (count === undefined || inputs.pin === undefined) return false
      return putCharacters(field, asciiDigits(inputs.pin.subarray(0, count), secrets), target)
    }
    case 'randomNumber':
    case 'encipheredPinBlock':
    case 'prw':
      return putRaw(inputs[field.source], target)
    case 'constant':
      return putRaw(decodeHex(field.hex ?? ''), target)
  }
}

/** Writes ASCII characters as the field's encoding says. */
function putCharacters(field: ProfileField, characters: Uint8Array, target: Buffer): boolean {
  if (field.encoding === 'binary') return putBinary(characters, target)
  const { align, fill } = field
  if (align === undefined || fill === undefined) return false
  if (field.encoding === 'bcd') return putBcd(characters, target, align, Number.parseInt(fill, 16))
  if (field.encoding === 'ascii') return putAscii(characters, target, align, Number.parseInt(fill, 16))
  return false
}

/** How many digits the PIN has; undefined unless it is 4–12 and the PIN has as many. */
function pinDigitsOf({ pin, pinDigits }: MessageInputs): number | undefined {
  if (pin === undefined || pinDigits === undefined || !Number.isInteger(pinDigits)) return undefined
  return pinDigits >= 4 && pinDigits <= 12 && pinDigits <= pin.length ? pinDigits : undefined
}

/** Digits as ASCII characters in a slice of `secrets`; a value over 9 becomes a character that no encoding takes. */
function asciiDigits(digits: ArrayLike<number>, secrets: SecretScope): Buffer {
  const characters = secrets.take(digits.length)
  for (let i = 0; i < digits.length; i++) {
    const digit = digits[i]!
    characters[i] = digit <= 9 ? 0x30 + digit : 0
  }
  return characters
}
