/** Figures of what was measured: of a sample, of a cell over all rounds, and of two cells round by round. */
import { spreadOf, type CellId, type CellResult, type Results, type Sample, type Spread } from './results.ts'

/** Operations a second. */
export function perSecond({ operations, wallMs }: Sample): number {
  return (operations * 1000) / wallMs
}

/** CPU microseconds for an operation, of one kind of process or of all of the subject's. */
export function cpuUsEach({ operations, cpuUs }: Sample, kind?: string): number {
  if (kind !== undefined) return (cpuUs[kind] ?? 0) / operations
  return Object.values(cpuUs).reduce((sum, us) => sum + us, 0) / operations
}

/** What all processes of the subject hold at the end of the load; undefined where it was not read. */
export function memoryBytes({ memoryBytes }: Sample): number | undefined {
  return memoryBytes && Object.values(memoryBytes).reduce((sum, bytes) => sum + bytes, 0)
}

/** The cell of this name; full load without added latency, if nothing else is said. */
export function cellOf(
  { cells }: Results,
  id: Pick<CellId, 'operation' | 'subject' | 'concurrency'> & Partial<CellId>,
): CellResult | undefined {
  const { hsmLatencyMs = 0, load = 'full' } = id
  return cells.find(
    (cell) =>
      cell.operation === id.operation &&
      cell.subject === id.subject &&
      cell.concurrency === id.concurrency &&
      cell.hsmLatencyMs === hsmLatencyMs &&
      cell.load === load,
  )
}

/** The most connections at which subjects are compared. */
export const COMPARED_CONNECTIONS = 64

/** The cell of a subject at full load that is compared: the one with the most connections, up to 64. */
export function comparedCell(
  { cells }: Results,
  operation: CellId['operation'],
  subject: CellId['subject'],
  hsmLatencyMs = 0,
): CellResult | undefined {
  return cells
    .filter(
      (cell) =>
        cell.operation === operation &&
        cell.subject === subject &&
        cell.hsmLatencyMs === hsmLatencyMs &&
        cell.load === 'full' &&
        cell.concurrency <= COMPARED_CONNECTIONS,
    )
    .toSorted((a, b) => b.concurrency - a.concurrency)[0]
}

/** A figure over all rounds; undefined if there is no such cell, or a sample of it has no such figure. */
export function spreadIn(
  cell: CellResult | undefined,
  figure: (sample: Sample) => number | undefined,
): Spread | undefined {
  return spreadOfAll(cell?.samples.map(figure) ?? [])
}

/** A figure made of two cells inside each round, over all rounds: what slowed the machine down then slowed both. */
export function spreadRoundByRound(
  one: CellResult | undefined,
  other: CellResult | undefined,
  figure: (one: Sample, other: Sample) => number | undefined,
): Spread | undefined {
  if (one === undefined || other === undefined) return undefined
  const rounds = Math.min(one.samples.length, other.samples.length)
  return spreadOfAll(Array.from({ length: rounds }, (_, round) => figure(one.samples[round]!, other.samples[round]!)))
}

function spreadOfAll(figures: readonly (number | undefined)[]): Spread | undefined {
  const known = figures.filter((figure) => figure !== undefined)
  return known.length > 0 && known.length === figures.length ? spreadOf(known) : undefined
}
