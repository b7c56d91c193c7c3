/**
 * Known answers through each key's own permitted mechanism: run at start, by doctor, and as the measure of health,
 * because return values do not tell a sick token from a bad ciphertext (M-20).
 */
import {
  createCipheriv,
  createECDH,
  createPublicKey,
  constants,
  publicEncrypt,
  randomBytes,
  randomFillSync,
  verify,
} from 'node:crypto'
import { decodeHex, encodeHex, equalConstantTime } from '../bytes.ts'
import type { KeyEntry } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import { CEK_BYTES, IV_BYTES } from '../jwe/algorithms.ts'
import { deriveCek, padSharedSecret } from '../jwe/concat-kdf.ts'
import { sealContent } from '../jwe/content.ts'
import { P256_CURVE } from '../jwe/ephemeral-key.ts'
import { cmac, doubleBlock } from '../key-block/cmac.ts'
import { retailMac } from '../key-block/retail-mac.ts'
import { SecretScope } from '../secret.ts'
import type { CekSource, EncipheredContent, Hsm, PublicKey } from './hsm.ts'
import { isKeyPair, isSigningKey, isWrappingKey } from './key-pairs.ts'
import { macUsesOf, type MacForm } from './mac-keys.ts'

/**
 * The message of a MAC key's known answer: 32 bytes of ASCII, which no profile can produce as a PRW or MAC message
 * (its PAN would not be decimal digits) and no PIN block can begin with by more than chance.
 */
const CHECK_MESSAGE = Buffer.from('pinbridge key check, version 001', 'ascii')

/** Leftmost bytes of what a key that wraps makes of a published key. */
const WRAPPING_CHECK_BYTES = 16

/** Leftmost bytes of a block cipher's known answer: as many as a KCV has. */
function checkBytes(key: KeyEntry): number {
  return key.algorithm.startsWith('TDEA') ? 3 : 5
}

/**
 * Computes the known answer that stands in the catalogue as `check`.
 *
 * A zone key that enciphers: the leftmost bytes of E_K(0…0); one that only deciphers: of D_K(0…0); a key that makes
 * MACs: its MAC over a fixed message; a key that wraps: the leftmost bytes of a published key wrapped under it. A key pair has none: it is checked with its public half on the spot.
 *
 * @returns upper-case hex, or undefined where the key's use does not allow one to be computed (verify only).
 */
export async function computeCheck(hsm: Hsm, key: KeyEntry, form: MacForm | undefined): Promise<string | undefined> {
  using secrets = new SecretScope()
  if (isKeyPair(key)) return undefined
  if (isWrappingKey(key)) return encodeHex((await hsm.wrapKnownKey(key)).subarray(0, WRAPPING_CHECK_BYTES))
  if (form !== undefined) {
    if (!macUsesOf(key).includes('generate')) return undefined
    return (await hsm.generateMac(key, form.algorithm, CHECK_MESSAGE)).toString('hex').toUpperCase()
  }
  const zeros = secrets.take(key.algorithm.startsWith('TDEA') ? 8 : 16)
  const answer =
    key.direction === 'in' ? await hsm.decipherBlocks(key, zeros, secrets) : await hsm.encipherBlocks(key, zeros)
  return answer.subarray(0, checkBytes(key)).toString('hex').toUpperCase()
}

/**
 * Computes a symmetric key's KCV where its one use allows it: TDEA, E_K(0⁸); AES, CMAC(0¹⁶).
 *
 * @returns upper-case hex, or undefined for a key that only deciphers, only verifies, only wraps, or makes TDEA MACs: its KCV was
 * recorded when it was made, and its known answer speaks for it.
 */
