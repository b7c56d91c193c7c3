/** PIN set and get: Thales D1's JWE on one side, the issuer's zone key on the other. */
import { Type, type Static } from 'typebox'
import { Card, REQUESTS, type AnswerOf } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import { allow, authorise, type Grant } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import type { GatewayConfig } from '../../config/schema.ts'
import { contextOf, type HasRawRequest } from '../request-context.ts'
import type { CounterClaim } from '../used-counters.ts'
import { blockFitsFormat, IssuedMacSchema, IssuedPinBlock, IssuedPrwSchema, postResponses } from '../schemas.ts'

const strict = { additionalProperties: false } as const

const SetPinAnswer = Type.Object(
  {
    pinBlock: Type.Optional(IssuedPinBlock.pinBlock),
    format: Type.Optional(IssuedPinBlock.format),
    key: Type.Optional(IssuedPinBlock.key),
    prw: Type.Optional(IssuedPrwSchema),
    mac: Type.Optional(IssuedMacSchema),
    verified: Type.Optional(Type.Object({ prw: Type.Boolean(), mac: Type.Boolean() }, strict)),
  },
  strict,
)

const GetPinRequest = Type.Object({ ...REQUESTS.sealGetPin.properties }, { ...strict, anyOf: blockFitsFormat })
const GetPinAnswer = Type.Object({ encryptedPinBlock: Type.String({ description: 'JWE, compact form' }) }, strict)

/** The request of pin/set; the names of `type` are the ones that a configured D1 profile accepts. */
function setPinRequest(types: readonly string[]) {
  const { encryptedPinBlock, change, to, issue } = REQUESTS.openSetPin.properties
  return Type.Object(
    {
      // An empty enum is no schema: without a D1 profile there is no type to accept.
      type: types.length > 0 ? Type.Unsafe<string>({ type: 'string', enum: types }) : Type.Unsafe<string>({ not: {} }),
      encryptedPinBlock,
      card: Card,
      change,
      to,
      issue,
    },
    {
      ...strict,
      // Something must come of it: a PIN block, or a PRW alone. A MAC is over the outgoing block, so it needs one.
      anyOf: [
        { type: 'object', required: ['to'], properties: { issue: { type: 'object', minProperties: 1 } } },
        {
          type: 'object',
          required: ['issue'],
          properties: { issue: { type: 'object', required: ['prw'], properties: { mac: { not: {} } } } },
        },
      ],
    },
  )
}

/** Declares the routes. */
export function pinRoutes(app: ApiInstance, { config, ask, guarded, counters }: RouteDeps): void {
  const countsOnce = new Set(config.counterOnceKeys)

  app.post(
    '/v1/pin/set',
    {
      onRequest: allow('pin/set'),
      schema: {
        operationId: 'setPin',
        tags: ['PIN'],
        summary: 'Takes the PIN that D1 encrypted; gives it under a zone key, with the PRW and MAC that were asked for',
        body: setPinRequest(config.setPinTypes),
        response: postResponses(SetPinAnswer, [409]),
      },
    },
    async (request, reply) => {
      const { body } = request
      const grants = authorise(request, {
        operation: 'pin/set',
        keys: [body.to?.key, body.issue?.prw, body.issue?.mac],
        formats: [body.to?.format],
      })
      const jweKeys = grantedJweKeys(grants, config.keys)
      if (jweKeys.length === 0) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
      const made = ({ pinBlock }: AnswerOf<'openSetPin'>) =>
        body.to && pinBlock !== undefined ? { ...body.to, block: pinBlock } : undefined
      const attempt = { pan: body.card.pan, key: 'jwe', block: body.encryptedPinBlock, setsPin: true, made }
      const call = () => guarded(request, reply, attempt, () => ask(request, 'openSetPin', { ...body, jweKeys }))
      // Only the vault reads which key the JWE names: a counter is used up if it may be one whose profile says so.
      return jweKeys.some((id) => countsOnce.has(id)) ? counters.once(claimOf(request, body), call) : call()
    },
  )

  app.post(
    '/v1/pin/get',
    {
      onRequest: allow('pin/get'),
      schema: {
        operationId: 'getPin',
        tags: ['PIN'],
        summary: 'Translates a PIN block to ISO format 0 and seals it to a recipient',
        body: GetPinRequest,
        response: postResponses(GetPinAnswer),
      },
    },
    async (request, reply) => {
      const { body } = request
      const { key, format } = body.from
      authorise(request, { operation: 'pin/get', keys: [key], formats: [format], recipient: body.recipient })
      const attempt = { pan: body.card.pan, key, format, block: body.pinBlock }
      return guarded(request, reply, attempt, () => ask(request, 'sealGetPin', body))
    },
  )
}

/** What a pin/set claims: the change counter of its card, for itself and its repetitions, and nobody who asks for anything else. */
function claimOf(request: HasRawRequest, body: Static<ReturnType<typeof setPinRequest>>): CounterClaim | undefined {
  const { type, encryptedPinBlock, card, change, to, issue } = body
  if (change === undefined) return undefined
  const { pan, panSequenceNumber, expiry } = card
  return {
    counter: [pan, panSequenceNumber, change.counter],
    request: [
      ...[contextOf(request).client?.id, type, encryptedPinBlock, pan, panSequenceNumber, expiry],
      ...[change.counter, change.transactionId, to?.key, to?.format, issue?.prw, issue?.mac],
    ],
  }
}

/** The JWE keys that the covering grants list: the JWE names one, and only the vault reads which. */
function grantedJweKeys(grants: readonly Grant[], keys: GatewayConfig['keys']): string[] {
  return keys
    .filter(({ id, purpose }) => purpose === 'jwe-decrypt' && grants.some((grant) => grant.keys.includes(id)))
    .map(({ id }) => id)
}
