/**
 * Key check values: what names a key's value without giving it away, recorded when the key is made.
 *
 * TDEA: the first 3 bytes of E_K(0⁸). AES: the first 5 bytes of CMAC(0¹⁶). Public keys: the first 5 bytes of the
 * thumbprint. No key is held here.
 *
 * @see ANSI X9.24-1:2017 Annex A (TDEA and AES)
 */
import { createHash } from 'node:crypto'
import { decodeBase64url, encodeHex } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import { cmac } from './cmac.ts'
import { openEcb, type BlockAlgorithm } from './ecb.ts'

const ZERO_ENCIPHERMENT_KCV_BYTES = 3
const AES_KCV_BYTES = 5
const PUBLIC_KCV_BYTES = 5

// RFC 7638 3.2: the required members of each key type, in lexicographic order.
const THUMBPRINT_MEMBERS: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['EC', ['crv', 'kty', 'x', 'y']],
  // RFC 8037 2.
  ['OKP', ['crv', 'kty', 'x']],
  ['RSA', ['e', 'kty', 'n']],
])

/**
 * Computes the KCV of a clear symmetric key.
 *
 * @param key - TDEA: 16 or 24 bytes; AES: 16, 24 or 32; not wiped here.
 * @param secrets - takes the full check block, of which only the leftmost bytes may be shown.
 * @returns upper-case hex, 6 digits for TDEA and 10 for AES; not secret.
 * @throws ERR_INTERNAL if the key has another length.
 */
export function symmetricKcv(algorithm: BlockAlgorithm, key: Uint8Array, secrets: SecretScope): string {
  if (algorithm === 'AES') return encodeHex(cmac('AES', key, secrets.take(16), secrets).subarray(0, AES_KCV_BYTES))
  return zeroEnciphermentKcv('TDEA', key, secrets)
}

/**
 * Computes the KCV that is the first 3 bytes of an enciphered block of zeros: that of TDEA, and of AES on older sheets, which do
 * not use CMAC yet.
 *
 * Parameters, result and errors as for `symmetricKcv`; 6 digits.
 */
export function zeroEnciphermentKcv(algorithm: BlockAlgorithm, key: Uint8Array, secrets: SecretScope): string {
  const { blockBytes, encipher } = openEcb(algorithm, key, secrets)
  return encodeHex(encipher(secrets.take(blockBytes)).subarray(0, ZERO_ENCIPHERMENT_KCV_BYTES))
}

/**
 * Computes the RFC 7638 thumbprint of a JWK with SHA-256, over its public members only.
 *
 * @param jwk - an EC, OKP or RSA key; private members are not looked at.
 * @returns 43 characters of base64url, the default `kid` of a JWE key.
 * @throws ERR_INTERNAL if the key type is another one, or a required member is missing or empty.
 * @see RFC 7638, 3.1 to 3.3
 */
export function jwkThumbprint(jwk: Readonly<Record<string, unknown>>): string {
  const names = THUMBPRINT_MEMBERS.get(jwk['kty'])
  if (names === undefined) throw new ServiceError('ERR_INTERNAL')
  const members = names.map((name) => {
    const value = jwk[name]
    if (typeof value !== 'string' || value === '') throw new ServiceError('ERR_INTERNAL')
    return [name, value] as const
  })
  return createHash('sha256')
    .update(JSON.stringify(Object.fromEntries(members)))
    .digest('base64url')
}

/**
 * Computes the KCV of a public key: the first 5 bytes of its thumbprint.
 *
 * @returns upper-case hex, 10 digits.
 * @throws ERR_INTERNAL as `jwkThumbprint` does.
 */
export function publicKeyKcv(jwk: Readonly<Record<string, unknown>>): string {
  return encodeHex(decodeBase64url(jwkThumbprint(jwk))!.subarray(0, PUBLIC_KCV_BYTES))
}
