/** The answer to a batch, written in bytes: each id goes back as it was spelled. */
import type { AnswerOf } from '../../bridge/contract.ts'
import type { ErrorCode } from '../../errors.ts'
import type { RowBatch } from '../../rows/row-batch.ts'
import type { ItemVerdict } from '../guess-limits.ts'
import type { BatchBody } from './batch-body.ts'

/** What is said of an item that was not translated; a limit tells nothing of the block. */
export const ITEM_CODES = {
  rejected: 'ERR_PIN_BLOCK_INVALID',
  limited: 'ERR_RATE_LIMITED',
  'pan-variation': 'ERR_RATE_LIMITED',
} as const satisfies Record<Exclude<ItemVerdict, 'translated'>, ErrorCode>

const HEADER = 'id,pinBlock,code\n'
const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1')

/** What stands around an item's id, and around its block or its code. */
const AROUND = {
  items: {
    id: ascii('{"id":"'),
    block: [ascii('","pinBlock":"'), ascii('"},')],
    code: [ascii('","code":"'), ascii('"},')],
  },
  rows: { id: ascii(''), block: [ascii(','), ascii(',\n')], code: [ascii(',,'), ascii('\n')] },
} as const satisfies Record<BatchBody['form'], object>

/** As many bytes of an item are neither its id nor its block, at the most. */
const MOST_AROUND = 64

/** Writes `{ format, key, items }` or `{ format, key, rows }`: an item for each of the request's, in its order. */
export function writeBatchAnswer(
  { form, batch }: Pick<BatchBody, 'form' | 'batch'>,
  verdicts: readonly ItemVerdict[],
  { format, key, packed }: AnswerOf<'translatePinBlocks'>,
): Buffer {
  const { id, version, kcv } = key
  const common = JSON.stringify({ format, key: { id, version, kcv } }).slice(0, -1)
  const items = writeItems(AROUND[form], batch, verdicts, packed)
  if (form === 'rows') return Buffer.from(`${common},"rows":${JSON.stringify(HEADER + items.toString())}}`)
  // The last item is followed by a comma, as each is.
  return Buffer.concat([ascii(`${common},"items":[`), items.subarray(0, -1), ascii(']}')])
}

function writeItems(
  around: (typeof AROUND)[BatchBody['form']],
  batch: RowBatch,
  verdicts: readonly ItemVerdict[],
  packed: Buffer,
): Buffer {
  const { items, bytes, lineOfItem, idAt, idEnd } = batch
  const hexDigits = (2 * packed.length) / items
  const hex = ascii(packed.toString('hex').toUpperCase())
  const out = Buffer.allocUnsafe(bytes.length + items * (hexDigits + MOST_AROUND))
  let at = 0
  const put = (source: Uint8Array, from: number, to: number): void => {
    for (let i = from; i < to; i++) out[at++] = source[i]!
  }
  for (let i = 0; i < items; i++) {
    const line = lineOfItem[i]!
    const verdict = verdicts[i] ?? 'limited'
    const [before, behind] = verdict === 'translated' ? around.block : around.code
    put(around.id, 0, around.id.length)
    put(bytes, idAt[line]!, idEnd[line]!)
    put(before, 0, before.length)
    if (verdict === 'translated') put(hex, i * hexDigits, (i + 1) * hexDigits)
    else put(CODE_BYTES[verdict], 0, CODE_BYTES[verdict].length)
    put(behind, 0, behind.length)
  }
  return out.subarray(0, at)
}

const CODE_BYTES = {
  rejected: ascii(ITEM_CODES.rejected),
  limited: ascii(ITEM_CODES.limited),
  'pan-variation': ascii(ITEM_CODES['pan-variation']),
}
