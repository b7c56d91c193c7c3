/** What requests waited for, as the service's own metrics count it. */

/** A histogram's sum in seconds and its count, by the name of the wait. */
export type Waits = ReadonlyMap<string, { readonly seconds: number; readonly count: number }>

/** The histograms, by what was waited for. */
const HISTOGRAMS = {
  'in the gateway, from its headers to the end of the answer': 'pinbridge_request_duration_seconds',
  'in the queue for a vault': 'pinbridge_queue_wait_seconds',
  'in calls of the HSM': 'pinbridge_hsm_call_duration_seconds',
} as const

/** Reads the metrics; series of one histogram are added up. */
export async function readWaits(management: string): Promise<Waits> {
  const text = await (await fetch(`${management}/metrics`)).text()
  const sum = (name: string): number =>
    text
      .split('\n')
      .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
      .reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
  return new Map(
    Object.entries(HISTOGRAMS).map(([what, name]) => [
      what,
      { seconds: sum(`${name}_sum`), count: sum(`${name}_count`) },
    ]),
  )
}

/** How long a request waited on average between two readings, in microseconds. */
export function waitedBetween(before: Waits, after: Waits): { readonly what: string; readonly us: number }[] {
  const requests = [...after.values()][0]!.count - [...before.values()][0]!.count
  return [...after].map(([what, { seconds }]) => ({
    what,
    us: ((seconds - before.get(what)!.seconds) * 1e6) / requests,
  }))
}
