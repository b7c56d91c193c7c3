/** MACs over an enciphered PIN block as it is given; the block is not deciphered. */
import { Type } from 'typebox'
import { Mac, REQUESTS } from '../../bridge/contract.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { KeyRefSchema, postResponses, ProfileId, Verified } from '../schemas.ts'

const strict = { additionalProperties: false } as const

const GenerateAnswer = Type.Object({ mac: Mac, profile: ProfileId, key: KeyRefSchema }, strict)

interface MacBody {
  readonly key: string
  readonly pinBlock: string
  readonly card?: { readonly pan: string }
}

const attempt = ({ card, key, pinBlock }: MacBody) => ({ pan: card?.pan, key, block: pinBlock })

/** Declares the routes. */
export function macRoutes(app: ApiInstance, { ask, guarded }: RouteDeps): void {
  app.post(
    '/v1/mac/generate',
    {
      onRequest: allow('mac/generate'),
      schema: {
        operationId: 'generateMac',
        tags: ['MAC'],
        summary: "Makes the MAC of an enciphered PIN block by the key's profile",
        body: REQUESTS.generateMac,
        response: postResponses(GenerateAnswer),
      },
    },
    async (request) => {
      const { body } = request
      authorise(request, { operation: 'mac/generate', keys: [body.key] })
      // Outside the guessing limits: nothing is deciphered or compared, and made-up blocks would push real ones out of them.
      return ask(request, 'generateMac', body)
    },
  )

  app.post(
    '/v1/mac/verify',
    {
      onRequest: allow('mac/verify'),
      schema: {
        operationId: 'verifyMac',
        tags: ['MAC'],
        summary: 'Checks the MAC of an enciphered PIN block',
        body: REQUESTS.verifyMac,
        response: postResponses(Verified, ['ERR_RATE_LIMITED']),
      },
    },
    async (request, reply) => {
      const { body } = request
      authorise(request, { operation: 'mac/verify', keys: [body.key] })
      return guarded(request, reply, attempt(body), () => ask(request, 'verifyMac', body))
    },
  )
}
