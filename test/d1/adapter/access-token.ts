/**
 * D1's access token: `POST /oauth2/token` (RFC 6749, client credentials by HTTP Basic), and the check on every other call.
 *
 * A JWT, as D1 describes it, signed with a key that all nodes of the adapter share: nothing is stored, and any node checks what
 * another gave. It cannot be taken back, so it lives for five minutes. There is one thing to be granted, so scopes are ignored.
 */
import { createHash, createSecretKey, timingSafeEqual } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'
import { Refusal, refusal } from './d1-contract.ts'

/** What the bank and Thales agreed on, and the bank's own key. */
export interface TokenOptions {
  /** SHA-256 of `clientId:clientSecret`, 32 bytes. The secret is random, of 32 bytes or more: a plain hash gives nothing of it away. */
  readonly credentialsSha256: Uint8Array
  /** 32 random bytes that sign the tokens. */
  readonly tokenKey: Uint8Array
}

const LIFETIME_S = 300
const NAME = 'cms-adapter'
const BASIC = /^Basic +([A-Za-z0-9+/_-]+={0,2})$/i
const BEARER = /^Bearer +([A-Za-z0-9\-._~+/]+=*)$/i

/** A refusal of the token endpoint, in the form of RFC 6749 section 5.2, which is what an OAuth client reads. */
export const oauthRefusal = (error: 'invalid_request' | 'invalid_client' | 'unsupported_grant_type') =>
  new Refusal(error === 'invalid_client' ? 401 : 400, { error }, 'Basic realm="cms"')

/** Makes both ends of a token's life. */
export function createAccessTokens({ credentialsSha256, tokenKey }: TokenOptions) {
  const key = createSecretKey(tokenKey)
  return {
    /** Answers the token endpoint; `form` is the request's body. */
    issue: async (authorization: string | undefined, form: unknown) => {
      // Id and secret are hashed as the one text that Basic carries: one comparison, in constant time, and no id told from another.
      const given = Buffer.from(BASIC.exec(authorization ?? '')?.[1] ?? '', 'base64')
      const hash = createHash('sha256').update(given).digest()
      if (!timingSafeEqual(hash, credentialsSha256)) throw oauthRefusal('invalid_client')
      if (!(form instanceof URLSearchParams)) throw oauthRefusal('invalid_request')
      // A parameter twice, or the secret in two places: RFC 6749 sections 3.2 and 2.3.
      const isRepeated = new Set(form.keys()).size < form.size
      if (isRepeated || form.has('client_secret') || !form.get('grant_type')) throw oauthRefusal('invalid_request')
      if (form.get('grant_type') !== 'client_credentials') throw oauthRefusal('unsupported_grant_type')
      const token = new SignJWT().setIssuer(NAME).setAudience(NAME).setIssuedAt().setExpirationTime(`${LIFETIME_S}s`)
      const access_token = await token.setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(key)
      // ASSUMPTION 5: a number, as in RFC 6749; D1's pages have a number for one product and a string for another.
      return { access_token, token_type: 'Bearer', expires_in: LIFETIME_S }
    },

    /** Lets a call with a valid token pass; whatever is wrong with it, there is one refusal. */
    check: async (authorization: string | undefined) => {
      const expected = { algorithms: ['HS256'], issuer: NAME, audience: NAME, requiredClaims: ['exp'] }
      await jwtVerify(BEARER.exec(authorization ?? '')?.[1] ?? '', key, expected).catch(() => {
        throw refusal('AUTHORIZER_UNAUTHORIZED')
      })
    },
  }
}
