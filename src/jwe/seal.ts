/** Sealing a payload to a recipient's public key as a compact JWE (RFC 7516 §5.1); the header carries what is needed and no more. */
import { constants, createECDH, publicEncrypt, randomBytes, randomFillSync, type KeyObject } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import { CEK_BYTES, IV_BYTES, type JweEnc } from './algorithms.ts'
import { serializeCompact } from './compact.ts'
import { deriveCek, padSharedSecret } from './concat-kdf.ts'
import { sealContent } from './content.ts'
import { ephemeralJwk, isP256Point, P256_CURVE } from './ephemeral-key.ts'

const ENC: JweEnc = 'A256GCM'
const NONE = Buffer.alloc(0)

/** A recipient of ECDH-ES. */
export interface EcdhEsRecipient {
  readonly kid: string
  /** The recipient's public key: `04 | x | y`, 65 bytes, a point of P-256. */
  readonly publicKey: Uint8Array
}

/** A recipient of RSA-OAEP-256. */
export interface RsaOaep256Recipient {
  readonly kid: string
  /** The recipient's public RSA key. */
  readonly publicKey: KeyObject
}

/**
 * Seals a payload with ECDH-ES on P-256 and A256GCM; the header is exactly alg, enc, kid and epk.
 *
 * The ephemeral private key never leaves OpenSSL, which clears it when the ECDH object is collected.
 *
 * @param message.payload - the clear payload; the caller's, not wiped here.
 * @param secrets - holds and wipes Z and the CEK.
 * @returns the JWE in Compact Serialization.
 * @throws ERR_INTERNAL if the recipient's key is no point of P-256.
 * @see RFC 7516 §5.1, RFC 7518 §4.6
 */
export function sealEcdhEs(message: { recipient: EcdhEsRecipient; payload: Uint8Array }, secrets: SecretScope): string {
  const { kid, publicKey } = message.recipient
  if (!isP256Point(publicKey)) throw new ServiceError('ERR_INTERNAL')
  const ephemeral = createECDH(P256_CURVE)
  const epk = ephemeralJwk(ephemeral.generateKeys())
  // node returns all 32 bytes, leading zeros included; the padding states what the derivation relies on.
  const z = padSharedSecret(secrets.adopt(ephemeral.computeSecret(publicKey)), secrets)
  const cek = deriveCek(z, { algorithmId: ENC, apu: NONE, apv: NONE, keyBits: 8 * CEK_BYTES }, secrets)
  return seal({ alg: 'ECDH-ES', enc: ENC, kid, epk }, NONE, cek, message.payload)
}

/**
 * Seals a payload with RSA-OAEP-256 and A256GCM; the header is exactly alg, enc and kid.
 *
 * @param message.payload - the clear payload; the caller's, not wiped here.
 * @param secrets - holds and wipes the random CEK.
 * @returns the JWE in Compact Serialization.
 * @throws ERR_INTERNAL if the recipient's key is no RSA key that can hold a CEK.
 * @see RFC 7516 §5.1, RFC 7518 §4.3
 */
export function sealRsaOaep256(
  message: { recipient: RsaOaep256Recipient; payload: Uint8Array },
  secrets: SecretScope,
): string {
  const { kid, publicKey } = message.recipient
  const cek = randomFillSync(secrets.take(CEK_BYTES))
  return seal({ alg: 'RSA-OAEP-256', enc: ENC, kid }, encryptCek(publicKey, cek), cek, message.payload)
}

function encryptCek(key: KeyObject, cek: Uint8Array): Buffer {
  try {
    // oaepHash sets the hash of MGF1 as well, as RFC 7518 §4.3 wants it.
    return publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, cek)
  } catch {
    throw new ServiceError('ERR_INTERNAL')
  }
}

function seal(header: object, encryptedKey: Buffer, cek: Uint8Array, payload: Uint8Array): string {
  const protectedHeader = Buffer.from(JSON.stringify(header)).toString('base64url')
  // A random iv is safe because every CEK seals one message only.
  const iv = randomBytes(IV_BYTES)
  return serializeCompact({
    protectedHeader,
    encryptedKey,
    iv,
    ...sealContent({ cek, iv, payload, aad: protectedHeader }),
  })
}
