/** PIN block translation in batches: one pair of keys, and each item answers for itself. */
import { Type } from 'typebox'
import { Card, MAX_BATCH_ITEMS, PinBlock, Zone } from '../../bridge/contract.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import { ITEM_CODES, writeBatchAnswer } from '../batch/batch-answer.ts'
import { readBatchBody, type BatchBody } from '../batch/batch-body.ts'
import { createBatchSlots } from '../batch/batch-slots.ts'
import { MAX_ID_CHARACTERS } from '../batch/json-items.ts'
import { installBodyParser } from '../body-parser.ts'
import { KeyRefSchema, postResponses } from '../schemas.ts'
import { BATCH_BODY_LIMIT_BYTES } from '../server-options.ts'

const strict = { additionalProperties: false } as const

const ItemId = Type.String({
  minLength: 1,
  maxLength: MAX_ID_CHARACTERS,
  description: 'Names the item in the answer; unique in its batch',
})

/** What a batch may be, for the document: the body itself is read from its bytes (batch/). */
export const BatchRequest = Type.Object(
  {
    from: Zone,
    to: Zone,
    items: Type.Optional(
      Type.Array(
        Type.Object({ id: ItemId, pinBlock: PinBlock, card: Card }, { ...strict, description: 'One PIN block' }),
        {
          minItems: 1,
          maxItems: MAX_BATCH_ITEMS,
          description: 'The items as JSON; either these or rows',
        },
      ),
    ),
    rows: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'The items as CSV: id, pan, pinBlock; a first line may name the columns',
      }),
    ),
  },
  { ...strict, oneOf: [{ required: ['items'] }, { required: ['rows'] }] },
)

const BatchAnswer = Type.Object(
  {
    format: Type.String({ description: 'Format of the PIN blocks that go out' }),
    key: KeyRefSchema,
    items: Type.Optional(
      Type.Array(
        Type.Object(
          {
            id: ItemId,
            pinBlock: Type.Optional(PinBlock),
            code: Type.Optional(
              Type.Enum([...new Set(Object.values(ITEM_CODES))], {
                type: 'string',
                description: 'Why there is no PIN block: it is invalid, or the limit on wrong ones has been reached',
              }),
            ),
          },
          { ...strict, description: 'Either the translated block or why there is none' },
        ),
        { description: 'One for each item of the request, in its order' },
      ),
    ),
    rows: Type.Optional(
      Type.String({ description: 'For a request with rows: CSV with the columns id, pinBlock, code' }),
    ),
  },
  strict,
)

/** Declares the route. */
export async function pinBlockBatchRoutes(app: ApiInstance, { ask, guardedBatch }: RouteDeps): Promise<void> {
  const slots = createBatchSlots()
  await app.register(async (scope) => {
    installBodyParser(scope, readBatchBody)
    scope.post(
      '/v1/pin-blocks/translate-batch',
      {
        onRequest: [allow('pin-blocks/translate-batch'), slots.take],
        bodyLimit: BATCH_BODY_LIMIT_BYTES,
        // The schema stands in the document; its rules are those of readBatchBody.
        validatorCompiler: () => () => true,
        schema: {
          operationId: 'translatePinBlockBatch',
          tags: ['PIN blocks'],
          summary: 'Translates up to 10 000 PIN blocks; a wrong one does not fail its neighbours',
          body: BatchRequest,
          response: postResponses(BatchAnswer, [
            'ERR_TRANSLATION_FORBIDDEN',
            'ERR_PIN_BLOCK_INVALID',
            'ERR_RATE_LIMITED',
          ]),
        },
      },
      async (request, reply) => {
        const body = request.body as BatchBody
        const { from, to, batch } = body
        const needs = { keys: [from, to], formats: [from.format, to.format] }
        if (from.format === 'SECCOS' || to.format === 'SECCOS') {
          authorise(request, { operation: 'pin-blocks/translate-seccos', ...needs })
        }
        authorise(request, { operation: 'pin-blocks/translate-batch', ...needs })
        // A slow HSM may take longer for it than a socket may be silent; each of its messages has a deadline all the same.
        request.raw.socket.setTimeout(0)
        const blocks = { items: batch.items, packed: batch.packed() }
        const { answer, verdicts } = await slots.hold(request, () =>
          guardedBatch(request, reply, { from, to, ...blocks }, () =>
            ask(request, 'translatePinBlocks', { from, to, ...blocks }),
          ),
        )
        return reply.type('application/json').send(writeBatchAnswer(body, verdicts, answer))
      },
    )
  })
}
