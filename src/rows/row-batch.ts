/**
 * The rows of one stretch of a file, by their places in its bytes: no object, string or view a row, because a file has
 * millions of them.
 */
import { blockBytesOf } from '../bridge/packed-blocks.ts'
import { PAN_BYTES } from '../pan.ts'
import type { RequestOf, Zone } from '../bridge/contract.ts'

/** What a PRW is made of beside PAN and PIN, as a translatePinBlocks request carries it. */
export type PrwRow = NonNullable<RequestOf<'translatePinBlocks'>['prw']>['cards'][number]

/** The most bytes of a line, its end left out; a longer one is no row. */
export const MAX_LINE_BYTES = 64 * 1024

/** What a line is: an item, one that is carried along, or the reason why it is rejected. */
export const FATE = {
  item: 0,
  header: 1,
  carried: 2,
  rowMalformed: 3,
  panInvalid: 4,
  pinBlockMalformed: 5,
  idDuplicate: 6,
  // What only a vault can tell.
  pinBlockInvalid: 7,
  cardDataInvalid: 8,
} as const

/** A set of ids: whoever reads rows puts each one in. */
export interface IdSet {
  /** Adds the id that stands in `bytes` from `from` to `to`; returns false if it was there. */
  add(bytes: Uint8Array, from: number, to: number): boolean
  /** A new stretch of rows begins. */
  startStretch(): void
}

/**
 * The lines of one stretch, and those of them that are items: rows with a PAN and a PIN block that can be asked for.
 *
 * Places are offsets in `bytes`. The lines follow one another, and `lineAt[lines]` is the end of the last one.
 */
export class RowBatch {
  readonly capacity: number
  readonly blockBytes: number
  /** Room for the lines, and for one byte more. */
  readonly bytes: Buffer
  lines = 0
  readonly lineAt: Int32Array
  readonly fate: Uint8Array
  /** Where a line's id stands, as it is spelled, with its quotes; nothing for a malformed line. */
  readonly idAt: Int32Array
  readonly idEnd: Int32Array
  /** Where a line's PAN stands. */
  readonly panAt: Int32Array
  readonly panEnd: Int32Array
  items = 0
  readonly lineOfItem: Int32Array
  /** Where an item's PIN block stands: 2 × `blockBytes` hex digits. */
  readonly blockAt: Int32Array
  /** Where a line ends but for its line end, or its last brace: what a row gains is put there. */
  readonly tailAt: Int32Array
  /** One an item, if PRWs are asked for. */
  readonly cards: PrwRow[] = []
  readonly #packed: Buffer

  /** @param bytes - how many bytes of lines it holds at most. */
  constructor(format: Zone['format'], capacity: number, bytes: number) {
    this.capacity = capacity
    this.blockBytes = blockBytesOf(format)
    this.bytes = Buffer.allocUnsafeSlow(bytes + 1)
    this.#packed = Buffer.allocUnsafeSlow(capacity * (PAN_BYTES + this.blockBytes))
    this.lineAt = new Int32Array(capacity + 1)
    this.fate = new Uint8Array(capacity)
    this.idAt = new Int32Array(capacity)
    this.idEnd = new Int32Array(capacity)
    this.panAt = new Int32Array(capacity)
    this.panEnd = new Int32Array(capacity)
    this.lineOfItem = new Int32Array(capacity)
    this.blockAt = new Int32Array(capacity)
    this.tailAt = new Int32Array(capacity)
  }

  /** Forgets all lines. */
  clear(): void {
    this.lines = 0
    this.items = 0
    this.cards.length = 0
    this.lineAt[0] = 0
  }

  isFull(): boolean {
    return this.lines === this.capacity
  }

  /** Takes a line that is no row, or one that is only carried along. */
  addLine(fate: number, end: number): void {
    const line = this.lines++
    this.fate[line] = fate
    this.idAt[line] = 0
    this.idEnd[line] = 0
    this.panAt[line] = 0
    this.panEnd[line] = 0
    this.tailAt[line] = end
    this.lineAt[this.lines] = end
  }

