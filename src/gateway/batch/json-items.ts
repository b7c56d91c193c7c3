/**
 * Reads the items of a batch from the bytes of a JSON array that has passed the strict reader (json-bytes.ts).
 *
 * Ten thousand items as objects would cost more than everything else that is done with them; here they become places in the
 * bytes and packed blocks in one pass. What an item may be is said twice, here and in the route's schema, and a test holds
 * the two together.
 */
import { MAX_BATCH_ITEMS, type Zone } from '../../bridge/contract.ts'
import { ChunkIds } from '../../rows/chunk-ids.ts'
import { RowBatch, type RowPlaces } from '../../rows/row-batch.ts'

/** The most characters of an item's id. */
export const MAX_ID_CHARACTERS = 64

/** `{"id":"1","pinBlock":"…16","card":{"pan":"…12"}}`: no item is shorter. */
const MIN_ITEM_BYTES = 60

const QUOTE = 0x22
const COMMA = 0x2c
const COLON = 0x3a
const BRACKET_OPEN = 0x5b
const BACKSLASH = 0x5c
const BRACKET_CLOSE = 0x5d
const BRACE_OPEN = 0x7b
const BRACE_CLOSE = 0x7d
const SPACE = 0x20

const NAMES = ['id', 'pinBlock', 'card'].map((name) => Buffer.from(name))
const [ID, PIN_BLOCK, CARD] = [0, 1, 2]
const ALL_NAMES = 0b111
const CARD_NAMES = ['pan', 'panSequenceNumber', 'expiry'].map((name) => Buffer.from(name))
const [PAN, SEQUENCE_NUMBER] = [0, 1]
const SEQUENCE_NUMBER_FORM = /^[0-9]{2}$/
const EXPIRY_FORM = /^[0-9]{2}(?:0[1-9]|1[0-2])$/

/**
 * Reads the items.
 *
 * @param array - a JSON text that is well formed, without a repeated member.
 * @returns undefined if it is no array of 1–10 000 items, or an id comes twice.
 */
export function readJsonItems(array: Buffer, format: Zone['format']): RowBatch | undefined {
  // Written anew, a text has escapes only where JSON wants them: in an id perhaps, and each id is spelled in one way.
  if (array.includes(BACKSLASH))
    return readPlainItems(Buffer.from(JSON.stringify(JSON.parse(array.toString()))), format)
  return readPlainItems(array, format)
}

function readPlainItems(array: Buffer, format: Zone['format']): RowBatch | undefined {
  const capacity = Math.min(MAX_BATCH_ITEMS + 1, Math.floor(array.length / MIN_ITEM_BYTES) + 1)
  const batch = new RowBatch(format, capacity, array.length)
  batch.clear()
  array.copy(batch.bytes)
  const walk = new ItemWalk(batch.bytes)
  const ids = new ChunkIds(capacity, array.length)
  walk.take(BRACKET_OPEN)
  do {
    const row = walk.item()
    if (row === undefined || batch.isFull()) return undefined
    batch.addRow(row, ids.add(batch.bytes, row.idAt, row.idEnd))
  } while (walk.take(COMMA))
  const areItems = walk.take(BRACKET_CLOSE) && batch.items === batch.lines
  return areItems && batch.items <= MAX_BATCH_ITEMS ? batch : undefined
}

/** Goes through the text once; every method but `take` says false, or nothing, at what is no item. */
class ItemWalk {
  readonly #bytes: Buffer
  #at = 0
  // The string that was read last, between its quotes.
  #from = 0
  #to = 0
  readonly #row: RowPlaces = { idAt: 0, idEnd: 0, panAt: 0, panEnd: 0, blockAt: 0, blockEnd: 0, tailAt: 0, end: 0 }

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** Steps over `byte`, and space before it, if it is what comes next. */
  take(byte: number): boolean {
    while (this.#bytes[this.#at]! <= SPACE) this.#at++
    if (this.#bytes[this.#at] !== byte) return false
    this.#at++
    return true
  }

  /** `{ id, pinBlock, card }`, all of them and nothing else. */
  item(): RowPlaces | undefined {
    const row = this.#row
    let seen = 0
    if (!this.take(BRACE_OPEN)) return undefined
    do {
      const name = this.#name(NAMES)
      const isRead = name === CARD ? this.#card() : name >= 0 && this.#string()
      if (!isRead) return undefined
      seen |= 1 << name
      if (name === ID) {
        if (!this.#isId()) return undefined
        row.idAt = this.#from
        row.idEnd = this.#to
      } else if (name === PIN_BLOCK) {
        row.blockAt = this.#from
        row.blockEnd = this.#to
      }
    } while (this.take(COMMA))
    if (seen !== ALL_NAMES || !this.take(BRACE_CLOSE)) return undefined
    row.tailAt = this.#at
    row.end = this.#at
    return row
  }

  /** `{ pan, panSequenceNumber?, expiry? }` */
  #card(): boolean {
    let hasPan = false
    if (!this.take(BRACE_OPEN)) return false
    do {
      const name = this.#name(CARD_NAMES)
      if (name < 0 || !this.#string()) return false
      if (name === PAN) {
        hasPan = true
        this.#row.panAt = this.#from
        this.#row.panEnd = this.#to
      } else {
        const form = name === SEQUENCE_NUMBER ? SEQUENCE_NUMBER_FORM : EXPIRY_FORM
        if (!form.test(this.#bytes.toString('latin1', this.#from, this.#to))) return false
      }
    } while (this.take(COMMA))
    return hasPan && this.take(BRACE_CLOSE)
  }

  /** A member's name and its colon; its place in `names`, or −1. */
  #name(names: readonly Buffer[]): number {
    if (!this.#string() || !this.take(COLON)) return -1
    return names.findIndex((name) => this.#spells(name))
  }

  #spells(name: Buffer): boolean {
    if (this.#to - this.#from !== name.length) return false
    let i = 0
    while (i < name.length && this.#bytes[this.#from + i] === name[i]) i++
    return i === name.length
  }

  #string(): boolean {
    if (!this.take(QUOTE)) return false
    const bytes = this.#bytes
    let at = this.#at
    this.#from = at
    // The text is well formed, so that there is a quote.
    while (bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
    this.#to = at
    this.#at = at + 1
    return true
  }

  #isId(): boolean {
    const bytes = this.#to - this.#from
    if (bytes <= MAX_ID_CHARACTERS) return bytes > 0
    // A character may be spelled with up to twelve bytes.
    const id = JSON.parse(this.#bytes.toString('utf8', this.#from - 1, this.#to + 1)) as string
    return Array.from(id).length <= MAX_ID_CHARACTERS
  }
}
