/**
 * Rounds: every cell is measured once in each, one after the other, so that a busy moment of the machine meets them all, and
 * a ratio of two cells is made within a round.
 */
import { durationMsOf } from './cells.ts'
import type { CellId, CellResult, Sample } from './results.ts'

/** A first measurement: enough to tell, by and by, how many operations fill a cell's time. */
const FIRST_OPERATIONS = 64
/** Rows of a migration, and of a batch. */
const FIRST_MIGRATED = 500_000
const BATCH_ROWS = 10_000
const FIRST_BATCHES = 4
/** So that a connection has more than its first request. */
const LEAST_PER_CONNECTION = 2

/** Measures a cell once. */
export type Measure = (cell: CellId, operations: number, perSecond?: number) => Promise<Sample>

/** How many rounds, and whom they tell. */
export interface RoundOptions {
  /** Those that count, after one that warms up unless it is to be quick. */
  readonly rounds: number
  readonly quick: boolean
  /** Is told before each cell how many have been measured, of how many. */
  readonly onProgress: (measured: number, all: number) => void
}

/** Measures every cell once a round; the first round warms up, finds how many operations fill each cell's time, and does not count. */
export async function runRounds(
  steps: readonly (readonly CellId[])[],
  measure: Measure,
  { rounds, quick, onProgress }: RoundOptions,
): Promise<CellResult[]> {
  const cells = steps.flat()
  const samples = new Map(cells.map((cell) => [cell, [] as Sample[]]))
  const rates = new Map<CellId, number>()
  let measured = 0

  const measureCell = async (cell: CellId, perSecond?: number): Promise<Sample> => {
    const rate = rates.get(cell) ?? 0
    const operations = Math.max(leastOf(cell), Math.round(rate * durationMsOf(cell, quick)))
    const sample = await measure(cell, operations, perSecond)
    rates.set(cell, sample.operations / sample.wallMs)
    return sample
  }
  const firstRound = quick ? 1 : 0
  for (let round = firstRound; round <= rounds; round++) {
    // To and fro, so that none always comes after the same one.
    for (const step of round % 2 === 0 ? steps : steps.toReversed()) {
      let full: number | undefined
      for (const cell of step) {
        onProgress(measured++, cells.length * (rounds + 1 - firstRound))
        const perSecond = cell.load === 'half' ? full! / 2 : undefined
        if (perSecond !== undefined) rates.set(cell, perSecond / 1000)
        // The first of all is over in a moment, and nothing is compiled yet.
        else if (round === 0) await measureCell(cell)
        const sample = await measureCell(cell, perSecond)
        full = (sample.operations * 1000) / sample.wallMs
        if (round > 0) samples.get(cell)!.push(sample)
      }
    }
  }
  return cells.map((cell) => ({ ...cell, samples: samples.get(cell)! }))
}

/** Where a cell begins, and what it is never below. */
function leastOf({ operation, concurrency }: CellId): number {
  if (operation === 'migrate') return FIRST_MIGRATED
  if (operation === 'batch') return BATCH_ROWS * Math.max(FIRST_BATCHES, concurrency)
  return Math.max(FIRST_OPERATIONS, LEAST_PER_CONNECTION * concurrency)
}
