/** The JWE Compact Serialization (RFC 7516 §7.1): five base64url parts with four dots between them. */
import { decodeBase64url } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import { IV_BYTES, TAG_BYTES } from './algorithms.ts'

/** The longest JWE that D1 sends, in characters. */
export const MAX_JWE_CHARACTERS = 8192

/** The parts of a compact JWE, decoded; everything here is public. */
export interface CompactJwe {
  /** The first part as received: its ASCII bytes are the additional authenticated data (RFC 7516 §5.2 step 15). */
  readonly protectedHeader: string
  /** The JWE Protected Header, UTF-8 JSON. */
  readonly header: Buffer
  /** The JWE Encrypted Key; empty with ECDH-ES. */
  readonly encryptedKey: Buffer
  /** The JWE Initialization Vector; 12 bytes once `checkContentForm` has passed. */
  readonly iv: Buffer
  /** The JWE Ciphertext, at least 1 byte. */
  readonly ciphertext: Buffer
  /** The JWE Authentication Tag; 16 bytes once `checkContentForm` has passed. */
  readonly tag: Buffer
}

/**
 * Parses a JWE in Compact Serialization: `header.encryptedKey.iv.ciphertext.tag`.
 *
 * Each part must be the one canonical base64url of its bytes, and none but the encrypted key may be empty: RFC 7516
 * allows an empty ciphertext, but no payload of ours is empty.
 *
 * @throws ERR_JWE_INVALID if the text is longer than 8192 characters or is anything else.
 * @see RFC 7516 §5.2 steps 1 and 2, §7.1
 */
export function parseCompact(text: string): CompactJwe {
  if (text.length > MAX_JWE_CHARACTERS) throw new ServiceError('ERR_JWE_INVALID')
  const parts = text.split('.', 6)
  const [protectedHeader] = parts
  const [header, encryptedKey, iv, ciphertext, tag] = parts.map(decodeBase64url)
  if (parts.length !== 5 || !protectedHeader || !header || !encryptedKey) throw new ServiceError('ERR_JWE_INVALID')
  if (!iv?.length || !ciphertext?.length || !tag?.length) throw new ServiceError('ERR_JWE_INVALID')
  return { protectedHeader, header, encryptedKey, iv, ciphertext, tag }
}

/**
 * Requires the lengths of A256GCM: an iv of 12 bytes and a tag of 16, so that a short tag is refused before any key is
 * touched. Call it after `checkAlgorithms`: another enc has other lengths, and its sender is told that enc is at fault.
 *
 * @throws ERR_JWE_INVALID otherwise.
 * @see RFC 7518 §5.3
 */
export function checkContentForm(jwe: Pick<CompactJwe, 'iv' | 'tag'>): void {
  if (jwe.iv.length !== IV_BYTES || jwe.tag.length !== TAG_BYTES) throw new ServiceError('ERR_JWE_INVALID')
}

/** Serializes the parts of a JWE as `header.encryptedKey.iv.ciphertext.tag`; the header is already base64url (RFC 7516 §7.1). */
export function serializeCompact(jwe: Omit<CompactJwe, 'header'>): string {
  const parts = [jwe.encryptedKey, jwe.iv, jwe.ciphertext, jwe.tag]
  return [jwe.protectedHeader, ...parts.map((part) => part.toString('base64url'))].join('.')
}
