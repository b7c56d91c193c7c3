/** Makes of a chunk's lines what comes out: the same bytes, with the new PIN block in the place of the old one. */
import type { AnswerOf, Zone } from '../bridge/contract.ts'
import { blockBytesOf } from '../bridge/packed-blocks.ts'
import { FATE, type RowBatch } from '../rows/row-batch.ts'
import type { RowReader } from '../rows/row-reader.ts'

type Answer = Pick<AnswerOf<'translatePinBlocks'>, 'packed' | 'rejected' | 'prws'>

/** More than a row gains by a PRW and a random number, their names included. */
const MAX_TAIL_BYTES = 128

/** The two hex digits of each byte, upper-case. */
const HIGH = new Uint8Array(256)
const LOW = new Uint8Array(256)
for (let byte = 0; byte < 256; byte++) {
  const hex = byte.toString(16).toUpperCase().padStart(2, '0')
  HIGH[byte] = hex.charCodeAt(0)
  LOW[byte] = hex.charCodeAt(1)
}

/**
 * Takes the vault's verdicts into a batch: from here on the fate of each line is final.
 *
 * @returns how many items do not come out.
 */
export function settle(batch: RowBatch, { rejected, prws }: Pick<Answer, 'rejected' | 'prws'>): number {
  let count = rejected.length
  for (const item of rejected) batch.fate[batch.lineOfItem[item]!] = FATE.pinBlockInvalid
  prws?.forEach((prw, item) => {
    const line = batch.lineOfItem[item]!
    if (prw !== null || batch.fate[line] !== FATE.item) return
    batch.fate[line] = FATE.cardDataInvalid
    count++
  })
  return count
}

export class RowWriter {
  readonly #kind: RowReader['kind']
  readonly #blockBytes: number
  readonly #newNames: readonly string[]
  #target: Buffer = Buffer.alloc(0)

  /** @param newNames - the names of what every row gains: a PRW, and its random number if it has one. */
  constructor(kind: RowReader['kind'], format: Zone['format'], newNames: readonly string[]) {
    this.#kind = kind
    this.#blockBytes = blockBytesOf(format)
    this.#newNames = newNames
  }

  /** Returns what a settled batch comes out as; good until the next call, or until the batch is used again. */
  write(batch: RowBatch, answer: Answer): Buffer {
    if (this.#blockBytes !== batch.blockBytes || this.#newNames.length > 0) return this.#rebuild(batch, answer)
    const { bytes, items, blockAt, fate, lineAt, lines } = batch
    for (let item = 0; item < items; item++)
      putHex(answer.packed, item * this.#blockBytes, this.#blockBytes, bytes, blockAt[item]!)
    let to = 0
    for (let line = 0; line < lines; line++) {
      if (fate[line]! >= FATE.rowMalformed) continue
      const first = line
      while (line + 1 < lines && fate[line + 1]! < FATE.rowMalformed) line++
      const from = lineAt[first]!
      const end = lineAt[line + 1]!
      if (from !== to) bytes.copyWithin(to, from, end)
      to += end - from
    }
    return bytes.subarray(0, to)
  }

  /** The same for rows that change their length. */
  #rebuild(batch: RowBatch, { packed, prws }: Answer): Buffer {
    const { bytes, lines, items, fate, lineAt, lineOfItem, blockAt, tailAt } = batch
    const most = lineAt[lines]! + lines * MAX_TAIL_BYTES
    if (this.#target.length < most) this.#target = Buffer.allocUnsafeSlow(most)
    const target = this.#target
    let to = 0
    for (let line = 0, item = 0; line < lines; line++) {
      const isItem = item < items && lineOfItem[item] === line
      const place = isItem ? item++ : -1
      if (fate[line]! >= FATE.rowMalformed) continue
      let from = lineAt[line]!
      const end = lineAt[line + 1]!
      if (fate[line] === FATE.item) {
        to = copy(bytes, from, blockAt[place]!, target, to)
        to = putHex(packed, place * this.#blockBytes, this.#blockBytes, target, to)
        from = blockAt[place]! + 2 * batch.blockBytes
      }
      if (prws !== undefined && fate[line] !== FATE.carried) {
        to = copy(bytes, from, tailAt[line]!, target, to)
        const { value, randomNumber } = prws[place] ?? {}
        to += target.write(fate[line] === FATE.header ? this.#headerTail() : this.#rowTail([value, randomNumber]), to)
        from = tailAt[line]!
      }
      to = copy(bytes, from, end, target, to)
    }
    return target.subarray(0, to)
  }

  #headerTail(): string {
    return this.#newNames.map((name) => `,${name}`).join('')
  }

  #rowTail(values: readonly (string | undefined)[]): string {
    return this.#newNames
      .map((name, i) => (this.#kind === 'csv' ? `,${values[i] ?? ''}` : `,"${name}":"${values[i] ?? ''}"`))
      .join('')
  }
}

/** Writes `count` bytes as hex; returns the place behind it. */
function putHex(source: Uint8Array, from: number, count: number, target: Uint8Array, to: number): number {
  for (let i = from, at = to; i < from + count; i++, at += 2) {
    const byte = source[i]!
    target[at] = HIGH[byte]!
    target[at + 1] = LOW[byte]!
  }
  return to + 2 * count
}

/** Copies a few bytes; returns the place behind them. A call of copy() costs as much as fifty of them. */
function copy(source: Uint8Array, from: number, end: number, target: Uint8Array, to: number): number {
  for (let i = from, at = to; i < end; i++, at++) target[at] = source[i]!
  return to + end - from
}
