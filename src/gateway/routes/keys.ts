/** What may be known of keys: the public ones that D1 encrypts to, and the catalogue without a value. */
import { Type } from 'typebox'
import { ServiceError } from '../../errors.ts'
import { allow } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { getResponses, Kcv, ProfileId } from '../schemas.ts'

const strict = { additionalProperties: false } as const
const JWK_SET_TYPE = 'application/jwk-set+json'

const Jwk = Type.Object(
  {
    kty: Type.Enum(['EC', 'RSA'], { type: 'string', description: 'Key type' }),
    kid: Type.String({ description: 'Key id, for the header of a JWE' }),
    use: Type.Enum(['enc'], { type: 'string', description: 'For encryption' }),
    alg: Type.String({ description: 'The one alg that a JWE to this key may have' }),
    crv: Type.Optional(Type.String({ description: 'Curve (RFC 7518 section 6.2.1.1)' })),
    x: Type.Optional(Type.String({ description: 'x coordinate, base64url' })),
    y: Type.Optional(Type.String({ description: 'y coordinate, base64url' })),
    n: Type.Optional(Type.String({ description: 'RSA modulus, base64url' })),
    e: Type.Optional(Type.String({ description: 'RSA exponent, base64url' })),
  },
  { ...strict, description: 'A public key (RFC 7517)' },
)
const JwkSet = Type.Object(
  { keys: Type.Array(Jwk, { description: 'Current keys first, then those being retired' }) },
  { ...strict, description: 'JWK Set (RFC 7517 section 5)' },
)

const Day = Type.String({ description: 'A day, such as 2026-11-23' })

const Keys = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        {
          id: Type.String({ description: 'Id of the key, as requests name it' }),
          version: Type.Integer({ description: 'Version' }),
          purpose: Type.String({ description: 'The one thing that it does, such as zone-pin or prw' }),
          direction: Type.Optional(Type.String({ description: 'Of a zone key: in, out or both' })),
          use: Type.Optional(Type.Array(Type.String(), { description: 'Of a PRW or MAC key: generate, verify' })),
          algorithm: Type.String({ description: 'Such as TDEA-128, AES-256 or EC-P256' }),
          kcv: Kcv,
          profile: Type.Optional(ProfileId),
          state: Type.String({ description: 'pending, active, retiring or retired' }),
          created: Type.Optional(Day),
          expires: Type.Optional(Day),
        },
        { ...strict, description: 'A version of a key' },
      ),
      { description: 'Every version of every key' },
    ),
  },
  strict,
)

/** Declares the routes. */
export function keyRoutes(app: ApiInstance, { keys, publicKeys }: RouteDeps): void {
  app.get(
    '/v1/jwks',
    {
      onRequest: allow('jwks'),
      schema: {
        operationId: 'getJwks',
        tags: ['Keys'],
        summary: 'The public keys that D1 encrypts to: current ones first, then those being retired',
        response: getResponses({ description: 'The JWK Set', content: { [JWK_SET_TYPE]: { schema: JwkSet } } }, [
          'ERR_HSM_UNAVAILABLE',
        ]),
      },
    },
    async (_request, reply) => {
      const jwks = publicKeys()
      // Until a vault has said which keys it holds, an empty set would be read as "there are none".
      if (jwks.length === 0 && keys.now.expectsJwks) throw new ServiceError('ERR_HSM_UNAVAILABLE')
      return reply.type(JWK_SET_TYPE).send({ keys: [...jwks] })
    },
  )

  app.get(
    '/v1/keys',
    {
      onRequest: allow('keys'),
      schema: {
        operationId: 'getKeys',
        tags: ['Keys'],
        summary: 'The key catalogue; never a value',
        response: getResponses(Keys),
      },
    },
    async () => ({ keys: [...keys.now.keys] }),
  )
}
