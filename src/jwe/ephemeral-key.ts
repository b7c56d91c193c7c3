/** The ephemeral public key "epk" of ECDH-ES (RFC 7518 §4.6.1.1), as a JWK and as an uncompressed point. */
import { decodeBase64url } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import { P256_BYTES } from './algorithms.ts'

/** node's name of P-256. */
export const P256_CURVE = 'prime256v1'

/** A public EC key as a JWK (RFC 7518 §6.2.1). */
export interface EphemeralJwk {
  readonly kty: 'EC'
  readonly crv: 'P-256'
  readonly x: string
  readonly y: string
}

/**
 * Parses epk: kty EC, crv P-256, x and y of exactly 32 bytes each, no private member d, and a point of the curve.
 *
 * The curve equation is checked here, before any HSM sees the point: a token that skips it gives its private key away,
 * some bits a request, to points of weaker curves (the invalid-curve attack; RFC 7518 §4.6.1.1, RFC 8725 §3.4).
 *
 * @returns `04 | x | y`, 65 bytes.
 * @throws ERR_JWE_INVALID for anything else.
 */
export function parseEphemeralKey(epk: unknown): Buffer {
  if (!isEphemeralJwk(epk)) throw new ServiceError('ERR_JWE_INVALID')
  const x = decodeBase64url(epk.x)
  const y = decodeBase64url(epk.y)
  if (x?.length !== P256_BYTES || y?.length !== P256_BYTES) throw new ServiceError('ERR_JWE_INVALID')
  const point = Buffer.concat([Buffer.of(0x04), x, y])
  if (!isP256Point(point)) throw new ServiceError('ERR_JWE_INVALID')
  return point
}

/** Writes an uncompressed point of P-256, 65 bytes, as a public JWK (RFC 7518 §6.2.1). */
export function ephemeralJwk(point: Buffer): EphemeralJwk {
  const x = point.subarray(1, 1 + P256_BYTES).toString('base64url')
  const y = point.subarray(1 + P256_BYTES).toString('base64url')
  return { kty: 'EC', crv: 'P-256', x, y }
}

/** The prime of P-256 and the b of its equation, y² = x³ - 3x + b (SP 800-186 §3.2.1.3). */
const P = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn

/**
 * Whether `point` is `04 | x | y`, 65 bytes, with coordinates below the prime that satisfy the equation of P-256 (SEC 1 §2.3.4).
 * As the curve's cofactor is 1, it is then of the right order.
 *
 * All of it is public, so that the time may depend on it; OpenSSL would make a whole key of the point to look at it.
 */
export function isP256Point(point: Uint8Array): boolean {
  if (point.length !== 1 + 2 * P256_BYTES || point[0] !== 0x04) return false
  const hex = Buffer.from(point).toString('hex', 1)
  const x = BigInt(`0x${hex.slice(0, 2 * P256_BYTES)}`)
  const y = BigInt(`0x${hex.slice(2 * P256_BYTES)}`)
  return x < P && y < P && (y * y - (x * x - 3n) * x - B) % P === 0n
}

function isEphemeralJwk(value: unknown): value is EphemeralJwk {
  if (typeof value !== 'object' || value === null || Object.hasOwn(value, 'd')) return false
  const { kty, crv, x, y } = value as { readonly [name in keyof EphemeralJwk]?: unknown }
  return kty === 'EC' && crv === 'P-256' && typeof x === 'string' && typeof y === 'string'
}
