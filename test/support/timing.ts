/**
 * Whether calls of several kinds can be told apart by the time they take.
 *
 * One run measures all kinds, a call of each in every round and in a random order, so that whatever else the machine does meets
 * all of them alike. Of a round's calls only differences are looked at, and of those only ranks: the median of the differences
 * has an interval that holds whatever the distribution is, and no pause, however long, moves it (the sign test; dudect,
 * Reparaz et al. 2017, crops its t-test for the same reason).
 */
import { randomInt } from 'node:crypto'
import { expect, type TestContext } from 'vitest'

/** Calls of one kind; what it returns or throws is not looked at. */
export interface Kind {
  readonly name: string
  readonly run: () => unknown
}

/** How one kind compares with the first; all in microseconds. */
export interface Comparison {
  readonly name: string
  readonly rounds: number
  /** The kind's own median. */
  readonly medianUs: number
  /** The distance of the kind's quartiles: how far one call is from the next. */
  readonly spreadUs: number
  /** The median of the differences from the first kind, and the interval that holds it but once in a million times. */
  readonly differenceUs: number
  readonly fromUs: number
  readonly toUs: number
  /** The share of calls that are beyond nine tenths of all calls by more than the bound: slower, or faster. */
  readonly slowShare: number
  readonly fastShare: number
  readonly verdict: 'same' | 'different' | 'unclear'
}

/** How much is measured, and what is too much. */
export interface TimingLimits {
  /** A difference of medians from here on is one that an attacker could use. */
  readonly boundUs: number
  /** Rounds at first; as long as a comparison is unclear they are doubled. */
  readonly rounds: number
  readonly mostRounds: number
}

const WARM_UP_ROUNDS = 100
/** Standard deviations from the median's rank to the ends of its interval. */
const DEVIATIONS = 5
/** A kind that differs in one call of five is another kind, whatever its median; by chance it is one call of ten. */
const SHARE_LIMIT = 0.2

/** How many bounds later than the first kind the control is. */
const CONTROL_BOUNDS = 5

/**
 * Expects that no kind can be told from the first by the time it takes, and prints what was measured.
 *
 * Beside the kinds a control is measured, the first kind and a pause. Where the machine has so much else to do that it does not
 * show the pause, it would not show a leak either, and the test is skipped for that reason: it is never red for want of quiet.
 */
export async function expectOneTime(
  context: TestContext,
  title: string,
  kinds: readonly Kind[],
  limits: TimingLimits,
): Promise<void> {
  const laterUs = CONTROL_BOUNDS * limits.boundUs
  const control = { name: `control: ${laterUs} later`, run: delayed(kinds[0]!.run, laterUs) }
  const compared = await compareTimes([...kinds, control], limits)
  const table = timingTable(title, compared)
  console.log(table)
  const different = compared.filter(({ verdict }) => verdict === 'different').map(({ name }) => name)
  expect(
    different.filter((name) => name !== control.name),
    table,
  ).toEqual([])
  if (different.length > 0) return
  expect(compared.at(-1)!.verdict, table).toBe('unclear')
  context.task.meta.skipped = `the machine is too busy to show a difference of ${laterUs} µs`
  context.skip(context.task.meta.skipped)
}

/** Measures until every comparison with the first kind is clear, or the rounds are at their most. */
async function compareTimes(kinds: readonly Kind[], limits: TimingLimits): Promise<Comparison[]> {
  const times = kinds.map((): number[] => [])
  for (let round = 0; round < WARM_UP_ROUNDS; round++) await runRound(kinds)
  let wanted = limits.rounds
  for (;;) {
    while (times[0]!.length < wanted) (await runRound(kinds)).forEach((us, i) => times[i]!.push(us))
    const comparisons = kinds.map(({ name }, i) => compare(name, times, i, limits.boundUs))
    const areClear = comparisons.every(({ verdict }) => verdict !== 'unclear')
    if (areClear || wanted >= limits.mostRounds) return comparisons
    wanted *= 2
  }
}

function delayed(run: () => unknown, delayUs: number): () => Promise<void> {
  return async () => {
    await timeOf(run)
    const end = performance.now() + delayUs / 1000
    while (performance.now() < end);
  }
}

/** One line a kind, for whoever reads the figures. */
function timingTable(title: string, comparisons: readonly Comparison[]): string {
  const us = (value: number) => value.toFixed(2).padStart(9)
  const lines = comparisons.map(
    ({ name, medianUs, spreadUs, differenceUs, fromUs, toUs, slowShare, fastShare, verdict }) =>
      `${us(medianUs)} ${us(spreadUs)} ${us(differenceUs)} [${us(fromUs)},${us(toUs)}] ` +
      `${slowShare.toFixed(3)} ${fastShare.toFixed(3)} ${verdict} ${name}`,
  )
  const head = `${title}, ${comparisons[0]?.rounds} rounds; µs: median, spread, difference [from, to], slow, fast`
  return [head, ...lines].join('\n')
}

async function runRound(kinds: readonly Kind[]): Promise<number[]> {
  const times = new Array<number>(kinds.length)
  for (const i of shuffled(kinds.length)) times[i] = await timeOf(kinds[i]!.run)
  return times
}

async function timeOf(run: () => unknown): Promise<number> {
  const start = performance.now()
  try {
    await run()
  } catch {
    // A refusal is what is measured.
  }
  return (performance.now() - start) * 1000
}

function shuffled(length: number): number[] {
  const order = Array.from({ length }, (_, i) => i)
  for (let i = length - 1; i > 0; i--) {
    const j = randomInt(i + 1)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}

/**
 * Compares the kind at `index` with the first one.
 *
 * @param times - of each kind, in the order of the rounds, microseconds.
 */
export function compare(
  name: string,
  times: readonly (readonly number[])[],
  index: number,
  boundUs: number,
): Comparison {
  const [first, own] = [times[0]!, times[index]!]
  const rounds = own.length
  const differences = sorted(own.map((us, round) => us - first[round]!))
  const reach = Math.ceil((DEVIATIONS * Math.sqrt(rounds)) / 2)
  const middle = rounds >> 1
  const [fromUs, toUs] = [differences[middle - reach]!, differences[Math.min(middle + reach, rounds - 1)]!]
  const pooled = sorted(times.flat())
  const slowShare = share(own, (us) => us > quantile(pooled, 0.9) + boundUs)
  const fastShare = share(own, (us) => us < quantile(pooled, 0.1) - boundUs)
  const inBound = fromUs > -boundUs && toUs < boundUs
  const differenceUs = differences[middle]!
  // Large, and no chance: on a machine with much else to do neither alone says anything.
  const outOfBound = Math.abs(differenceUs) >= boundUs && (fromUs > 0 || toUs < 0)
  const isOften = slowShare > SHARE_LIMIT || fastShare > SHARE_LIMIT
  const ordered = sorted(own)
  return {
    name,
    rounds,
    medianUs: quantile(ordered, 0.5),
    spreadUs: quantile(ordered, 0.75) - quantile(ordered, 0.25),
    differenceUs,
    fromUs,
    toUs,
    slowShare,
    fastShare,
    verdict: outOfBound || isOften ? 'different' : inBound ? 'same' : 'unclear',
  }
}

function sorted(values: readonly number[]): Float64Array {
  return Float64Array.from(values).sort()
}

function quantile(values: Float64Array, part: number): number {
  return values[Math.floor(part * (values.length - 1))]!
}

function share(values: readonly number[], isCounted: (value: number) => boolean): number {
  return values.filter(isCounted).length / values.length
}
