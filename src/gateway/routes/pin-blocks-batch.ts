/** PIN block translation in batches: one pair of keys, and each item answers for itself. */
import { Type } from 'typebox'
import { Card, MAX_BATCH_ITEMS, PinBlock, Zone, type AnswerOf } from '../../bridge/contract.ts'
import { packBlocks } from '../../bridge/packed-blocks.ts'
import { encodeHex } from '../../bytes.ts'
import { ServiceError, type ErrorCode } from '../../errors.ts'
import { allow, authorise } from '../authorisation.ts'
import type { ApiInstance, RouteDeps } from '../api-instance.ts'
import type { ItemVerdict } from '../guess-limits.ts'
import { KeyRefSchema, postResponses } from '../schemas.ts'
import { BATCH_BODY_LIMIT_BYTES } from '../server-options.ts'

const strict = { additionalProperties: false } as const

const ItemId = Type.String({
  minLength: 1,
  maxLength: 64,
  description: 'Names the item in the answer; unique in its batch',
})
const BatchRequest = Type.Object(
  {
    from: Zone,
    to: Zone,
    items: Type.Array(Type.Object({ id: ItemId, pinBlock: PinBlock, card: Card }, strict), {
      minItems: 1,
      maxItems: MAX_BATCH_ITEMS,
    }),
  },
  strict,
)

const ITEM_CODES = {
  rejected: 'ERR_PIN_BLOCK_INVALID',
  limited: 'ERR_RATE_LIMITED',
  'pan-variation': 'ERR_RATE_LIMITED',
} as const satisfies Record<Exclude<ItemVerdict, 'translated'>, ErrorCode>

const BatchAnswer = Type.Object(
  {
    format: Type.String(),
    key: KeyRefSchema,
    items: Type.Array(
      Type.Object(
        {
          id: ItemId,
          pinBlock: Type.Optional(PinBlock),
          code: Type.Optional(Type.Enum(['ERR_PIN_BLOCK_INVALID', 'ERR_RATE_LIMITED'], { type: 'string' })),
        },
        { ...strict, description: 'Either the translated block or why there is none' },
      ),
      { description: 'One for each item of the request, in its order' },
    ),
  },
  strict,
)

/** Declares the route. */
export function pinBlockBatchRoutes(app: ApiInstance, { bridge, guardedBatch }: RouteDeps): void {
  app.post(
    '/v1/pin-blocks/translate-batch',
    {
      onRequest: allow('pin-blocks/translate-batch'),
      bodyLimit: BATCH_BODY_LIMIT_BYTES,
      schema: {
        operationId: 'translatePinBlockBatch',
        tags: ['PIN blocks'],
        summary: 'Translates up to 10 000 PIN blocks; a wrong one does not fail its neighbours',
        body: BatchRequest,
        response: postResponses(BatchAnswer),
      },
    },
    async (request, reply) => {
      const { from, to, items } = request.body
      const needs = { keys: [from.key, to.key], formats: [from.format, to.format] }
      authorise(request, { operation: 'pin-blocks/translate-batch', ...needs })
      if (from.format === 'SECCOS' || to.format === 'SECCOS') {
        authorise(request, { operation: 'pin-blocks/translate-seccos', ...needs })
      }
      assertItems(items, from.format === 'ISO-4' ? 32 : 16)
      const blocks = packBlocks(items.map(({ card, pinBlock }) => ({ pan: card.pan, pinBlock })))
      const { answer, verdicts } = await guardedBatch(request, reply, { from, to, ...blocks }, () =>
        bridge.call('translatePinBlocks', { from, to, ...blocks }),
      )
      const { format, key } = answer
      return { format, key, items: itemsOf(items, verdicts, answer) }
    },
  )
}

/** Refuses what no schema says: a block that is not of its format's length, and an id that names two items. */
function assertItems(items: readonly { readonly id: string; readonly pinBlock: string }[], hexDigits: number): void {
  const ids = new Set<string>()
  for (const { id, pinBlock } of items) {
    ids.add(id)
    if (pinBlock.length !== hexDigits) throw new ServiceError('ERR_REQUEST_INVALID')
  }
  if (ids.size !== items.length) throw new ServiceError('ERR_REQUEST_INVALID')
}

function itemsOf(
  items: readonly { readonly id: string }[],
  verdicts: readonly ItemVerdict[],
  { packed }: AnswerOf<'translatePinBlocks'>,
) {
  const hex = encodeHex(packed)
  const hexDigits = hex.length / items.length
  return items.map(({ id }, i) => {
    const verdict = verdicts[i] ?? 'limited'
    return verdict === 'translated'
      ? { id, pinBlock: hex.slice(i * hexDigits, (i + 1) * hexDigits) }
      : { id, code: ITEM_CODES[verdict] }
  })
}
