/** The ephemeral public key "epk" of ECDH-ES (RFC 7518 §4.6.1.1), as a JWK and as an uncompressed point. */
import { ECDH } from 'node:crypto'
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

/** Whether `point` is `04 | x | y`, 65 bytes, with coordinates below the prime that satisfy the equation of P-256 (SEC 1 §2.3.4). */
export function isP256Point(point: Uint8Array): boolean {
  if (point.length !== 1 + 2 * P256_BYTES || point[0] !== 0x04) return false
  try {
    // OpenSSL's EC_POINT_oct2point refuses a coordinate of p or more and a point off the curve.
    ECDH.convertKey(point, P256_CURVE, undefined, undefined, 'uncompressed')
    return true
  } catch {
    // The only input left to refuse is the point.
    return false
  }
}

function isEphemeralJwk(value: unknown): value is EphemeralJwk {
  if (typeof value !== 'object' || value === null || Object.hasOwn(value, 'd')) return false
  const { kty, crv, x, y } = value as { readonly [name in keyof EphemeralJwk]?: unknown }
  return kty === 'EC' && crv === 'P-256' && typeof x === 'string' && typeof y === 'string'
}
