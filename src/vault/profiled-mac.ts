/** A PRW or a MAC by a key's one profile: the message by the profile engine, the MAC by the HSM, the leftmost bytes as output. */
import { decodeHex, encodeHex } from '../bytes.ts'
import type { Card, Change, IssuedMac, IssuedPrw, KeyRef } from '../bridge/contract.ts'
import { ServiceError } from '../errors.ts'
import type { Hsm } from '../hsm/hsm.ts'
import { keyRef, type KeyCatalogue, type ProfiledKey } from '../hsm/key-catalogue.ts'
import { encodeMessage, type MessageInputs } from '../pin-change/message.ts'
import { randomBytesOf, requiredInputs } from '../pin-change/profile.ts'
import type { ClearPin } from '../pin/pin.ts'
import { SecretScope } from '../secret.ts'

/** What a request says of the card and the change, as message inputs. */
export function requestInputs(card: Card | undefined, change: Change | undefined): MessageInputs {
  return {
    pan: card?.pan,
    panSequenceNumber: card?.panSequenceNumber,
    expiry: card?.expiry,
    changeCounter: change?.counter,
    transactionId: change?.transactionId,
  }
}

/** Generates the PRW of a PIN; a random number that the profile takes in is drawn from the HSM and returned. */
export async function issuePrw(
  hsm: Hsm,
  { key, profile }: ProfiledKey,
  clearPin: ClearPin,
  inputs: MessageInputs,
): Promise<IssuedPrw> {
  using secrets = new SecretScope()
  const randomNumber = Buffer.alloc(randomBytesOf(profile))
  if (randomNumber.length > 0) await hsm.fillRandom(randomNumber)
  const message = encodeMessage(profile, { ...inputs, ...clearPin, randomNumber }, secrets)
  const bytes = (await hsm.generateMac(key, profile.algorithm, message)).subarray(0, profile.outputBytes)
  return {
    value: encodeHex(bytes),
    profile: profile.id,
    key: keyRef(key),
    ...(randomNumber.length > 0 && { randomNumber: encodeHex(randomNumber) }),
    ...(requiredInputs(profile).has('changeCounter') &&
      inputs.changeCounter !== undefined && { counter: inputs.changeCounter }),
  }
}

/** Generates the MAC of an enciphered PIN block. */
export async function issueMac(hsm: Hsm, { key, profile }: ProfiledKey, inputs: MessageInputs): Promise<IssuedMac> {
  using secrets = new SecretScope()
  const message = encodeMessage(profile, inputs, secrets)
  const mac = await hsm.generateMac(key, profile.algorithm, message)
  return { value: encodeHex(mac.subarray(0, profile.outputBytes)), profile: profile.id, key: keyRef(key) }
}

/**
 * The versions of a key that can have made a PRW or MAC of this length, and its bytes; looked at before anything is deciphered.
 *
 * @throws ERR_REQUEST_INVALID if it is as long as the output of no version's profile, so that a shortened MAC is not an easier one.
 */
export function keysThatFit(
  keys: readonly ProfiledKey[],
  hex: string,
): { readonly keys: readonly ProfiledKey[]; readonly expected: Buffer } {
  const expected = decodeHex(hex)
  const fitting = keys.filter(({ profile }) => profile.outputBytes === expected?.length)
  if (expected === undefined || fitting.length === 0) throw new ServiceError('ERR_REQUEST_INVALID')
  return { keys: fitting, expected }
}

/**
 * Verifies a PRW or a MAC over the message of `inputs` under each of these keys, until one of them made it. Whatever was made by
 * none of them has been tried under all, so that a "no" takes one time.
 *
 * @param expected - the value to verify; one of another length than a profile's output never gets to its comparison.
 * @returns the key that made it; undefined if none did.
 * @throws ERR_REQUEST_INVALID if no key's profile can lay out a message of these inputs.
 */
export async function verifyingKey(
  hsm: Hsm,
  keys: readonly ProfiledKey[],
  inputs: MessageInputs,
  expected: Buffer,
): Promise<ProfiledKey | undefined> {
  let isLaidOut = false
  for (const profiled of keys) {
    const verified = await verifies(hsm, profiled, inputs, expected)
    if (verified) return profiled
    isLaidOut ||= verified !== undefined
  }
  if (!isLaidOut) throw new ServiceError('ERR_REQUEST_INVALID')
  return undefined
}

/** Undefined if the profile asks for inputs that are not there, or have another form: another version may have another profile. */
async function verifies(
  hsm: Hsm,
  { key, profile }: ProfiledKey,
  inputs: MessageInputs,
  expected: Buffer,
): Promise<boolean | undefined> {
  if (expected.length !== profile.outputBytes) return undefined
  using secrets = new SecretScope()
  let message: Buffer
  try {
    message = encodeMessage(profile, inputs, secrets)
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'ERR_REQUEST_INVALID') return undefined
    throw error
  }
  return await hsm.verifyMac(key, profile.algorithm, message, expected)
}

/** How answers name these keys. */
export function refsOf(catalogue: KeyCatalogue, keys: readonly ProfiledKey[]): KeyRef[] {
  return keys.map(({ key }) => catalogue.refOf(key))
}

/** The bytes of a member whose hex form the contract has checked; undefined stays undefined. */
export function hexBytes(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : decodeHex(text)
}
