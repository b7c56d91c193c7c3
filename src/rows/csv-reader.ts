/**
 * Reads CSV rows (RFC 4180) over bytes: fields by commas, quotes around a field and doubled inside it, CRLF or LF at the end.
 *
 * Narrower than the RFC in one thing: a line break inside a field is not read, so that a line is a row and a missing quote
 * costs one row and not the rest of the file. The first line may name the columns, in any case; without it they are id, pan, pinBlock.
 */
import { isUtf8 } from 'node:buffer'
import { FATE, MAX_LINE_BYTES, type PrwRow, type RowBatch, type RowPlaces } from './row-batch.ts'
import { cardField, hasHighBit, InputError, type CardField, type ReaderSettings, type RowReader } from './row-reader.ts'

const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const QUOTE = 0x22
const COMMA = 0x2c

const MAX_COLUMNS = 256
const NAMES = ['id', 'pan', 'pinBlock'] as const

/** The bytes that a field without quotes may consist of. */
const IS_PLAIN = new Uint8Array(256).fill(1)
for (const byte of [LINE_FEED, CARRIAGE_RETURN, QUOTE, COMMA]) IS_PLAIN[byte] = 0

/** Which columns there are. */
interface Columns {
  readonly count: number
  readonly id: number
  readonly pan: number
  readonly pinBlock: number
  readonly card: readonly (readonly [CardField, number])[]
}

export class CsvReader implements RowReader {
  readonly kind = 'csv'
  readonly #settings: ReaderSettings
  readonly #markBytes: number
  #columns: Columns | undefined
  // The fields of the line that was split last.
  readonly #from = new Int32Array(MAX_COLUMNS)
  readonly #to = new Int32Array(MAX_COLUMNS)
  #fields = 0
  #tailAt = 0
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
    let at = from
    while (at < to && at < stopAt && !batch.isFull()) {
      const start = this.#columns === undefined ? at + this.#markBytes : at
      const lineFeed = this.#split(bytes, start)
      if (lineFeed === to && !isLast) return at
      const end = Math.min(lineFeed + 1, to)
      const isBlank = this.#tailAt === start && (lineFeed < to || start === to)
      // Whether a blank line is the last one shows with what follows.
      if (isBlank && end === to && !isLast) return at
      if (this.#columns === undefined && this.#readHeader(batch, end)) at = end
      else {
        if (isBlank && end === to) batch.addLine(FATE.carried, end)
        else if (lineFeed - start > MAX_LINE_BYTES) batch.addLine(FATE.rowMalformed, end)
        else this.#readRow(batch, lineFeed === to, end)
        at = end
      }
    }
    return at
  }

  rejectLongLine(batch: RowBatch, place: number): void {
    this.#columns ??= this.#columnsWithoutHeader()
    batch.addLine(FATE.rowMalformed, place)
  }

