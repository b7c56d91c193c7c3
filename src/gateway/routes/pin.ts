/** PIN set and get: Thales D1's JWE on one side, the issuer's zone key on the other. */
import { Type, type Static } from 'typebox'
import { Card, REQUESTS, type AnswerOf } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
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
    verified: Type.Optional(
      Type.Object(
        {
          prw: Type.Boolean({ description: "D1's PRW matches" }),
          mac: Type.Boolean({ description: "D1's MAC matches" }),
        },
        { ...strict, description: 'Of 3DES_SECCOS: both are true, for what does not match is an error' },
      ),
    ),
  },
  strict,
)

const GetPinRequest = Type.Object({ ...REQUESTS.sealGetPin.properties }, { ...strict, anyOf: blockFitsFormat })
const GetPinAnswer = Type.Object({ encryptedPinBlock: Type.String({ description: 'JWE, compact form' }) }, strict)

const { type, encryptedPinBlock, change, to, issue } = REQUESTS.openSetPin.properties

/** The request of pin/set; which names `type` may have is looked at in its handler, since a reload may change them. */
const SetPinRequest = Type.Object(
  { type, encryptedPinBlock, card: Card, change, to, issue },
  {
    ...strict,
    // Something must come of it: a PIN block, or a PRW alone. A MAC is over the outgoing block, so it needs one.
    anyOf: [
      { type: 'object', required: ['to'], properties: { issue: { type: 'object', minProperties: 1 } } },
      {
        type: 'object',
        required: ['issue'],
        properties: { issue: { type: 'object', required: ['prw'], properties: { prw: {}, mac: { not: {} } } } },
      },
    ],
  },
)

/** Declares the routes. */
export function pinRoutes(app: ApiInstance, { keys, ask, guarded, counters }: RouteDeps): void {
  app.post(
    '/v1/pin/set',
    {
      onRequest: allow('pin/set'),
      schema: {
        operationId: 'setPin',
        tags: ['PIN'],
        summary: 'Takes the PIN that D1 encrypted; gives it under a zone key, with the PRW and MAC that were asked for',
        body: SetPinRequest,
        response: postResponses(SetPinAnswer, [
          'ERR_JWE_INVALID',
          'ERR_ALG_NOT_ALLOWED',
          'ERR_TRANSLATION_FORBIDDEN',
          'ERR_COUNTER_REPLAYED',
          'ERR_JWE_DECRYPTION_FAILED',
          'ERR_JWE_PAYLOAD_INVALID',
          'ERR_PIN_BLOCK_INVALID',
          'ERR_PIN_CHANGE_NOT_VERIFIED',
          'ERR_PIN_REFUSED',
          'ERR_RATE_LIMITED',
        ]),
      },
    },
    async (request, reply) => {
      const { body } = request
      const { jweKeys: known, countOnce, setPinTypes } = keys.now
      if (!setPinTypes.includes(body.type)) throw new ServiceError('ERR_REQUEST_INVALID')
      const grants = authorise(request, {
        operation: 'pin/set',
        keys: [body.to, body.issue?.prw, body.issue?.mac],
        formats: [body.to?.format],
      })
      // The JWE names one of them, and only the vault reads which.
      const jweKeys = known.filter((id) => grants.some((grant) => grant.keys.includes(id)))
      if (jweKeys.length === 0) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
      const made = ({ pinBlock }: AnswerOf<'openSetPin'>) =>
        body.to && pinBlock !== undefined ? { ...body.to, block: pinBlock } : undefined
      const attempt = { pan: body.card.pan, key: 'jwe', block: body.encryptedPinBlock, setsPin: true, made }
      const call = () => guarded(request, reply, attempt, () => ask(request, 'openSetPin', { ...body, jweKeys }))
      // Only the vault reads which key the JWE names: a counter is used up if it may be one whose profile says so.
      return jweKeys.some((id) => countOnce.has(id)) ? counters.once(claimOf(request, body), call) : call()
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
        response: postResponses(GetPinAnswer, [
          'ERR_TRANSLATION_FORBIDDEN',
          'ERR_PIN_BLOCK_INVALID',
          'ERR_RATE_LIMITED',
        ]),
      },
    },
    async (request, reply) => {
      const { body } = request
      const { from, recipient } = body
      authorise(request, { operation: 'pin/get', keys: [from], formats: [from.format], recipient })
      const attempt = { pan: body.card.pan, ...from, block: body.pinBlock }
      return guarded(request, reply, attempt, () => ask(request, 'sealGetPin', body))
    },
  )
}

/** What a pin/set claims: the change counter of its card, for itself and its repetitions, and nobody who asks for anything else. */
function claimOf(request: HasRawRequest, body: Static<typeof SetPinRequest>): CounterClaim | undefined {
  const { type, encryptedPinBlock, card, change, to, issue } = body
  if (change === undefined) return undefined
  const { pan, panSequenceNumber, expiry } = card
  return {
    counter: [pan, panSequenceNumber, change.counter],
    request: [
      ...[contextOf(request).client?.id, type, encryptedPinBlock, pan, panSequenceNumber, expiry],
      ...[change.counter, change.transactionId, to?.key, to?.format, issue?.prw, issue?.mac],
      // Behind the others and only where it is: nodes that do not know it yet tag the same request alike.
      ...(to?.version === undefined ? [] : [String(to.version)]),
    ],
  }
}
