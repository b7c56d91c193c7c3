/**
 * The rules for a JWE Protected Header (RFC 7516 §4), in the order in which a vault applies them: `parseHeader`, then the
 * vault finds the key by kid, then `checkAlgorithms` with that key's binding, then `checkContentForm` of compact.ts, then
 * `checkKeyAgreement` or `checkKeyTransport`, and only then does an HSM see anything of the JWE.
 */
import { decodeBase64url } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import { readJson } from '../json-bytes.ts'
import type { JweAlgorithms } from './algorithms.ts'
import type { CompactJwe } from './compact.ts'
import { parseEphemeralKey } from './ephemeral-key.ts'

/**
 * Members that are refused rather than ignored.
 *
 * zip: compression before encryption leaks, and inflating is work for a stranger. crit: we implement no extension
 * (RFC 7516 §4.1.13 says reject). The others name or carry a key. RFC 7516 lets a recipient ignore them; we refuse,
 * because a sender who adds one expects another key than the one our kid names, and because what is refused here can
 * never be followed by a later change.
 */
const REFUSED_MEMBERS = ['zip', 'crit', 'jku', 'jwk', 'x5u', 'x5c', 'x5t', 'x5t#S256']

/** What the protected header says, before it is known whether the key named by kid agrees. */
export interface JweHeader {
  readonly alg: string
  readonly enc: string
  readonly kid: string
  /** Read by `checkKeyAgreement` only, so not yet validated. */
  readonly epk: unknown
  /** Read by `checkKeyAgreement` only, so not yet validated. */
  readonly apu: unknown
  /** Read by `checkKeyAgreement` only, so not yet validated. */
  readonly apv: unknown
}

/** The public input of an ECDH-ES derivation. */
export interface KeyAgreement {
  /** The sender's ephemeral public key: `04 | x | y`, 65 bytes, a point of P-256. */
  readonly ephemeralKey: Buffer
  /** Agreement PartyUInfo, decoded; empty if absent. */
  readonly apu: Buffer
  /** Agreement PartyVInfo, decoded; empty if absent. */
  readonly apv: Buffer
}

/**
 * Parses a JWE Protected Header: UTF-8 JSON, one object, no member twice, and alg, enc and kid as strings.
 *
 * typ, cty and members unknown to us are ignored, as RFC 7516 §4 demands.
 *
 * @throws ERR_JWE_INVALID for anything else, and for zip, crit, jku, jwk, x5u, x5c, x5t and x5t#S256.
 * @see RFC 7516 §4, §5.2 steps 3 to 5
 */
export function parseHeader(bytes: Uint8Array): JweHeader {
  const members = readJson(bytes)
  if (!isObject(members) || REFUSED_MEMBERS.some((name) => Object.hasOwn(members, name))) {
    throw new ServiceError('ERR_JWE_INVALID')
  }
  const { alg, enc, kid, epk, apu, apv } = members
  if (typeof alg !== 'string' || typeof enc !== 'string' || typeof kid !== 'string') {
    throw new ServiceError('ERR_JWE_INVALID')
  }
  return { alg, enc, kid, epk, apu, apv }
}

/**
 * Requires that the header's alg and enc are the two that the key is bound to, so that the sender chooses neither.
 *
 * @throws ERR_ALG_NOT_ALLOWED if either differs.
 * @see RFC 8725 §3.1
 */
export function checkAlgorithms(header: Pick<JweHeader, 'alg' | 'enc'>, bound: JweAlgorithms): void {
  if (header.alg !== bound.alg || header.enc !== bound.enc) throw new ServiceError('ERR_ALG_NOT_ALLOWED')
}

/**
 * Requires the form of a JWE with direct key agreement: an empty encrypted key, a valid epk, apu and apv absent or
 * canonical base64url.
 *
 * @throws ERR_JWE_INVALID otherwise, also if epk is no point of P-256.
 * @see RFC 7518 §4.6.1, RFC 7516 §5.2 step 10
 */
export function checkKeyAgreement(header: JweHeader, jwe: Pick<CompactJwe, 'encryptedKey'>): KeyAgreement {
  if (jwe.encryptedKey.length !== 0) throw new ServiceError('ERR_JWE_INVALID')
  return {
    ephemeralKey: parseEphemeralKey(header.epk),
    apu: decodePartyInfo(header.apu),
    apv: decodePartyInfo(header.apv),
  }
}

/**
 * Requires the form of a JWE with RSAES-OAEP: an encrypted key as long as the modulus; epk, apu and apv are ignored.
 *
 * @param modulusBytes - length of the recipient's RSA modulus in bytes.
 * @throws ERR_JWE_INVALID otherwise.
 * @see RFC 8017 §7.1.2 step 1.b
 */
export function checkKeyTransport(jwe: Pick<CompactJwe, 'encryptedKey'>, modulusBytes: number): void {
  if (jwe.encryptedKey.length !== modulusBytes) throw new ServiceError('ERR_JWE_INVALID')
}

/** Decodes apu or apv (RFC 7518 §4.6.1.2, §4.6.1.3); absent means no bytes. */
function decodePartyInfo(value: unknown): Buffer {
  const bytes = typeof value === 'string' ? decodeBase64url(value) : undefined
  if (bytes) return bytes
  if (value === undefined) return Buffer.alloc(0)
  throw new ServiceError('ERR_JWE_INVALID')
}

function isObject(value: unknown): value is { readonly [name in string]?: unknown } & Record<keyof JweHeader, unknown> {
  // An array passes too, and then lacks alg.
  return typeof value === 'object' && value !== null
}
