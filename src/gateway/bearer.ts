/**
 * Bearer tokens of callers (RFC 6750): JWTs that are bound to the client's certificate (RFC 8705 section 3), so that a stolen one
 * is of no use without the certificate's key (M-12).
 */
import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import { decodeBase64url, equalConstantTime } from '../bytes.ts'
import type { BearerConfig } from '../config/schema.ts'
import type { Caller } from './authentication.ts'

/** The one challenge of every 401 (RFC 6750 section 3), whatever the cause. */
export const BEARER_CHALLENGE = 'Bearer error="invalid_token"'

/** The age past which a token is refused whatever its exp, in seconds. */
const MOST_AGE_S = 24 * 3600
/** A client takes a new token every few minutes. */
const MOST_REMEMBERED = 4096

const ALGORITHMS = ['ES256', 'PS256', 'RS256', 'EdDSA']
/** RFC 9068 section 2.1, and what most issuers write. */
const TYPES = ['at+jwt', 'jwt']
/** RFC 6750 section 2.1: the scheme in any case, one token. */
const AUTHORIZATION = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i

/** Checks the token of a request. */
export interface Bearer {
  readonly required: boolean
  /** Whether a request of this caller may go on; a promise where a token is seen for the first time. */
  readonly check: (raw: IncomingMessage, caller: Caller) => boolean | Promise<boolean>
}

/** What a token says, once it has been verified. */
interface Claims {
  readonly subject: string
  readonly certificateSha256: Buffer
  readonly validUntilMs: number
}

/** Makes the check; verified tokens are remembered by their hash, because a signature costs more than the rest of the entry. */
export function createBearer(config: BearerConfig): Bearer {
  const { issuer, audience, clockSkewS, required } = config
  const keys = createLocalJWKSet({ keys: config.keys.map((key) => ({ ...key })) })
  const remembered = new Map<string, Claims>()

  const verify = async (token: string): Promise<Claims | undefined> => {
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      algorithms: ALGORITHMS,
      issuer,
      audience,
      clockTolerance: clockSkewS,
      maxTokenAge: MOST_AGE_S,
    })
    const type = protectedHeader.typ?.toLowerCase().replace(/^application\//, '')
    return type !== undefined && TYPES.includes(type) ? claimsOf(payload, clockSkewS) : undefined
  }

  return {
    required,
    check: (raw, caller) => {
      const { authorization } = raw.headers
      if (authorization === undefined) return !required
      const token = AUTHORIZATION.exec(authorization)?.[1]
      if (token === undefined || isRepeated(raw)) return false
      const hash = createHash('sha256').update(token).digest('base64')
      const claims = remembered.get(hash)
      if (claims !== undefined && Date.now() < claims.validUntilMs) return isOf(claims, caller)
      return verify(token).then(
        (found) => {
          if (found === undefined) return false
          remember(remembered, hash, found)
          return isOf(found, caller)
        },
        () => false,
      )
    },
  }
}

/** A token is of its caller if it is bound to this very certificate and its sub is the one that the client is configured with. */
function isOf({ subject, certificateSha256 }: Claims, caller: Caller): boolean {
  return subject === caller.client.subject && equalConstantTime(certificateSha256, caller.certificateSha256)
}

/** The claims that every use looks at; without one of them a token is none. */
function claimsOf({ sub, exp, iat, cnf }: JWTPayload, clockSkewS: number): Claims | undefined {
  const thumbprint = (cnf as { 'x5t#S256'?: unknown } | null | undefined)?.['x5t#S256']
  const certificateSha256 = typeof thumbprint === 'string' ? decodeBase64url(thumbprint) : undefined
  if (typeof sub !== 'string' || exp === undefined || iat === undefined || certificateSha256 === undefined) {
    return undefined
  }
  return { subject: sub, certificateSha256, validUntilMs: (Math.min(exp, iat + MOST_AGE_S) + clockSkewS) * 1000 }
}

/** Node keeps the first of two Authorization headers and says nothing. */
function isRepeated({ headersDistinct }: IncomingMessage): boolean {
  return headersDistinct['authorization']?.length !== 1
}

function remember(remembered: Map<string, Claims>, hash: string, claims: Claims): void {
  // A Map gives its keys in the order in which they came.
  const oldest = remembered.keys().next()
  if (remembered.size >= MOST_REMEMBERED && !oldest.done) remembered.delete(oldest.value)
  remembered.set(hash, claims)
}
