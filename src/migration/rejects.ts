/** What is said of a row that does not come out: its line number, its id and a code, and nothing else of it (M-28). */
import { FATE, type RowBatch } from '../rows/row-batch.ts'
import type { RowReader } from '../rows/row-reader.ts'

/** The reasons why a row does not come out. */
export const REJECT_CODES = {
  [FATE.rowMalformed]: 'ERR_ROW_MALFORMED',
  [FATE.panInvalid]: 'ERR_PAN_INVALID',
  [FATE.pinBlockMalformed]: 'ERR_PIN_BLOCK_MALFORMED',
  [FATE.idDuplicate]: 'ERR_ID_DUPLICATE',
  [FATE.pinBlockInvalid]: 'ERR_PIN_BLOCK_INVALID',
  [FATE.cardDataInvalid]: 'ERR_CARD_DATA_INVALID',
} as const

/** A code of the closed set. */
export type RejectCode = (typeof REJECT_CODES)[keyof typeof REJECT_CODES]

/** How many rows were rejected for each reason; those that did not occur are left out. */
export type RejectCounts = Partial<Record<RejectCode, number>>

const MAX_ID_BYTES = 128
/** Unicode's control characters. */
const CONTROLS = /\p{Cc}/u
const PAN = /^[0-9]{12,19}$/
const MANY_DIGITS = /[0-9]{12}/
const SEPARATORS = /[\s._/-]/g
const DIGIT_RUNS = /[0-9]{12,}/g
const MAX_PAN_DIGITS = 19

/** The first line of a reject file. */
export function rejectHeader(kind: RowReader['kind']): string {
  return kind === 'csv' ? 'line,id,code\n' : ''
}

/** The lines of a settled batch's rejects, and how many there are of each code; `counts` is added to. */
export function rejectLines(
  batch: RowBatch,
  firstLine: number,
  kind: RowReader['kind'],
  counts: RejectCounts,
): string[] {
  const said: string[] = []
  for (let line = 0; line < batch.lines; line++) {
    const fate = batch.fate[line]!
    if (fate < FATE.rowMalformed) continue
    const code = REJECT_CODES[fate as keyof typeof REJECT_CODES]
    counts[code] = (counts[code] ?? 0) + 1
    const id = shownId(batch, line, kind)
    const number = firstLine + line
    if (kind === 'csv') said.push(`${number},${id},${code}\n`)
    else said.push(`{"line":${number},${id === '' ? '' : `"id":${id},`}"code":"${code}"}\n`)
  }
  return said
}

/** An id as the input spells it; empty if it may hold a PAN, is long, or would disturb a terminal. */
function shownId(batch: RowBatch, line: number, kind: RowReader['kind']): string {
  const { bytes, idAt, idEnd, panAt, panEnd, fate } = batch
  if (idEnd[line]! - idAt[line]! > MAX_ID_BYTES) return ''
  const spelled = bytes.toString('utf8', idAt[line], idEnd[line])
  const isText = kind === 'ndjson' && spelled.startsWith('"')
  const id = isText ? (JSON.parse(spelled) as string) : spelled
  const pan = bytes.toString('latin1', panAt[line], Math.min(panEnd[line]!, panAt[line]! + MAX_ID_BYTES))
  // A PAN may stand in the wrong column, or be written in groups.
  const digits = id.replace(SEPARATORS, '')
  const isNear = fate[line] === FATE.panInvalid && MANY_DIGITS.test(digits)
  const holdsPan = isNear || (PAN.test(pan) && digits.includes(pan)) || holdsLuhnNumber(digits)
  return holdsPan || CONTROLS.test(id) ? '' : spelled
}

/** Whether 12 to 19 digits stand in a text that end with the check digit of a PAN (ISO/IEC 7812-1 annex B). */
function holdsLuhnNumber(text: string): boolean {
  return (text.match(DIGIT_RUNS) ?? []).some((run) => run.length <= MAX_PAN_DIGITS && luhnSum(run) % 10 === 0)
}

function luhnSum(digits: string): number {
  let sum = 0
  for (let i = digits.length - 1, doubled = false; i >= 0; i--, doubled = !doubled) {
    const digit = Number(digits[i]) * (doubled ? 2 : 1)
    sum += digit > 9 ? digit - 9 : digit
  }
  return sum
}

/** How many rows were rejected in all. */
export function rejectedRows(counts: RejectCounts): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}
