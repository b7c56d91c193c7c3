/** PIN block translation between zone keys. */
import { Type } from 'typebox'
import { Card, PinBlock, Zone } from '../../bridge/contract.ts'
import { packBlocks } from '../../bridge/packed-blocks.ts'
import { encodeHex } from '../../bytes.ts'
import { ServiceError } from '../../errors.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { blockFitsFormat, IssuedPinBlock, postResponses } from '../schemas.ts'

const strict = { additionalProperties: false } as const

const TranslateRequest = Type.Object(
  { pinBlock: PinBlock, from: Zone, to: Zone, card: Card },
  { ...strict, anyOf: blockFitsFormat },
)
const TranslateAnswer = Type.Object(IssuedPinBlock, strict)

/** Declares the routes. */
export function pinBlockRoutes(app: ApiInstance, { ask, guarded }: RouteDeps): void {
  app.post(
    '/v1/pin-blocks/translate',
    {
      onRequest: allow('pin-blocks/translate', 'pin-blocks/translate-seccos'),
      schema: {
        operationId: 'translatePinBlock',
        tags: ['PIN blocks'],
        summary: 'Translates a PIN block to another zone key, or to another format that the rules permit',
        body: TranslateRequest,
        response: postResponses(TranslateAnswer, [
          'ERR_TRANSLATION_FORBIDDEN',
          'ERR_PIN_BLOCK_INVALID',
          'ERR_RATE_LIMITED',
        ]),
      },
    },
    async (request, reply) => {
      const { pinBlock, from, to, card } = request.body
      // A SECCOS block carries no PAN, so translating one is a grant of its own.
      const seccos = from.format === 'SECCOS' || to.format === 'SECCOS'
      authorise(request, {
        operation: seccos ? 'pin-blocks/translate-seccos' : 'pin-blocks/translate',
        keys: [from, to],
        formats: [from.format, to.format],
      })
      const attempt = { pan: card.pan, ...from, block: pinBlock }
      const made = (answer: { pinBlock: string }) => ({ ...to, block: answer.pinBlock })
      return guarded(request, reply, { ...attempt, made }, async () => {
        const blocks = packBlocks([{ pan: card.pan, pinBlock }])
        const { rejected, packed, format, key } = await ask(
          request,
          'translatePinBlocks',
          { from, to, ...blocks },
          card.pan,
        )
        if (rejected.length > 0) throw new ServiceError('ERR_PIN_BLOCK_INVALID')
        return { pinBlock: encodeHex(packed), format, key }
      })
    },
  )
}