  /** Takes the line that names the columns. */
  addHeader(tailAt: number, end: number): void {
    this.addLine(FATE.header, end)
    this.tailAt[this.lines - 1] = tailAt
  }

  /**
   * Takes a well-formed row; it becomes an item if its PAN is one, its PIN block has the format's length and its id is new.
   *
   * @param isNew - whether its id has not been seen before.
   */
  addRow(row: RowPlaces, isNew: boolean): void {
    const { bytes, items } = this
    const line = this.lines++
    this.idAt[line] = row.idAt
    this.idEnd[line] = row.idEnd
    this.panAt[line] = row.panAt
    this.panEnd[line] = row.panEnd
    this.tailAt[line] = row.tailAt
    this.lineAt[this.lines] = row.end
    let fate: number = FATE.item
    if (!packPan(bytes, row.panAt, row.panEnd, this.#packed, items * PAN_BYTES)) fate = FATE.panInvalid
    else if (!packBlock(bytes, row.blockAt, row.blockEnd, this.#packed, this.#blockPlace(items), this.blockBytes)) {
      fate = FATE.pinBlockMalformed
    } else if (!isNew) fate = FATE.idDuplicate
    this.fate[line] = fate
    if (fate !== FATE.item) return
    this.lineOfItem[items] = line
    this.blockAt[items] = row.blockAt
    this.items = items + 1
  }

  /** The items as a translatePinBlocks request carries them; good until the next `clear`. */
  packed(): Buffer {
    const { items, capacity } = this
    const from = this.#blockPlace(0)
    if (items < capacity) this.#packed.copyWithin(items * PAN_BYTES, from, from + items * this.blockBytes)
    return this.#packed.subarray(0, items * (PAN_BYTES + this.blockBytes))
  }

  #blockPlace(item: number): number {
    return this.capacity * PAN_BYTES + item * this.blockBytes
  }
}

/** The places of a well-formed row; one object that every row passes through. */
export interface RowPlaces {
  idAt: number
  idEnd: number
  panAt: number
  panEnd: number
  blockAt: number
  blockEnd: number
  tailAt: number
  /** The end of the line, its line end included. */
  end: number
}

const NOT_A_DIGIT = 0x80
const HEX_DIGITS = new Uint8Array(256).fill(NOT_A_DIGIT)
for (let value = 0; value < 16; value++) {
  for (const digit of [value.toString(16), value.toString(16).toUpperCase()]) HEX_DIGITS[digit.charCodeAt(0)] = value
}

const MIN_PAN_DIGITS = 12
const MAX_PAN_DIGITS = 19
const ZERO = 0x30

/** Packs the digits of a PAN (bridge/packed-blocks.ts); false unless there are 12–19 and the first is not 0. */
function packPan(bytes: Uint8Array, from: number, to: number, target: Uint8Array, place: number): boolean {
  const digits = to - from
  if (digits < MIN_PAN_DIGITS || digits > MAX_PAN_DIGITS || bytes[from] === ZERO) return false
  // Negative as soon as one byte is none of the ten digits.
  let range = 0
  let at = place + PAN_BYTES - 1
  let i = to - 1
  for (; i > from; i -= 2, at--) {
    const low = bytes[i]! - ZERO
    const high = bytes[i - 1]! - ZERO
    range |= low | (9 - low) | high | (9 - high)
    target[at] = (high << 4) | low
  }
  if (i === from) {
    const low = bytes[i]! - ZERO
    range |= low | (9 - low)
    target[at--] = low
  }
  for (; at >= place; at--) target[at] = 0
  return range >= 0
}

/** Packs the hex digits of a PIN block of `count` bytes; false if there are more or fewer, or one is none. */
function packBlock(
  bytes: Uint8Array,
  from: number,
  to: number,
  target: Uint8Array,
  place: number,
  count: number,
): boolean {
  if (to - from !== 2 * count) return false
  let bad = 0
  for (let i = 0, at = from; i < count; i++, at += 2) {
    const high = HEX_DIGITS[bytes[at]!]!
    const low = HEX_DIGITS[bytes[at + 1]!]!
    bad |= high | low
    target[place + i] = (high << 4) | low
  }
  return (bad & NOT_A_DIGIT) === 0
}
