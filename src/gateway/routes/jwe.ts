/** Data of cards and consumers on their way to D1 and back as JWEs; never a PIN block, which pin/set and pin/get are for. */
import { Type } from 'typebox'
import { Jwe, REQUESTS, type KeyRef } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { KeyRefSchema, postResponses } from '../schemas.ts'

const strict = { additionalProperties: false } as const

const SealAnswer = Type.Object({ jwe: Type.String({ description: 'JWE, compact form' }) }, strict)
const OpenRequest = Type.Object({ jwe: Jwe }, strict)
const OpenAnswer = Type.Object(
  {
    payload: Type.Object({}, { additionalProperties: true, description: 'What was sealed, as its sender wrote it' }),
    key: KeyRefSchema,
  },
  strict,
)

/** Declares the routes. */
export function jweRoutes(app: ApiInstance, { keys, ask }: RouteDeps): void {
  app.post(
    '/v1/jwe/seal',
    {
      onRequest: allow('jwe/seal'),
      schema: {
        operationId: 'sealJwe',
        tags: ['D1 registration'],
        summary: 'Seals the credentials of a card, or the personal information of a consumer, to a data recipient',
        body: REQUESTS.sealData,
        response: postResponses(SealAnswer),
      },
    },
    async (request) => {
      const { body } = request
      const { recipient, payload } = body
      authorise(request, { operation: 'jwe/seal', recipient })
      return ask(request, 'sealData', body, 'pan' in payload ? payload.pan : undefined)
    },
  )

  app.post(
    '/v1/jwe/open',
    {
      onRequest: allow('jwe/open'),
      schema: {
        operationId: 'openJwe',
        tags: ['D1 registration'],
        summary: 'Opens what D1 encrypted to a jwe-open key; a payload with a PIN block in it is refused',
        body: OpenRequest,
        response: postResponses(OpenAnswer, [
          'ERR_JWE_INVALID',
          'ERR_ALG_NOT_ALLOWED',
          'ERR_JWE_DECRYPTION_FAILED',
          'ERR_JWE_PAYLOAD_INVALID',
        ]),
      },
    },
    async (request, reply) => {
      const { jwe } = request.body
      const grants = authorise(request, { operation: 'jwe/open' })
      // The JWE names one of them, and only the vault reads which.
      const openKeys = keys.now.openKeys.filter((id) => grants.some((grant) => grant.keys.includes(id)))
      if (openKeys.length === 0) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
      const { packed, key } = await ask(request, 'openData', { jwe, openKeys })
      const answer = answerAround(packed, key)
      // By then it has been sent, or the client has left.
      reply.raw.once('close', () => answer.fill(0))
      return reply.type('application/json').send(answer as never)
    },
  )
}

/**
 * The answer with the payload as the vault read it: not parsed, so that no member of it is a string here or a number made anew.
 *
 * @returns bytes that the caller wipes, once they are sent.
 */
function answerAround(payload: Buffer, { id, version, kcv }: KeyRef): Buffer {
  const key = JSON.stringify({ id, version, kcv })
  const answer = Buffer.concat([Buffer.from('{"payload":'), payload, Buffer.from(`,"key":${key}}`)])
  payload.fill(0)
  return answer
}
