/** What the readers of both kinds of rows have in common. */
import type { IdSet, PrwRow, RowBatch } from './row-batch.ts'

/** What a PRW may take of a row beside PAN and PIN, and the form of each (bridge/contract.ts). */
const CARD_FORMS = {
  panSequenceNumber: /^[0-9]{2}$/,
  expiry: /^[0-9]{2}(?:0[1-9]|1[0-2])$/,
  counter: /^[0-9]{4}$/,
} as const satisfies Record<keyof PrwRow, RegExp>

/** The name of a column or member that a PRW may take. */
export type CardField = keyof typeof CARD_FORMS

/** What rows must have beside id, PAN and PIN block. */
export interface RowNeeds {
  /** What a PRW is made of; undefined if none is asked for. */
  readonly cardFields: readonly CardField[] | undefined
  /** The names of what the rows gain: no row may have them already. */
  readonly newNames: readonly string[]
}

/** The first line cannot be that of such a file; the sentence holds nothing of it. */
export class InputError extends Error {}

/** Reads the rows of one file, from its first line on. */
export interface RowReader {
  readonly kind: 'csv' | 'ndjson'
  /**
   * Reads whole lines into `batch`, from `from` on.
   *
   * @param to - the end of what is there; the byte behind it is overwritten.
   * @param stopAt - the line that reaches this place is the last one to be read.
   * @param isLast - whether the file ends at `to`.
   * @returns where it stopped: behind the last line, or at the start of one that is not there as a whole.
   * @throws InputError if the first line cannot be that of such a file.
   */
  read(batch: RowBatch, from: number, to: number, stopAt: number, isLast: boolean): number
  /** Takes a line for rejected that is longer than a line may be, and of which nothing stands in the batch's bytes. */
  rejectLongLine(batch: RowBatch, place: number): void
}

/** What makes a reader: what rows must have, and where their ids are remembered. */
export interface ReaderSettings extends RowNeeds {
  readonly ids: IdSet
}

/** One card field of a row; undefined if it does not have its form, so that it is missing to the PRW. */
export function cardField(field: CardField, text: string): string | undefined {
  return CARD_FORMS[field].test(text) ? text : undefined
}

/** Whether any byte of a text is not ASCII. */
export function hasHighBit(bytes: Uint8Array, from: number, to: number): boolean {
  let all = 0
  for (let i = from; i < to; i++) all |= bytes[i]!
  return (all & 0x80) !== 0
}
