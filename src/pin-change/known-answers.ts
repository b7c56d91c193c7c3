/** Runs the message part of a profile's known answers; the vault compares the output part through the token. */
import { decodeHex, equalConstantTime } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import { SecretScope } from '../secret.ts'
import { encodeMessage, type MessageInputs } from './message.ts'
import type { KnownAnswerInputs, Profile } from './profile.ts'

/**
 * Returns the inputs of a known answer as `encodeMessage` takes them.
 *
 * @param inputs - texts of the configuration: the PIN in them is an invented one and no secret.
 * @param secrets - takes the PIN's digits all the same, so that one path serves both.
 */
export function messageInputsOf(inputs: KnownAnswerInputs, secrets: SecretScope): MessageInputs {
  const { pin, randomNumber, encipheredPinBlock, prw, ...texts } = inputs
  const digits = secrets.take(pin?.length ?? 0)
  for (let i = 0; i < digits.length; i++) digits[i] = pin!.charCodeAt(i) - 0x30
  return {
    ...texts,
    ...(pin === undefined ? {} : { pin: digits, pinDigits: digits.length }),
    randomNumber: randomNumber === undefined ? undefined : decodeHex(randomNumber),
    encipheredPinBlock: encipheredPinBlock === undefined ? undefined : decodeHex(encipheredPinBlock),
    prw: prw === undefined ? undefined : decodeHex(prw),
  }
}

/**
 * Whether a profile encodes every one of its known answers to its message; false also if it has none.
 *
 * Run at every start: a profile that fails is not used.
 */
export function checkProfileMessages(profile: Profile): boolean {
  if (profile.knownAnswers.length === 0) return false
  return profile.knownAnswers.every(({ inputs, messageHex }) => {
    using secrets = new SecretScope()
    const expected = decodeHex(messageHex)
    const message = tryEncode(profile, messageInputsOf(inputs, secrets), secrets)
    return expected !== undefined && message !== undefined && equalConstantTime(message, expected)
  })
}

function tryEncode(profile: Profile, inputs: MessageInputs, secrets: SecretScope): Buffer | undefined {
  try {
    return encodeMessage(profile, inputs, secrets)
  } catch (error) {
    // A refusal is the answer "no"; anything else is a fault of ours and must be seen.
    if (error instanceof ServiceError) return undefined
    throw error
  }
}
