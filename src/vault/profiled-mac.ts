/** A PRW or a MAC by a key's one profile: the message by the profile engine, the MAC by the HSM, the leftmost bytes as output. */
import { decodeHex, encodeHex } from '../bytes.ts'
import type { Card, Change, IssuedMac, IssuedPrw } from '../bridge/contract.ts'
import { ServiceError } from '../errors.ts'
import type { Hsm } from '../hsm/hsm.ts'
import { keyRef, type ProfiledKey } from '../hsm/key-catalogue.ts'
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
 * The bytes of a PRW or MAC that a request wants verified, looked at before anything is deciphered.
 *
 * @throws ERR_REQUEST_INVALID if its length is not the profile's, so that a shortened MAC is not an easier one.
 */
export function expectedValue({ profile }: ProfiledKey, hex: string): Buffer {
  const expected = decodeHex(hex)
  if (expected?.length !== profile.outputBytes) throw new ServiceError('ERR_REQUEST_INVALID')
  return expected
}

/**
 * Verifies a PRW or a MAC over the message of `inputs`.
 *
 * @param expected - the value to verify; one of another length than the profile's output never gets to the comparison.
 * @throws ERR_REQUEST_INVALID if its length differs, so that a shortened MAC is not an easier one.
 */
export async function verifies(
  hsm: Hsm,
  { key, profile }: ProfiledKey,
  inputs: MessageInputs,
  expected: Buffer,
): Promise<boolean> {
  if (expected.length !== profile.outputBytes) throw new ServiceError('ERR_REQUEST_INVALID')
  using secrets = new SecretScope()
  return await hsm.verifyMac(key, profile.algorithm, encodeMessage(profile, inputs, secrets), expected)
}

/** The bytes of a member whose hex form the contract has checked; undefined stays undefined. */
export function hexBytes(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : decodeHex(text)
}