  /** Splits the line that begins at `start`; returns the place of its line feed. No fields means that it is malformed. */
  #split(bytes: Buffer, start: number): number {
    const starts = this.#from
    const ends = this.#to
    let fields = 0
    let at = start
    for (;;) {
      let from = at
      let to: number
      if (bytes[at] === QUOTE) {
        from++
        at++
        while (bytes[at] !== LINE_FEED && (bytes[at] !== QUOTE || bytes[at + 1] === QUOTE)) {
          at += bytes[at] === QUOTE ? 2 : 1
        }
        to = at
        // At a line feed there is no closing quote.
        if (bytes[at] === LINE_FEED) return this.#malformed(bytes, at)
        at++
      } else {
        // Letters and digits are above the comma, and so is most of what a field consists of.
        while (bytes[at]! > COMMA || IS_PLAIN[bytes[at]!] === 1) at++
        to = at
      }
      if (fields === MAX_COLUMNS) return this.#malformed(bytes, at)
      starts[fields] = from
      ends[fields] = to
      fields++
      const byte = bytes[at]
      if (byte === COMMA) at++
      else if (byte === LINE_FEED || (byte === CARRIAGE_RETURN && bytes[at + 1] === LINE_FEED)) {
        this.#fields = fields
        this.#tailAt = at
        return byte === LINE_FEED ? at : at + 1
      } else return this.#malformed(bytes, at)
    }
  }

  #malformed(bytes: Buffer, from: number): number {
    let at = from
    while (bytes[at] !== LINE_FEED) at++
    this.#fields = 0
    this.#tailAt = at
    return at
  }

  /** Takes the line that was split for a row. */
  #readRow(batch: RowBatch, isWithoutLineFeed: boolean, end: number): void {
    const { bytes } = batch
    const columns = (this.#columns ??= this.#columnsWithoutHeader())
    const idAt = this.#from[columns.id]!
    const idEnd = this.#to[columns.id]!
    if (
      this.#fields !== columns.count ||
      idEnd === idAt ||
      // A carriage return without its line feed is no end of a line.
      (isWithoutLineFeed && this.#tailAt < end) ||
      (hasHighBit(bytes, idAt, idEnd) && !isUtf8(bytes.subarray(idAt, idEnd)))
    ) {
      batch.addLine(FATE.rowMalformed, end)
      return
    }
    const row = this.#row
    const isQuoted = bytes[idEnd] === QUOTE
    row.idAt = isQuoted ? idAt - 1 : idAt
    row.idEnd = isQuoted ? idEnd + 1 : idEnd
    row.panAt = this.#from[columns.pan]!
    row.panEnd = this.#to[columns.pan]!
    row.blockAt = this.#from[columns.pinBlock]!
    row.blockEnd = this.#to[columns.pinBlock]!
    row.tailAt = this.#tailAt
    row.end = end
    const isNew = isQuoted ? this.#addQuotedId(bytes, idAt, idEnd) : this.#settings.ids.add(bytes, idAt, idEnd)
    const { items } = batch
    batch.addRow(row, isNew)
    if (this.#settings.cardFields !== undefined && batch.items > items) batch.cards.push(this.#card(bytes, columns))
  }

  #addQuotedId(bytes: Buffer, from: number, to: number): boolean {
    const id = Buffer.from(bytes.toString('latin1', from, to).replaceAll('""', '"'), 'latin1')
    return this.#settings.ids.add(id, 0, id.length)
  }

  #card(bytes: Buffer, columns: Columns): PrwRow {
    const card: PrwRow = {}
    for (const [field, column] of columns.card) {
      const text = cardField(field, bytes.toString('latin1', this.#from[column], this.#to[column]))
      if (text !== undefined) card[field] = text
    }
    return card
  }

  /** Takes the first line for the names of the columns, if it names any of the three. */
  #readHeader(batch: RowBatch, end: number): boolean {
    const names = Array.from({ length: this.#fields }, (_, i) =>
      batch.bytes.toString('utf8', this.#from[i], this.#to[i]).replaceAll('""', '"').toLowerCase(),
    )
    if (!NAMES.some((name) => names.includes(name.toLowerCase()))) {
      this.#columns = this.#columnsWithoutHeader()
      return false
    }
    if (new Set(names).size < names.length) throw new InputError('its first line names a column twice')
    const { cardFields = [], newNames } = this.#settings
    const placeOf = (name: string): number => {
      const place = names.indexOf(name.toLowerCase())
      if (place < 0) throw new InputError(`its first line does not name the column ${name}`)
      return place
    }
    for (const name of newNames) {
      if (names.includes(name.toLowerCase()))
        throw new InputError(`its first line names a column ${name}, which is to be added`)
    }
    this.#columns = {
      count: names.length,
      id: placeOf('id'),
      pan: placeOf('pan'),
      pinBlock: placeOf('pinBlock'),
      card: cardFields.map((field) => [field, placeOf(field)] as const),
    }
    batch.addHeader(this.#tailAt, end)
    return true
  }

  #columnsWithoutHeader(): Columns {
    if (this.#settings.cardFields !== undefined) {
      throw new InputError('its first line does not name the columns, and PRWs need more than the three')
    }
    return { count: NAMES.length, id: 0, pan: 1, pinBlock: 2, card: [] }
  }
}