export async function computeKcv(hsm: Hsm, key: KeyEntry, form: MacForm | undefined): Promise<string | undefined> {
  using secrets = new SecretScope()
  const enciphers = form === undefined && !isKeyPair(key) && !isWrappingKey(key) && key.direction !== 'in'
  if (key.algorithm.startsWith('TDEA')) return enciphers ? await computeCheck(hsm, key, form) : undefined
  const zeros = secrets.take(16)
  let mac: Buffer
  if (form?.algorithm === 'AES-CMAC' && macUsesOf(key).includes('generate')) {
    mac = await hsm.generateMac(key, form.algorithm, zeros)
  } else if (enciphers) {
    // CMAC of one zero block is E_K of the first subkey (NIST SP 800-38B 6.2), so that ECB is enough.
    const subkey = doubleBlock(secrets.adopt(await hsm.encipherBlocks(key, zeros)), 'AES', secrets)
    mac = await hsm.encipherBlocks(key, subkey)
  } else return undefined
  return mac.subarray(0, checkBytes(key)).toString('hex').toUpperCase()
}

/**
 * Computes the known answer of a MAC key from its clear value, for one that only verifies: the HSM makes none with it.
 *
 * @param value - the clear key; not wiped here.
 * @returns upper-case hex.
 */
export function checkOfValue({ algorithm }: MacForm, value: Buffer, secrets: SecretScope): string {
  if (algorithm === 'ISO-9797-1-ALG-3') return encodeHex(retailMac(value, CHECK_MESSAGE, secrets))
  return encodeHex(cmac(algorithm === 'TDEA-CMAC' ? 'TDEA' : 'AES', value, CHECK_MESSAGE, secrets))
}

/** Whether a key gives its known answer; false also when the HSM fails. */
export async function checkKey(
  hsm: Hsm,
  key: KeyEntry,
  form: MacForm | undefined,
  publicKey: PublicKey | undefined,
): Promise<boolean> {
  try {
    if (isKeyPair(key)) {
      if (publicKey === undefined) return false
      return isSigningKey(key) ? await signsRightly(hsm, key, publicKey) : await opensOwnJwe(hsm, key, publicKey)
    }
    const expected = decodeHex(key.check ?? '')
    if (expected === undefined || expected.length === 0) return false
    if (form !== undefined) return await verifiesKnownMac(hsm, key, form, expected)
    const answer = decodeHex((await computeCheck(hsm, key, form)) ?? '')
    return answer !== undefined && equalConstantTime(answer, expected)
  } catch {
    // Whatever it was, the key did not give its known answer.
    return false
  }
}

/** Whether its signature of a random message is verified by the public half. */
async function signsRightly(hsm: Hsm, key: KeyEntry, publicKey: PublicKey): Promise<boolean> {
  const message = randomBytes(32)
  return verifiesSignature(publicKey, message, await hsm.sign(key, message))
}

