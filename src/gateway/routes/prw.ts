/** PIN reference values: made from a PIN block, and checked against one. */
import { Type } from 'typebox'
import { Prw, REQUESTS, type Zone } from '../../bridge/contract.ts'
import { allow, authorise, type Needs } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { blockFitsFormat, postResponses, prwMembers, Verified } from '../schemas.ts'

const strict = { additionalProperties: false } as const

const GenerateRequest = Type.Object({ ...REQUESTS.generatePrw.properties }, { ...strict, anyOf: blockFitsFormat })
const VerifyRequest = Type.Object({ ...REQUESTS.verifyPrw.properties }, { ...strict, anyOf: blockFitsFormat })
const GenerateAnswer = Type.Object({ prw: Prw, ...prwMembers }, strict)

interface PrwBody {
  readonly pinBlock: string
  readonly from: Zone
  readonly card: { readonly pan: string }
  readonly key: string
}

const needs = (operation: Needs['operation'], { from, key }: PrwBody): Needs => ({
  operation,
  keys: [from, key],
  formats: [from.format],
})
const attempt = ({ card, from, pinBlock }: PrwBody) => ({ pan: card.pan, ...from, block: pinBlock })

/** Declares the routes. */
export function prwRoutes(app: ApiInstance, { ask, guarded }: RouteDeps): void {
  app.post(
    '/v1/prw/generate',
    {
      onRequest: allow('prw/generate'),
      schema: {
        operationId: 'generatePrw',
        tags: ['PRW'],
        summary: "Makes the PRW of a PIN block's PIN by the key's profile",
        body: GenerateRequest,
        response: postResponses(GenerateAnswer, ['ERR_PIN_BLOCK_INVALID', 'ERR_RATE_LIMITED']),
      },
    },
    async (request, reply) => {
      const { body } = request
      authorise(request, needs('prw/generate', body))
      return guarded(request, reply, attempt(body), () => ask(request, 'generatePrw', body))
    },
  )

  app.post(
    '/v1/prw/verify',
    {
      onRequest: allow('prw/verify'),
      schema: {
        operationId: 'verifyPrw',
        tags: ['PRW'],
        summary: "Checks a PRW against a PIN block's PIN",
        body: VerifyRequest,
        response: postResponses(Verified, ['ERR_PIN_BLOCK_INVALID', 'ERR_RATE_LIMITED']),
      },
    },
    async (request, reply) => {
      const { body } = request
      authorise(request, needs('prw/verify', body))
      return guarded(request, reply, attempt(body), () => ask(request, 'verifyPrw', body))
    },
  )
}
