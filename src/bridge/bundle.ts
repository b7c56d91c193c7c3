/**
 * What goes to a vault in one message: one call, all translations for one pair of keys that waited together, or a part of
 * a long translation.
 *
 * Nobody waits on purpose. While every vault is busy with a lane, the calls of that lane gather, and go along together when
 * a vault falls free: one message, one HSM call to decipher and one to encipher.
 */
import type { ServiceError } from '../errors.ts'
import { PAN_BYTES } from '../pan.ts'
import type { CallTrace } from './call-trace.ts'
import type { AnswerOf, OnGiven, Operation, RequestOf } from './contract.ts'
import { blockBytesOf } from './packed-blocks.ts'

type Translation = RequestOf<'translatePinBlocks'>
type Translated = AnswerOf<'translatePinBlocks'>

/** The other operations with bytes behind the JSON of their answers. */
const PACKED_ANSWERS: ReadonlySet<Operation> = new Set(['deriveHashKey', 'openData'])

/** One call and whoever waits for it. */
export interface Call {
  readonly operation: Operation
  readonly body: RequestOf<Operation>
  readonly resolve: (answer: AnswerOf<Operation>) => void
  readonly reject: (error: ServiceError) => void
  readonly onGiven?: OnGiven | undefined
  readonly trace?: CallTrace | undefined
  /** The PIN blocks of a translation; 1 for another operation. */
  readonly items: number
  /** When it came. */
  readonly queuedMs: number
  /** Since when it has waited: since it came, or since a part of it went. */
  waitingSinceMs: number
  /** How many of its items have gone to a vault. */
  given: number
  /** Where the rest of it waits; undefined once all of it has gone. */
  queue: Queue | undefined
  /** Ends the wait in the queue. */
  deadline: NodeJS.Timeout | undefined
  /** What has come back of a call that went in parts. */
  parts?: AnsweredParts | undefined
  /** Its parts came back under different versions of a key: it goes once more, and the newest vault alone is given it. */
  isAgain?: boolean
  /** Has it go once more. */
  readonly again: () => void
}

/** Calls that wait, in their order: those of one lane that may go together, or one that goes alone. */
export interface Queue {
  readonly lane: Lane | undefined
  /** Whether what waits here goes to the newest vault alone. */
  readonly isAgain?: boolean
  readonly calls: Set<Call>
}

/** Translations of one pair of keys and one kind. */
export interface Lane {
  readonly name: string
  /** Whether its calls may share a message. */
  readonly isShared: boolean
  /** How many items go in its first message, while nobody knows how long one takes. */
  readonly firstItems: number
}

/** What a message carries of one call: its items from `start` to `end`. */
export interface Part {
  readonly call: Call
  readonly start: number
  readonly end: number
}

/** The parts of one message, in the order of their items. */
export interface Bundle {
  readonly lane: Lane | undefined
  readonly parts: readonly Part[]
  readonly items: number
}

interface AnsweredParts {
  /** The versions of the keys that the first of them was made with. */
  readonly versions: string
  /** Whether another was made with others, as it is while vaults are being replaced. */
  areMixed: boolean
  readonly rejected: number[]
  readonly prws: NonNullable<Translated['prws']>
  readonly packed: Buffer
  itemsMissing: number
}

/** A row whose PRW is made costs calls of its own; blocks alone go to the HSM all at once. */
const FIRST_ITEMS_WITH_PRW = 16
const FIRST_ITEMS = 64

/**
 * The lane of a call; undefined for what is no translation.
 *
 * All blocks of a lane have one length, or a block of another length would move its neighbours' bytes.
 */
export function laneOf({ operation, body, isAgain }: Pick<Call, 'operation' | 'body' | 'isAgain'>): Lane | undefined {
  if (operation !== 'translatePinBlocks') return undefined
  const { from, to, items, checkOnly, prw, packed } = body as Translation
  const kind = [checkOnly && 'check', prw && `prw ${prw.key}`].filter(Boolean)
  // Ids and formats hold no space. The active version is not known here: whoever names it shares with others that do.
  const zones = [from.key, from.format, from.version, to.key, to.format, to.version]
  const name = [...zones, packed.length / items, ...kind].join(' ')
  const isShared = kind.length === 0 && isAgain !== true
  return { name, isShared, firstItems: prw ? FIRST_ITEMS_WITH_PRW : FIRST_ITEMS }
}

/** How many items a call has. */
export function itemsOf({ operation, body }: Pick<Call, 'operation' | 'body'>): number {
  return operation === 'translatePinBlocks' ? (body as Translation).items : 1
}

/**
 * Takes from a queue what goes next: as many whole calls as fit into one message, or a part of one that fits into none.
 *
 * What is left of a call goes behind the others of its queue, so that a long one does not hold them up.
 */
