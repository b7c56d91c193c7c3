/**
 * Translations without an HSM: bytes of the contract's layout, and a vault of the test whose answer to an item depends on
 * its PAN, its block and its keys, and on nothing else, so that whoever asked can tell its own answer from every other.
 */
import { randomBytes } from 'node:crypto'
import type { AnswerOf, RequestOf, Zone } from '../../../src/bridge/contract.ts'
import { ServiceError } from '../../../src/errors.ts'
import type { Answer, FakeVault, Message } from './pool-harness.ts'

/** The request of a translation. */
export type Translation = RequestOf<'translatePinBlocks'>
/** Its answer. */
export type Translated = AnswerOf<'translatePinBlocks'>

const PAN_BYTES = 10
const blockBytes = ({ format }: Zone) => (format === 'ISO-4' ? 16 : 8)

/** One item: a packed PAN and an enciphered block. */
interface Item {
  readonly pan: Buffer
  readonly block: Buffer
}

/** A pair of keys in ISO format 0, unless told otherwise. */
export const pair = (from = 'in', to = 'out', fromFormat = 'ISO-0', toFormat = 'ISO-0') =>
  ({ from: { key: from, format: fromFormat }, to: { key: to, format: toFormat } }) as Pick<Translation, 'from' | 'to'>

/** A translation of `items` random items; `members` are what else its body holds. */
export function translation(
  items = 1,
  { from, to, ...members }: Partial<Translation> & Pick<Translation, 'from' | 'to'> = pair(),
): Translation {
  const packed = randomBytes(items * (PAN_BYTES + blockBytes(from)))
  return { from, to, items, packed, ...members }
}

/** The items of a request, read by the words of the layout: all PANs, then all blocks. */
function itemsOf(packed: Buffer, items: number): Item[] {
  const width = packed.length / items - PAN_BYTES
  return Array.from({ length: items }, (_, i) => ({
    pan: packed.subarray(i * PAN_BYTES, (i + 1) * PAN_BYTES),
    block: packed.subarray(items * PAN_BYTES + i * width, items * PAN_BYTES + (i + 1) * width),
  }))
}

/** What becomes of one item: its block out, or undefined if the block is invalid, which one in eight is. */
function translated({ pan, block }: Item, { from, to }: Pick<Translation, 'from' | 'to'>): Buffer | undefined {
  if (block[0]! % 8 === 0) return undefined
  const salt = Buffer.from(`${from.key}${from.format}>${to.key}${to.format}`.padEnd(16, '.'))
  const out = Buffer.alloc(blockBytes(to))
  for (let i = 0; i < out.length; i++) {
    out[i] = block[i % block.length]! ^ (31 * pan[i % PAN_BYTES]! + (i < block.length ? 0 : 7)) ^ salt[i % salt.length]!
  }
  return out
}

/** The answer that a request must get, computed from that request alone. */
export function answerTo(body: Translation): Translated {
  const rejected: number[] = []
  const blocks = itemsOf(body.packed, body.items).map((item, i) => {
    const block = translated(item, body)
    if (block === undefined) rejected.push(i)
    return block ?? Buffer.alloc(blockBytes(body.to))
  })
  const key = { id: body.to.key, version: 1, kcv: 'A1B2C3' }
  return { format: body.to.format, key, rejected, packed: Buffer.concat(blocks) }
}

/** Answers a message as a vault would. */
export function answer({ id, body, packed }: Message, vault: FakeVault): void {
  const { packed: blocks, ...json } = answerTo({ ...body, packed })
  vault.channel.send({ id, answer: json }, blocks)
}

/** A vault that translates, and echoes a generateMac. */
export const serveAll: Answer = (message, vault) => {
  if (message.operation === 'translatePinBlocks') answer(message, vault)
  else vault.channel.send({ id: message.id, answer: { mac: message.body.key, profile: 'p', key: {} } })
}

/** An answer, or the code of the error. */
export function settled<T>(promise: Promise<T>): Promise<T | string> {
  return promise.catch((error: unknown) => (error instanceof ServiceError ? error.code : String(error)))
}
