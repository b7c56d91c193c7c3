/** The assertion that D1 gives an access token for (RFC 7523): a JWT of the issuer, signed by an assertion-sign key. */
import type { AnswerOf, RequestOf } from '../../bridge/contract.ts'
import { SecretScope } from '../../secret.ts'
import type { VaultContext } from '../context.ts'

/** Short, because it is a credential; long enough for clocks that differ by minutes. */
const DEFAULT_LIFETIME_S = 300
const JTI_BYTES = 16

/**
 * Makes and signs it: header alg ES256, kid, typ; claims iss, sub, aud where the key has an audience, iat, exp and a random jti.
 *
 * Whom it speaks for, whom it is meant for and what time it is are the vault's to say, not the caller's (M-37).
 *
 * @throws ERR_KEY_USE_FORBIDDEN for a key that signs no assertions; ERR_HSM_UNAVAILABLE also for a signature that does not verify.
 * @see RFC 7523 section 3, RFC 7515 section 7.1, RFC 7518 section 3.4
 */
export async function makeD1Assertion(
  { hsm, catalogue }: Pick<VaultContext, 'hsm' | 'catalogue'>,
  request: RequestOf<'makeD1Assertion'>,
): Promise<AnswerOf<'makeD1Assertion'>> {
  const { key, kid, issuerId, audience } = catalogue.assertionKey(request.key)
  using secrets = new SecretScope()
  const jti = secrets.take(JTI_BYTES)
  await hsm.fillRandom(jti)
  const iat = Math.floor(Date.now() / 1000)
  const exp = iat + (request.lifetimeS ?? DEFAULT_LIFETIME_S)
  const claims = {
    iss: issuerId,
    sub: issuerId,
    ...(audience !== undefined && { aud: audience }),
    iat,
    exp,
    jti: jti.toString('base64url'),
  }
  const input = [{ alg: 'ES256', kid, typ: 'JWT' }, claims].map(encodePart).join('.')
  // r | s, verified with the key's public half before it comes back.
  const signature = await hsm.sign(key, Buffer.from(input, 'ascii'))
  return { assertion: `${input}.${signature.toString('base64url')}`, expiresAt: exp, key: catalogue.refOf(key) }
}

function encodePart(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