/** Verifies a signature as `Hsm.sign` gives it, by node:crypto and a public key. */
export function verifiesSignature(publicKey: PublicKey, message: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey({ key: { ...publicKey }, format: 'jwk' })
  // Ed25519 hashes the message itself.
  const hash = publicKey.kty === 'OKP' ? null : 'sha256'
  return verify(hash, message, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** A key that only verifies must also refuse a wrong MAC: one that says yes to anything would let every forgery through. */
async function verifiesKnownMac(hsm: Hsm, key: KeyEntry, form: MacForm, known: Buffer): Promise<boolean> {
  if (!(await hsm.verifyMac(key, form.algorithm, CHECK_MESSAGE, known))) return false
  if (macUsesOf(key).includes('generate')) return true
  const wrong = Buffer.from(known)
  wrong[0]! ^= 1
  return !(await hsm.verifyMac(key, form.algorithm, CHECK_MESSAGE, wrong))
}

/** What is wrong with a JWE that must not open. */
export type JweFault = 'tag' | 'wrapping' | 'short-cek' | 'long-cek'

/**
 * Seals a random payload to the key's own public half and opens it again.
 *
 * @param fault - spoils it first.
 * @returns whether the payload came back; false if it was refused as ERR_JWE_DECRYPTION_FAILED.
 * @throws ServiceError, whatever else the HSM throws.
 */
export async function opensOwnJwe(hsm: Hsm, key: KeyEntry, publicKey: PublicKey, fault?: JweFault): Promise<boolean> {
  using secrets = new SecretScope()
  const payload = randomFillSync(secrets.take(32))
  const cek = randomFillSync(secrets.take(CEK_BYTES))
  const { source, content } = sealToOwn(publicKey, payload, cek, secrets, fault)
  try {
    return equalConstantTime(await hsm.openContent(key, source, content, secrets), payload)
  } catch (error) {
    if (error instanceof ServiceError && error.code === 'ERR_JWE_DECRYPTION_FAILED') return false
    throw error
  }
}

function sealToOwn(
  publicKey: PublicKey,
  payload: Buffer,
  randomCek: Buffer,
  secrets: SecretScope,
  fault: JweFault | undefined,
): { source: CekSource; content: EncipheredContent } {
  let cek = randomCek
  let source: CekSource
  if (publicKey.kty === 'EC') {
    const ephemeral = createECDH(P256_CURVE)
    const agreement = { ephemeralKey: ephemeral.generateKeys(), apu: NONE, apv: NONE }
    const z = padSharedSecret(secrets.adopt(ephemeral.computeSecret(pointOf(publicKey))), secrets)
    cek = deriveCek(z, { algorithmId: 'A256GCM', apu: NONE, apv: NONE, keyBits: 8 * CEK_BYTES }, secrets)
    source = { alg: 'ECDH-ES', agreement }
  } else {
    const encryptedKey = wrapCek(publicKey, spoiltCek(cek, fault, secrets))
    // An EM of random bytes: below n, since its first byte is that of a number with a leading zero.
    if (fault === 'wrapping') randomFillSync(encryptedKey).fill(0, 0, 1)
    source = { alg: 'RSA-OAEP-256', encryptedKey }
  }
  const [iv, aad] = [randomBytes(IV_BYTES), 'pinbridge self-test']
  const { ciphertext, tag } =
    fault === 'short-cek' ? sealShort(cek, iv, payload, aad) : sealContent({ cek, iv, payload, aad })
  if (fault === 'tag') tag[0]! ^= 1
  return { source, content: { iv, ciphertext, tag, aad } }
}

/** Half a CEK, or one with a byte more. */
function spoiltCek(cek: Buffer, fault: JweFault | undefined, secrets: SecretScope): Buffer {
  if (fault === 'short-cek') return cek.subarray(0, CEK_BYTES / 2)
  if (fault !== 'long-cek') return cek
  const long = secrets.take(CEK_BYTES + 1)
  long.set(cek)
  return long
}

/** What A256GCM is not: the same under a CEK of half the length, which a token may take for its own enc. */
function sealShort(cek: Buffer, iv: Buffer, payload: Buffer, aad: string): { ciphertext: Buffer; tag: Buffer } {
  const cipher = createCipheriv('aes-128-gcm', cek.subarray(0, CEK_BYTES / 2), iv)
  cipher.setAAD(Buffer.from(aad, 'ascii'))
  const ciphertext = Buffer.concat([cipher.update(payload), cipher.final()])
  return { ciphertext, tag: cipher.getAuthTag() }
}

const NONE = Buffer.alloc(0)

/** Wraps a CEK to an RSA key by RSAES-OAEP with SHA-256. */
export function wrapCek(publicKey: PublicKey, cek: Buffer): Buffer {
  const key = createPublicKey({ key: { ...publicKey }, format: 'jwk' })
  return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, cek)
}

/** The uncompressed point of a P-256 public key, 65 bytes. */
export function pointOf(key: { readonly x: string; readonly y: string }): Buffer {
  return Buffer.concat([Buffer.of(0x04), Buffer.from(key.x, 'base64url'), Buffer.from(key.y, 'base64url')])
}
