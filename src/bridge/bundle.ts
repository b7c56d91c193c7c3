/**
 * What goes to a vault in one message: one call, or all translations for one pair of keys that waited together.
 *
 * Nobody waits on purpose. While every vault is busy with a lane, the calls of that lane gather in one bundle, and the
 * bundle goes along whole when a vault falls free: one message, one HSM call to decipher and one to encipher.
 */
import { ServiceError, type ErrorCode, type ErrorDetail } from '../errors.ts'
import { PAN_BYTES } from '../pan.ts'
import { MAX_BATCH_ITEMS, type AnswerOf, type Operation, type RequestOf } from './contract.ts'
import { blockBytesOf } from './packed-blocks.ts'

type Translation = RequestOf<'translatePinBlocks'>
type Translated = AnswerOf<'translatePinBlocks'>

/** One call and whoever waits for it. */
export interface Call {
  readonly operation: Operation
  readonly body: RequestOf<Operation>
  readonly resolve: (answer: AnswerOf<Operation>) => void
  readonly reject: (error: ServiceError) => void
  /** Ends the wait in the queue. */
  deadline: NodeJS.Timeout
}

/** The calls of one message, in the order of their items. */
export interface Bundle {
  /** What its calls have in common; undefined for a call that goes alone. */
  readonly lane: string | undefined
  readonly calls: Set<Call>
  /** The PIN blocks of its calls; 1 for a call of another operation. */
  items: number
}

/**
 * The lane of a call: translations of one pair of keys; undefined if it shares its message with no other.
 *
 * All blocks of a lane have one length, or a block of another length would move its neighbours' bytes.
 */
export function laneOf({ operation, body }: Pick<Call, 'operation' | 'body'>): string | undefined {
  if (operation !== 'translatePinBlocks') return undefined
  const { from, to, items, checkOnly, prw, packed } = body as Translation
  // Ids and formats hold no space.
  return checkOnly || prw ? undefined : [from.key, from.format, to.key, to.format, packed.length / items].join(' ')
}

/** Whether a call still fits into a bundle of its lane. */
export function hasRoom({ items }: Bundle, call: Call): boolean {
  return items + itemsOf(call) <= MAX_BATCH_ITEMS
}

/** Puts a call at the end of a bundle. */
export function addCall(bundle: Bundle, call: Call): void {
  bundle.calls.add(call)
  bundle.items += itemsOf(call)
}

/** Takes a call out of a bundle that has not gone yet. */
export function removeCall(bundle: Bundle, call: Call): void {
  bundle.calls.delete(call)
  bundle.items -= itemsOf(call)
}

/** The one request that stands for a bundle. */
export function requestOf({ calls, items }: Bundle): Pick<Call, 'operation' | 'body'> {
  const [first] = calls
  if (first === undefined) throw new RangeError('a bundle of no calls')
  if (calls.size === 1) return first
  const bodies = [...calls].map(({ body }) => body as Translation)
  const panBytes = (body: Translation) => body.items * PAN_BYTES
  const packed = Buffer.concat([
    ...bodies.map((body) => body.packed.subarray(0, panBytes(body))),
    ...bodies.map((body) => body.packed.subarray(panBytes(body))),
  ])
  const body: Translation = { ...(first.body as Translation), items, packed }
  return { operation: first.operation, body }
}

/** Gives each call of a bundle its part of the answer; one that does not fit the request is no answer: ERR_INTERNAL. */
export function resolveBundle(bundle: Bundle, answer: AnswerOf<Operation>, packed: Buffer): void {
  const [first] = bundle.calls
  if (first?.operation !== 'translatePinBlocks') {
    first?.resolve(answer)
    return
  }
  const { rejected, ...common } = answer as Translated
  const { to, prw } = first.body as Translation
  const blockBytes = blockBytesOf(to.format)
  if (
    packed.length !== bundle.items * blockBytes ||
    !arePlaces(rejected, bundle.items) ||
    (prw !== undefined && common.prws?.length !== bundle.items)
  ) {
    rejectBundle(bundle, 'ERR_INTERNAL')
    return
  }
  let start = 0
  let nextRejected = 0
  for (const call of bundle.calls) {
    const end = start + itemsOf(call)
    const own: number[] = []
    for (; nextRejected < rejected.length && rejected[nextRejected]! < end; nextRejected++) {
      own.push(rejected[nextRejected]! - start)
    }
    call.resolve({ ...common, rejected: own, packed: packed.subarray(start * blockBytes, end * blockBytes) })
    start = end
  }
}

/** Answers every call of a bundle with one code. */
export function rejectBundle({ calls }: Bundle, code: ErrorCode, detail?: ErrorDetail): void {
  for (const call of calls) {
    clearTimeout(call.deadline)
    call.reject(new ServiceError(code, detail))
  }
}

function itemsOf({ operation, body }: Call): number {
  return operation === 'translatePinBlocks' ? (body as Translation).items : 1
}

/** Whether these are places of `items` items, in ascending order. */
function arePlaces(rejected: unknown, items: number): boolean {
  if (!Array.isArray(rejected)) return false
  let least = 0
  for (const place of rejected as unknown[]) {
    if (!Number.isInteger(place) || (place as number) < least || (place as number) >= items) return false
    least = (place as number) + 1
  }
  return true
}
