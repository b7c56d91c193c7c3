/** Tables, for a terminal and for README, and figures as people read them. */
import type { Spread } from './results.ts'

/** Rows of text under a head; figures stand right, words left. */
export interface Table {
  /** Names the table in tables.md. */
  readonly id: string
  readonly title: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
  /** What a reader must know, a sentence each. */
  readonly notes: readonly string[]
}

/** The table for a terminal, a line each. */
export function textOf({ title, head, rows, notes }: Table): string[] {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)))
  const isFigure = head.map((_, column) => isOfFigures(rows, column))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (isFigure[column]! ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!)))
      .join('  ')
      .trimEnd()
  return [title, '', line(head), ...rows.map(line), ...notes.flatMap((note) => wrapped(note))]
}

/** The table as Markdown, a line each. */
export function markdownOf({ head, rows, notes }: Table): string[] {
  const line = (row: readonly string[]): string => `| ${row.join(' | ')} |`
  return [
    line(head),
    `|${head.map((_, column) => (isOfFigures(rows, column) ? '---:' : '---')).join('|')}|`,
    ...rows.map(line),
    ...(notes.length > 0 ? ['', notes.join(' ')] : []),
  ]
}

/** Whether a column holds figures, or nothing, and no words. */
export function isOfFigures(rows: Table['rows'], column: number): boolean {
  return rows.length > 0 && rows.every((row) => /^$|^[–−]?\d|^–$/.test(row[column]!))
}

const TERMINAL_COLUMNS = 120

function wrapped(text: string): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > TERMINAL_COLUMNS && line !== '') {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

/** Nothing was measured. */
export const NONE = '–'

/** Three digits that mean something, or all before the point; thousands are set apart, and millions are told as such. */
export function figure(value: number): string {
  if (value >= 999_500) return `${figure(value / 1e6)} M`
  if (value >= 100) return Math.round(value).toLocaleString('en').replaceAll(',', ' ')
  return value.toFixed(value >= 9.995 ? 1 : 2)
}

/** A share of 1, in whole percent. */
export function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}

/** A median with the least and the most of all rounds; a unit that all three have stands behind the median alone. */
export function withSpread(spread: Spread | undefined, text: (value: number) => string = figure): string {
  if (spread === undefined) return NONE
  const [median, least, most] = [spread.median, spread.least, spread.most].map(text) as [string, string, string]
  const unit = / \D+$/.exec(median)?.[0] ?? ''
  const isOfAll = [least, most].every((each) => each.endsWith(unit))
  const bare = (each: string): string => (isOfAll ? each.slice(0, each.length - unit.length) : each)
  return `${median} (${bare(least)}–${bare(most)})`
}

/** The median alone. */
export function medianOf(spread: Spread | undefined, text: (value: number) => string = figure): string {
  return spread === undefined ? NONE : text(spread.median)
}
