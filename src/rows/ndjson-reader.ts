/**
 * Reads NDJSON rows over bytes: one object a line (RFC 8259) with the members id, pan and pinBlock, and any others.
 *
 * Most rows are flat objects of plain strings and whole numbers, and are read in one pass here. Whatever is more, such as
 * an escape, a character that is not ASCII, or a value inside a value, is left to the strict reader of json-bytes.ts, which
 * refuses what it refuses everywhere: repeated members, invalid UTF-8, `__proto__`.
 */
import { readMembers, type JsonMember } from '../json-bytes.ts'
import { FATE, MAX_LINE_BYTES, type PrwRow, type RowBatch, type RowPlaces } from './row-batch.ts'
import { cardField, type ReaderSettings, type RowReader } from './row-reader.ts'

const TAB = 0x09
const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const SPACE = 0x20
const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const BACKSLASH = 0x5c
const LETTER_A = 0x61
const LETTER_D = 0x64
const LETTER_I = 0x69
const LETTER_N = 0x6e
const LETTER_P = 0x70
const BRACE_OPEN = 0x7b
const BRACE_CLOSE = 0x7d
const PIN_BLOCK = Buffer.from('pinBlock')
const UNDERSCORE = 0x5f

/** Visible ASCII and space, without quotation mark and backslash: what a plain string consists of. */
const IS_PLAIN = new Uint8Array(256).fill(1, SPACE, 0x7f)
IS_PLAIN[QUOTE] = 0
IS_PLAIN[BACKSLASH] = 0

/** White space of JSON without the line feed, which ends the line. */
const IS_SPACE = new Uint8Array(256)
for (const byte of [SPACE, TAB, CARRIAGE_RETURN]) IS_SPACE[byte] = 1

const INTEGER = /^-?(?:0|[1-9][0-9]*)$/
/** The most members beside the three that the quick way reads. */
const MAX_OTHERS = 16

export class NdjsonReader implements RowReader {
  readonly kind = 'ndjson'
  readonly #settings: ReaderSettings
  #markBytes: number
  // The names of a row's other members.
  readonly #nameAt = new Int32Array(MAX_OTHERS)
  readonly #nameEnd = new Int32Array(MAX_OTHERS)
  readonly #row: RowPlaces = { idAt: 0, idEnd: 0, panAt: 0, panEnd: 0, blockAt: 0, blockEnd: 0, tailAt: 0, end: 0 }

  /** @param markBytes - the length of the byte order mark before the first line. */
  constructor(settings: ReaderSettings, markBytes: number) {
    this.#settings = settings
    this.#markBytes = markBytes
  }

  read(batch: RowBatch, from: number, to: number, stopAt: number, isLast: boolean): number {
    const { bytes } = batch
    // Every scan ends here at the latest.
    bytes[to] = LINE_FEED
    const isPlainRow = this.#settings.cardFields === undefined
    let at = from
    while (at < to && at < stopAt && !batch.isFull()) {
      const start = at + this.#markBytes
      const quick = isPlainRow ? this.#scanRow(bytes, start) : -1
      let lineFeed = quick
      if (quick < 0) lineFeed = bytes.indexOf(LINE_FEED, start)
      if (lineFeed === to && !isLast) return at
      const end = Math.min(lineFeed + 1, to)
      const isBlank = quick < 0 && isBlankLine(bytes, start, lineFeed)
      // Whether a blank line is the last one shows with what follows.
      if (isBlank && end === to && !isLast) return at
      if (isBlank && end === to) batch.addLine(FATE.carried, end)
      else if (lineFeed - start > MAX_LINE_BYTES) batch.addLine(FATE.rowMalformed, end)
      else if (quick < 0) this.#readRow(batch, start, lineFeed, end)
      else {
        this.#row.end = end
        const { idAt, idEnd } = this.#row
        const isText = bytes[idAt] === QUOTE
        batch.addRow(this.#row, this.#settings.ids.add(bytes, isText ? idAt + 1 : idAt, isText ? idEnd - 1 : idEnd))
      }
      this.#markBytes = 0
      at = end
    }
    return at
  }

  rejectLongLine(batch: RowBatch, place: number): void {
    this.#markBytes = 0
    batch.addLine(FATE.rowMalformed, place)
  }

  /**
   * Scans a plain row into `#row`; returns the place of its line feed, or -1 for a row that is more than that, malformed,
   * or not there as a whole.
   */
  #scanRow(bytes: Buffer, start: number): number {
    const row = this.#row
    row.idEnd = row.panEnd = row.blockEnd = 0
    let others = 0
    let at = start
    while (IS_SPACE[bytes[at]!] === 1) at++
    if (bytes[at] !== BRACE_OPEN) return -1
    do {
      at++
      while (IS_SPACE[bytes[at]!] === 1) at++
      if (bytes[at] !== QUOTE) return -1
      const nameAt = ++at
      while (IS_PLAIN[bytes[at]!] === 1) at++
      const nameEnd = at
      if (bytes[at++] !== QUOTE) return -1
      while (IS_SPACE[bytes[at]!] === 1) at++
      if (bytes[at++] !== COLON) return -1
      while (IS_SPACE[bytes[at]!] === 1) at++
      const valueAt = at
      const isText = bytes[at] === QUOTE
      if (isText) {
        at++
        while (IS_PLAIN[bytes[at]!] === 1) at++
        if (bytes[at++] !== QUOTE) return -1
      } else {
        if (bytes[at] === MINUS) at++
        const digitsAt = at
        while (bytes[at]! >= ZERO && bytes[at]! <= NINE) at++
        if (at === digitsAt || (bytes[digitsAt] === ZERO && at > digitsAt + 1)) return -1
      }
      const length = nameEnd - nameAt
      if (length === 2 && bytes[nameAt] === LETTER_I && bytes[nameAt + 1] === LETTER_D) {
        // An id of no characters is none.
        if (row.idEnd !== 0 || (isText && at === valueAt + 2)) return -1
        row.idAt = valueAt
        row.idEnd = at
      } else if (
        length === 3 &&
        bytes[nameAt] === LETTER_P &&
        bytes[nameAt + 1] === LETTER_A &&
        bytes[nameAt + 2] === LETTER_N
      ) {
        if (row.panEnd !== 0 || !isText) return -1
        row.panAt = valueAt + 1
        row.panEnd = at - 1
      } else if (length === 8 && isPinBlock(bytes, nameAt)) {
        if (row.blockEnd !== 0 || !isText) return -1
        row.blockAt = valueAt + 1
        row.blockEnd = at - 1
      } else {
        if (others === MAX_OTHERS || bytes[nameAt] === UNDERSCORE || this.#isRepeated(bytes, nameAt, nameEnd, others)) {
          return -1
        }
        this.#nameAt[others] = nameAt
        this.#nameEnd[others] = nameEnd
        others++
      }
      while (IS_SPACE[bytes[at]!] === 1) at++
    } while (bytes[at] === COMMA)
    if (bytes[at] !== BRACE_CLOSE || row.idEnd === 0 || row.panEnd === 0 || row.blockEnd === 0) return -1
    row.tailAt = at
    at++
    while (IS_SPACE[bytes[at]!] === 1) at++
    return bytes[at] === LINE_FEED ? at : -1
  }

