/** Content encryption with A256GCM (RFC 7518 §5.3), by node:crypto on slices, because a library's copies cannot be wiped. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import { TAG_BYTES } from './algorithms.ts'

const CIPHER = 'aes-256-gcm'

/** What A256GCM decrypts: the parts of a compact JWE and the key from its key management step. */
export interface SealedContent {
  /** 32 bytes; the caller's, not wiped here. */
  readonly cek: Uint8Array
  /** 12 bytes. */
  readonly iv: Uint8Array
  readonly ciphertext: Uint8Array
  /** 16 bytes. */
  readonly tag: Uint8Array
  /** The protected header, base64url as received: its ASCII bytes are authenticated. */
  readonly aad: string
}

/** What A256GCM encrypts. */
export interface ClearContent {
  /** 32 bytes, for this one message; the caller's, not wiped here. */
  readonly cek: Uint8Array
  /** 12 bytes. */
  readonly iv: Uint8Array
  /** The clear payload; the caller's, not wiped here. */
  readonly payload: Uint8Array
  /** The protected header, base64url. */
  readonly aad: string
}

/**
 * Decrypts and authenticates a JWE's content.
 *
 * A wrong key, a random substitute for a CEK that did not unwrap, a changed header and a changed ciphertext all end in
 * the same tag mismatch (RFC 7516 §11.5), and every other failure takes the same way out.
 *
 * @returns the clear payload in `secrets`, which wipes it; unauthenticated bytes never leave this function.
 * @throws ERR_JWE_DECRYPTION_FAILED, the one code for every failure.
 * @see RFC 7516 §5.2 steps 15 and 16
 */
export function openContent(sealed: SealedContent, secrets: SecretScope): Buffer {
  try {
    const decipher = createDecipheriv(CIPHER, sealed.cek, sealed.iv, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(sealed.aad, 'ascii'))
    decipher.setAuthTag(sealed.tag)
    const payload = secrets.adopt(decipher.update(sealed.ciphertext))
    decipher.final()
    return payload
  } catch {
    throw new ServiceError('ERR_JWE_DECRYPTION_FAILED')
  }
}

/**
 * Encrypts and authenticates a JWE's content.
 *
 * @returns the ciphertext, as long as the payload, and the tag of 16 bytes; both are public.
 * @throws ERR_INTERNAL if the key or the iv has another length.
 * @see RFC 7516 §5.1 steps 14 and 15
 */
export function sealContent(clear: ClearContent): { ciphertext: Buffer; tag: Buffer } {
  try {
    const cipher = createCipheriv(CIPHER, clear.cek, clear.iv, { authTagLength: TAG_BYTES })
    cipher.setAAD(Buffer.from(clear.aad, 'ascii'))
    const ciphertext = Buffer.concat([cipher.update(clear.payload), cipher.final()])
    return { ciphertext, tag: cipher.getAuthTag() }
  } catch {
    throw new ServiceError('ERR_INTERNAL')
  }
}
