/** What the issuer shows D1 when it calls D1: the assertion of RFC 7523 that an access token is asked for with. */
import { Type } from 'typebox'
import { REQUESTS } from '../../bridge/contract.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { KeyRefSchema, postResponses } from '../schemas.ts'

const AssertionAnswer = Type.Object(
  {
    assertion: Type.String({
      description: 'JWT (RFC 7523), compact form: a credential, to be sent to D1 and kept nowhere',
    }),
    expiresAt: Type.Integer({ description: 'When it expires, in seconds since 1970, UTC' }),
    key: KeyRefSchema,
  },
  { additionalProperties: false },
)

/** Declares the route. */
export function d1Routes(app: ApiInstance, { ask }: RouteDeps): void {
  app.post(
    '/v1/d1/assertion',
    {
      onRequest: allow('d1/assertion'),
      schema: {
        operationId: 'makeD1Assertion',
        tags: ['D1 registration'],
        summary: 'Signs the assertion that D1 gives an access token for; issuer and audience are of the key',
        body: REQUESTS.makeD1Assertion,
        response: postResponses(AssertionAnswer),
      },
    },
    async (request) => {
      const { body } = request
      authorise(request, { operation: 'd1/assertion', keys: [body.key] })
      return ask(request, 'makeD1Assertion', body)
    },
  )
}
