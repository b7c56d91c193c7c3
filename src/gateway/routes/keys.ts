/** What may be known of keys: the public ones that D1 encrypts to, and the catalogue without a value. */
import { Type } from 'typebox'
import { ServiceError } from '../../errors.ts'
import { allow } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { getResponses, Kcv } from '../schemas.ts'

const strict = { additionalProperties: false } as const
const JWK_SET_TYPE = 'application/jwk-set+json'

const Jwk = Type.Object(
  {
    kty: Type.Enum(['EC', 'RSA'], { type: 'string' }),
    kid: Type.String(),
    use: Type.Enum(['enc'], { type: 'string' }),
    alg: Type.String(),
    crv: Type.Optional(Type.String()),
    x: Type.Optional(Type.String()),
    y: Type.Optional(Type.String()),
    n: Type.Optional(Type.String()),
    e: Type.Optional(Type.String()),
  },
  strict,
)
const JwkSet = Type.Object({ keys: Type.Array(Jwk) }, strict)

const Keys = Type.Object(
  {
    keys: Type.Array(
      Type.Object(
        {
          id: Type.String(),
          version: Type.Integer(),
          purpose: Type.String(),
          direction: Type.Optional(Type.String()),
          use: Type.Optional(Type.Array(Type.String())),
          algorithm: Type.String(),
          kcv: Kcv,
          profile: Type.Optional(Type.String()),
          state: Type.String(),
        },
        strict,
      ),
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
        response: getResponses({
          description: 'JWK Set (RFC 7517)',
          content: { [JWK_SET_TYPE]: { schema: JwkSet } },
        }),
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
