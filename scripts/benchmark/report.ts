/** What a benchmark found, for people as a table and for programs as JSON. */
import { cpus } from 'node:os'
import type { Measured, Result, Spread } from './rounds.ts'

/** Which machine it was measured on: figures of another one are not to be compared. */
export interface Machine {
  readonly cores: number
  readonly model: string
  readonly node: string
}

export function thisMachine(): Machine {
  return { cores: cpus().length, model: cpus()[0]?.model.trim() ?? 'unknown', node: process.version }
}

/** The table, a line each. */
export function tableOf({ limits, results }: Measured): string[] {
  const rows = [
    ['', 'ratio', 'floor', 'aim', 'rows a second', 'CPU µs a row', 'of it'],
    ...limits.map(({ limit, cpuUsPerRow }) => [limit.title, '', '', '', '', withSpread(cpuUsPerRow, figure), '']),
    ...results.map((result) => [
      result.subject.title,
      withSpread(result.ratio, percent),
      percent(result.subject.floor),
      percent(result.subject.aim),
      withSpread(result.rowsPerSecond, figure),
      withSpread(result.cpuUsPerRow, figure),
      sharesOf(result),
    ]),
  ]
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  )
}

/** The results without the functions that made them. */
export function jsonOf({ limits, results }: Measured, machine: Machine, rounds: number): object {
  return {
    machine,
    rounds,
    limits: limits.map(({ limit, cpuUsPerRow }) => ({ title: limit.title, cpuUsPerRow })),
    results: results.map(({ subject: { id, title, limit, floor, aim }, ...figures }) => {
      return { id, title, limit: limit.title, floor, aim, ...figures }
    }),
  }
}

/** Those whose median is below the floor. */
export function missedOf({ results }: Measured): Result[] {
  return results.filter(({ ratio, subject }) => ratio.median < subject.floor)
}

/** A median with the least and the most of all rounds; the unit, if there is one, stands behind the median alone. */
function withSpread({ median, least, most }: Spread, text: (value: number) => string): string {
  const [bareLeast, bareMost] = [least, most].map((value) => text(value).replace(/ %$/, ''))
  return `${text(median)} (${bareLeast}–${bareMost})`
}

/** Which kind of process used how much, but for one that did next to nothing. */
function sharesOf({ cpuUsPerRow, cpuUsPerRowBy }: Result): string {
  const shares = Object.entries(cpuUsPerRowBy).filter(([, us]) => us > cpuUsPerRow.median / 100)
  if (shares.length === 1) return ''
  return shares.map(([kind, us]) => `${kind} ${figure(us)}`).join(', ')
}

function percent(ratio: number): string {
  return `${Math.round(ratio * 100)} %`
}

/** Three digits that mean something. */
function figure(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en').replaceAll(',', ' ')
  return value.toFixed(value >= 10 ? 1 : 2)
}
