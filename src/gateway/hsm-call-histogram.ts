/** How long HSM calls take, added up from what the vaults report: prom-client's own histogram takes one duration at a time. */
import type { Metric, Registry } from 'prom-client'
import { HSM_CALL_BOUNDS_S, HSM_CALLS, type StatusReport } from '../bridge/contract.ts'

interface Series {
  readonly labels: Readonly<Record<string, string>>
  readonly counts: number[]
  seconds: number
}

const NAME = 'pinbridge_hsm_call_duration_seconds'
const HELP = "Time from a session's being free for a call of the HSM to the answer, by what was asked and how it ended"

const OUTCOMES = ['ok', 'error'] as const

/**
 * Registers the histogram; what is returned adds a report of a vault of `token` to it.
 *
 * @param tokens - the tokens that there are: each of their calls is shown from the beginning, as 0, so that the first error is
 * seen to be one more.
 */
export function createHsmCallHistogram(
  registry: Registry,
  tokens: () => readonly string[],
): (token: string, calls: StatusReport['calls']) => void {
  const all = new Map<string, Series>()
  const seriesOf = (token: string, call: string, outcome: string): Series => {
    const labels = { token, call, outcome }
    const name = JSON.stringify(labels)
    const known = all.get(name)
    if (known) return known
    const series = { labels, counts: [...HSM_CALL_BOUNDS_S, Infinity].map(() => 0), seconds: 0 }
    all.set(name, series)
    return series
  }
  const values = () => {
    for (const token of tokens()) {
      for (const call of HSM_CALLS) for (const outcome of OUTCOMES) seriesOf(token, call, outcome)
    }
    return [...all.values()].flatMap(samplesOf)
  }

  const get = async () => ({
    name: NAME,
    help: HELP,
    type: 'histogram',
    aggregator: 'sum',
    values: values(),
  })
  // What a registry asks of a metric is to be read; the type of the package names its own classes only.
  registry.registerMetric({ name: NAME, help: HELP, get } as unknown as Metric)

  return (token, calls) => {
    for (const { call, outcome, counts, seconds } of calls) {
      const series = seriesOf(token, call, outcome)
      for (const [place, count] of counts.entries()) series.counts[place]! += count
      series.seconds += seconds
    }
  }
}

function samplesOf({ labels, counts, seconds }: Series) {
  let total = 0
  const buckets = counts.map((count, place) => {
    total += count
    const le = String(HSM_CALL_BOUNDS_S[place] ?? '+Inf')
    return { metricName: `${NAME}_bucket`, labels: { ...labels, le }, value: total }
  })
  return [
    ...buckets,
    { metricName: `${NAME}_sum`, labels, value: seconds },
    { metricName: `${NAME}_count`, labels, value: total },
  ]
}
