/** The key derivation of ECDH-ES: the Concat KDF of NIST SP 800-56A with SHA-256 (RFC 7518 §4.6.2). */
import { hash } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import { P256_BYTES } from './algorithms.ts'

const HASH_BITS = 256

/** The OtherInfo of a derivation (RFC 7518 §4.6.2), everything but Z. */
export interface KdfInfo {
  /** With ECDH-ES direct, the value of enc, such as A256GCM. */
  readonly algorithmId: string
  /** PartyUInfo: the decoded apu, or empty. */
  readonly apu: Uint8Array
  /** PartyVInfo: the decoded apv, or empty. */
  readonly apv: Uint8Array
  /** keydatalen: bits of the derived key; a multiple of 8, at most 256, so that one round of SHA-256 is enough. */
  readonly keyBits: number
}

/**
 * Derives a content encryption key from the ECDH shared secret Z, in one round of the Concat KDF.
 *
 * Hashed, lengths and counter as 32-bit big-endian: `00000001 | Z (32) | length | AlgorithmID | length | PartyUInfo |
 * length | PartyVInfo | keydatalen in bits`. SuppPrivInfo is empty.
 *
 * @param z - exactly 32 bytes, the x coordinate with its leading zeros; the caller's, not wiped here.
 * @returns `keyBits / 8` bytes in `secrets`, which wipes them and all that was hashed.
 * @throws ERR_INTERNAL if z or keyBits is out of range.
 * @see RFC 7518 §4.6.2 and Appendix C
 */
export function deriveCek(z: Uint8Array, info: KdfInfo, secrets: SecretScope): Buffer {
  const { keyBits } = info
  if (z.length !== P256_BYTES || keyBits <= 0 || keyBits > HASH_BITS || keyBits % 8 !== 0) {
    throw new ServiceError('ERR_INTERNAL')
  }
  const parts = [uint32(1), z, otherInfo(info)]
  const input = secrets.take(parts.reduce((bytes, part) => bytes + part.length, 0))
  let offset = 0
  for (const part of parts) {
    input.set(part, offset)
    offset += part.length
  }
  // One call over one slice: a Hash object would keep its own copy of the digest until it is collected.
  return secrets.adopt(hash('sha256', input, 'buffer')).subarray(0, keyBits / 8)
}

/**
 * The OtherInfo that is hashed behind Z: `length | AlgorithmID | length | PartyUInfo | length | PartyVInfo | keydatalen in bits`,
 * lengths as 32-bit big-endian; public.
 *
 * @see RFC 7518 §4.6.2
 */
export function otherInfo({ algorithmId, apu, apv, keyBits }: KdfInfo): Buffer {
  const algorithm = Buffer.from(algorithmId, 'ascii')
  return Buffer.concat([...prefixed(algorithm), ...prefixed(apu), ...prefixed(apv), uint32(keyBits)])
}

/**
 * Left-pads an ECDH shared secret to the 32 bytes of the field, for parties that drop its leading zeros.
 *
 * @param z - at most 32 bytes, big-endian; the caller's, not wiped here.
 * @returns 32 bytes in `secrets`.
 * @throws ERR_INTERNAL if z is empty or longer.
 * @see SEC 1 §2.3.5
 */
export function padSharedSecret(z: Uint8Array, secrets: SecretScope): Buffer {
  if (z.length === 0 || z.length > P256_BYTES) throw new ServiceError('ERR_INTERNAL')
  const padded = secrets.take(P256_BYTES)
  padded.set(z, P256_BYTES - z.length)
  return padded
}

function prefixed(data: Uint8Array): [Uint8Array, Uint8Array] {
  return [uint32(data.length), data]
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