export function takeBundle({ lane, calls }: Queue, maxItems: number): Bundle {
  const parts: Part[] = []
  let items = 0
  for (const call of calls) {
    const rest = call.items - call.given
    if (items > 0 && items + rest > maxItems) break
    calls.delete(call)
    const start = call.given
    call.given += Math.min(rest, maxItems)
    items += call.given - start
    parts.push({ call, start, end: call.given })
    if (call.given < call.items) {
      calls.add(call)
      break
    }
  }
  return { lane, parts, items }
}

/** The one request that stands for a bundle. */
export function requestOf({ parts, items }: Bundle): Pick<Call, 'operation' | 'body'> {
  const [first] = parts
  if (first === undefined) throw new RangeError('a bundle of no calls')
  const { call, start, end } = first
  if (parts.length === 1 && end - start === call.items) return call
  const pans = ({ call, start, end }: Part) => packedOf(call).subarray(start * PAN_BYTES, end * PAN_BYTES)
  const blocks = ({ call, start, end }: Part) => {
    const pansEnd = call.items * PAN_BYTES
    const blockBytes = packedOf(call).length / call.items - PAN_BYTES
    return packedOf(call).subarray(pansEnd + start * blockBytes, pansEnd + end * blockBytes)
  }
  const translation = call.body as Translation
  const { prw } = translation
  const body: Translation = {
    ...translation,
    items,
    packed: joined([...parts.map(pans), ...parts.map(blocks)]),
    // Calls with PRWs share no message, so these are those of one part.
    ...(prw && { prw: { ...prw, cards: prw.cards.slice(start, end) } }),
  }
  return { operation: call.operation, body }
}

/** Joins bytes in memory of their own: the pool that Buffer.concat takes small ones from keeps what it once held. */
function joined(pieces: readonly Buffer[]): Buffer {
  const all = Buffer.alloc(pieces.reduce((bytes, piece) => bytes + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

/**
 * Gives each call of a bundle its part of the answer.
 *
 * @returns false if the answer does not fit the request, and so is none; then nobody was given anything.
 */
export function resolveBundle(bundle: Bundle, answer: AnswerOf<Operation>, packed: Buffer): boolean {
  const first = bundle.parts[0]?.call
  if (first?.operation !== 'translatePinBlocks') {
    first?.resolve(PACKED_ANSWERS.has(first.operation) ? { ...answer, packed } : answer)
    return true
  }
  const { rejected, prws, ...common } = answer as Translated
  const { to, prw } = first.body as Translation
  const blockBytes = blockBytesOf(to.format)
  if (
    packed.length !== bundle.items * blockBytes ||
    !arePlaces(rejected, bundle.items) ||
    (prw !== undefined && prws?.length !== bundle.items)
  ) {
    return false
  }
  let at = 0
  let nextRejected = 0
  for (const part of bundle.parts) {
    const end = at + part.end - part.start
    const own: number[] = []
    for (; nextRejected < rejected.length && rejected[nextRejected]! < end; nextRejected++) {
      own.push(rejected[nextRejected]! - at)
    }
    resolvePart(part, {
      ...common,
      rejected: own,
      ...(prws && { prws: prws.slice(at, end) }),
      packed: packed.subarray(at * blockBytes, end * blockBytes),
    })
    at = end
  }
  return true
}

/** Answers a call, or keeps the part until the last one is there; a call has one answer, and it names one version of a key. */
function resolvePart({ call, start, end }: Part, answer: Translated): void {
  if (end - start === call.items) {
    call.resolve(answer)
    return
  }
  const { rejected, prws, packed, ...common } = answer
  const blockBytes = packed.length / (end - start)
  const versions = versionsOf(answer)
  call.parts ??= {
    ...{ versions, areMixed: false, rejected: [], prws: [] },
    ...{ packed: Buffer.alloc(call.items * blockBytes), itemsMissing: call.items },
  }
  const whole = call.parts
  if (versions !== whole.versions) whole.areMixed = true
  // Parts come back in any order.
  packed.copy(whole.packed, start * blockBytes)
  for (const place of rejected) whole.rejected.push(start + place)
  prws?.forEach((prw, i) => (whole.prws[start + i] = prw))
  whole.itemsMissing -= end - start
  if (whole.itemsMissing > 0) return
  if (whole.areMixed) {
    call.again()
    return
  }
  whole.rejected.sort((a, b) => a - b)
  call.resolve({ ...common, rejected: whole.rejected, ...(prws && { prws: whole.prws }), packed: whole.packed })
}

function versionsOf({ key, usedKeys = [] }: Translated): string {
  return [key, ...usedKeys].map(({ id, version }) => `${id} ${version}`).join(', ')
}

function packedOf({ body }: Call): Buffer {
  return (body as Translation).packed
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