  #isRepeated(bytes: Buffer, from: number, to: number, others: number): boolean {
    for (let i = 0; i < others; i++) {
      const other = this.#nameAt[i]!
      const length = this.#nameEnd[i]! - other
      if (length !== to - from) continue
      let same = 0
      while (same < length && bytes[other + same] === bytes[from + same]) same++
      if (same === length) return true
    }
    return false
  }

  /** Takes a line for a row by the strict reader. */
  #readRow(batch: RowBatch, start: number, lineFeed: number, end: number): void {
    const { bytes } = batch
    const members = readMembers(bytes.subarray(start, lineFeed))
    const id = members?.get('id')
    const pan = members?.get('pan')
    const block = members?.get('pinBlock')
    const text = id && idText(id)
    const isTaken = this.#settings.newNames.some((name) => members?.has(name))
    if (!members || !text || pan?.kind !== 'string' || block?.kind !== 'string' || isTaken) {
      batch.addLine(FATE.rowMalformed, end)
      return
    }
    const row = this.#row
    const quotes = id.kind === 'string' ? 1 : 0
    row.idAt = placeIn(bytes, id) - quotes
    row.idEnd = row.idAt + id.bytes.length + 2 * quotes
    row.panAt = placeIn(bytes, pan)
    row.panEnd = row.panAt + pan.bytes.length
    row.blockAt = placeIn(bytes, block)
    row.blockEnd = row.blockAt + block.bytes.length
    row.tailAt = bytes.lastIndexOf(BRACE_CLOSE, lineFeed - 1)
    row.end = end
    const { items } = batch
    batch.addRow(row, this.#settings.ids.add(text, 0, text.length))
    if (this.#settings.cardFields !== undefined && batch.items > items) batch.cards.push(this.#card(members))
  }

  #card(members: ReadonlyMap<string, JsonMember>): PrwRow {
    const card: PrwRow = {}
    for (const field of this.#settings.cardFields ?? []) {
      const member = members.get(field)
      const text = member?.kind === 'string' ? cardField(field, member.bytes.toString('latin1')) : undefined
      if (text !== undefined) card[field] = text
    }
    return card
  }
}

/** The text of an id, which is a string or a whole number; undefined if it is neither, or empty. */
function idText({ kind, bytes, escaped }: JsonMember): Buffer | undefined {
  if (kind === 'number') return INTEGER.test(bytes.toString('latin1')) ? bytes : undefined
  if (kind !== 'string' || bytes.length === 0) return undefined
  return escaped ? Buffer.from(JSON.parse(`"${bytes.toString('utf8')}"`) as string) : bytes
}

/** Where a member's bytes stand in the bytes that it is a view into. */
function placeIn(bytes: Buffer, { bytes: { byteOffset } }: JsonMember): number {
  return byteOffset - bytes.byteOffset
}

function isPinBlock(bytes: Buffer, at: number): boolean {
  for (let i = 0; i < PIN_BLOCK.length; i++) if (bytes[at + i] !== PIN_BLOCK[i]) return false
  return true
}

function isBlankLine(bytes: Buffer, from: number, to: number): boolean {
  let at = from
  while (IS_SPACE[bytes[at]!] === 1) at++
  return at === to
}
