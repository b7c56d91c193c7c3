/**
 * Known answers through each key's own permitted mechanism: run at start, by doctor, and as the measure of health,
 * because return values do not tell a sick token from a bad ciphertext.
 */
import { createECDH, createPublicKey, constants, publicEncrypt, randomBytes } from 'node:crypto'
import { decodeHex, equalConstantTime } from '../bytes.ts'
import type { KeyEntry } from '../config/schema.ts'
import { doubleBlock } from '../key-block/cmac.ts'
import type { Profile } from '../pin-change/profile.ts'
import { SecretScope } from '../secret.ts'
import type { Hsm, PublicKey } from './hsm.ts'

/**
 * The message of a MAC key's known answer: 32 bytes of ASCII, which no profile can produce as a PRW or MAC message
 * (its PAN would not be decimal digits) and no PIN block can begin with by more than chance.
 */
const CHECK_MESSAGE = Buffer.from('pinbridge key check, version 001', 'ascii')

/** Leftmost bytes of a block cipher's known answer: as many as a KCV has. */
function checkBytes(key: KeyEntry): number {
  return key.algorithm.startsWith('TDEA') ? 3 : 5
}

/**
 * Computes the known answer that stands in the catalogue as `check`.
 *
 * A zone key that enciphers: the leftmost bytes of E_K(0…0); one that only deciphers: of D_K(0…0); a PRW or MAC key: its
 * MAC over a fixed message. A JWE key has none: it is checked against a key pair made on the spot.
 *
 * @returns upper-case hex, or undefined where the key's use does not allow one to be computed (verify only).
 */
export async function computeCheck(hsm: Hsm, key: KeyEntry, profile: Profile | undefined): Promise<string | undefined> {
  using secrets = new SecretScope()
  if (key.purpose === 'jwe-decrypt') return undefined
  if (profile !== undefined) {
    if (!key.use?.includes('generate')) return undefined
    return (await hsm.generateMac(key, profile.algorithm, CHECK_MESSAGE)).toString('hex').toUpperCase()
  }
  const zeros = secrets.take(key.algorithm.startsWith('TDEA') ? 8 : 16)
  const answer =
    key.direction === 'in' ? await hsm.decipherBlocks(key, zeros, secrets) : await hsm.encipherBlocks(key, zeros)
  return answer.subarray(0, checkBytes(key)).toString('hex').toUpperCase()
}

/**
 * Computes a symmetric key's KCV where its one use allows it: TDEA, E_K(0⁸); AES, CMAC(0¹⁶).
 *
 * @returns upper-case hex, or undefined for a key that only deciphers, only verifies, or makes TDEA MACs: its KCV was
 * recorded when it was made, and its known answer speaks for it.
 */
export async function computeKcv(hsm: Hsm, key: KeyEntry, profile: Profile | undefined): Promise<string | undefined> {
  using secrets = new SecretScope()
  const enciphers = profile === undefined && key.purpose !== 'jwe-decrypt' && key.direction !== 'in'
  if (key.algorithm.startsWith('TDEA')) return enciphers ? await computeCheck(hsm, key, profile) : undefined
  const zeros = secrets.take(16)
  let mac: Buffer
  if (profile?.algorithm === 'AES-CMAC' && key.use?.includes('generate')) {
    mac = await hsm.generateMac(key, profile.algorithm, zeros)
  } else if (enciphers) {
    // CMAC of one zero block is E_K of the first subkey (NIST SP 800-38B 6.2), so that ECB is enough.
    const subkey = doubleBlock(secrets.adopt(await hsm.encipherBlocks(key, zeros)), 'AES', secrets)
    mac = await hsm.encipherBlocks(key, subkey)
  } else return undefined
  return mac.subarray(0, checkBytes(key)).toString('hex').toUpperCase()
}

/** Whether a key gives its known answer; false also when the HSM fails. */
export async function checkKey(
  hsm: Hsm,
  key: KeyEntry,
  profile: Profile | undefined,
  publicKey: PublicKey | undefined,
): Promise<boolean> {
  try {
    if (key.purpose === 'jwe-decrypt') return await checkJweKey(hsm, key, publicKey)
    const expected = decodeHex(key.check ?? '')
    if (expected === undefined || expected.length === 0) return false
    if (profile !== undefined) return await hsm.verifyMac(key, profile.algorithm, CHECK_MESSAGE, expected)
    const answer = decodeHex((await computeCheck(hsm, key, profile)) ?? '')
    return answer !== undefined && equalConstantTime(answer, expected)
  } catch {
    // Whatever it was, the key did not give its known answer.
    return false
  }
}

async function checkJweKey(hsm: Hsm, key: KeyEntry, publicKey: PublicKey | undefined): Promise<boolean> {
  if (publicKey === undefined) return false
  using secrets = new SecretScope()
  if (publicKey.kty === 'EC') {
    const ephemeral = createECDH('prime256v1')
    const ephemeralPoint = ephemeral.generateKeys()
    const expected = secrets.adopt(ephemeral.computeSecret(pointOf(publicKey)))
    const z = await hsm.deriveSharedSecret(key, ephemeralPoint, secrets)
    return equalConstantTime(z.subarray(z.length - expected.length), expected)
  }
  const cek = secrets.adopt(randomBytes(32))
  const wrapped = publicEncrypt(
    {
      key: createPublicKey({ key: { ...publicKey }, format: 'jwk' }),
      padding: constants.RSA_PKCS1_OAEP_PADDING,
      oaepHash: 'sha256',
    },
    cek,
  )
  return equalConstantTime(await hsm.unwrapCek(key, wrapped, cek.length, secrets), cek)
}

/** The uncompressed point of a P-256 public key, 65 bytes. */
export function pointOf(key: { readonly x: string; readonly y: string }): Buffer {
  return Buffer.concat([Buffer.of(0x04), Buffer.from(key.x, 'base64url'), Buffer.from(key.y, 'base64url')])
}
