/**
 * Rounds: everything is measured once in each, one after the other, so that a busy moment of the machine meets them all.
 *
 * The measure is a ratio: CPU time of the bare PKCS#11 calls for the work, to CPU time of all our processes for it.
 */

/** The bare PKCS#11 calls that a subject is held against. */
export interface Limit {
  readonly title: string
  /** CPU microseconds for a row. */
  readonly measure: () => Promise<number>
}

/** What one measurement gave. */
export interface Sample {
  readonly rows: number
  readonly wallMs: number
  /** CPU microseconds by kind of process; all of them together are ours. */
  readonly cpuUs: Readonly<Record<string, number>>
}

/** Something to be measured. */
export interface Subject {
  readonly id: string
  readonly title: string
  readonly limit: Limit
  /** The ratio below which it is too slow, and the one that is wished for. */
  readonly floor: number
  readonly aim: number
  readonly measure: () => Promise<Sample>
}

/** A figure over all rounds. */
export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

/** A subject over all rounds. */
export interface Result {
  readonly subject: Subject
  readonly ratio: Spread
  readonly rowsPerSecond: Spread
  readonly cpuUsPerRow: Spread
  /** The medians of each kind of process. */
  readonly cpuUsPerRowBy: Readonly<Record<string, number>>
}

/** All that was measured. */
export interface Measured {
  readonly limits: readonly { readonly limit: Limit; readonly cpuUsPerRow: Spread }[]
  readonly results: readonly Result[]
}

/**
 * Measures every subject, and the limits that they name, once a round; the first round warms up and does not count.
 *
 * @param tell - is given the number of each round as it begins; 0 is the warm-up.
 */
export async function runRounds(
  subjects: readonly Subject[],
  rounds: number,
  tell: (round: number) => void,
): Promise<Measured> {
  const limits = [...new Set(subjects.map(({ limit }) => limit))]
  const bare = new Map(limits.map((limit) => [limit, [] as number[]]))
  const samples = new Map(subjects.map((subject) => [subject, [] as Sample[]]))
  for (let round = 0; round <= rounds; round++) {
    tell(round)
    for (const limit of limits) {
      const usPerRow = await limit.measure()
      if (round > 0) bare.get(limit)!.push(usPerRow)
    }
    // To and fro, so that none always comes after the same one.
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
      const sample = await subject.measure()
      if (round > 0) samples.get(subject)!.push(sample)
    }
  }
  return {
    limits: limits.map((limit) => ({ limit, cpuUsPerRow: spreadOf(bare.get(limit)!) })),
    results: subjects.map((subject) => resultOf(subject, samples.get(subject)!, bare.get(subject.limit)!)),
  }
}

function resultOf(subject: Subject, samples: readonly Sample[], bare: readonly number[]): Result {
  const kinds = Object.keys(samples[0]?.cpuUs ?? {})
  return {
    subject,
    // Each round's own limit: what slowed the machine down then slowed both.
    ratio: spreadOf(samples.map((sample, round) => bare[round]! / cpuUsPerRow(sample))),
    rowsPerSecond: spreadOf(samples.map(({ rows, wallMs }) => (rows * 1000) / wallMs)),
    cpuUsPerRow: spreadOf(samples.map(cpuUsPerRow)),
    cpuUsPerRowBy: Object.fromEntries(
      kinds.map((kind) => [kind, spreadOf(samples.map(({ rows, cpuUs }) => cpuUs[kind]! / rows)).median]),
    ),
  }
}

function cpuUsPerRow({ rows, cpuUs }: Sample): number {
  return Object.values(cpuUs).reduce((sum, us) => sum + us, 0) / rows
}

/** The median of figures, and the least and the most of them. */
export function spreadOf(figures: readonly number[]): Spread {
  const sorted = figures.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2
  return { median, least: sorted[0]!, most: sorted.at(-1)! }
}
