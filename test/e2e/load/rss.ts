/** The memory of processes over time, as the kernel counts it. */
import { readFileSync } from 'node:fs'

/** The resident memory of a process in MiB; undefined once it has ended. */
export function rssMiBOf(pid: number): number | undefined {
  try {
    const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return kibibytes === undefined ? undefined : Number(kibibytes) / 1024
  } catch {
    return undefined
  }
}

/** One look: when, in any unit, and how much. */
export interface Sample {
  readonly at: number
  readonly miB: number
}

/** How much memory grows in one unit of `at`: the slope of the line that fits best. */
export function growth(samples: readonly Sample[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const at = mean(samples.map((sample) => sample.at))
  const miB = mean(samples.map((sample) => sample.miB))
  const covariance = mean(samples.map((sample) => (sample.at - at) * (sample.miB - miB)))
  return covariance / mean(samples.map((sample) => (sample.at - at) ** 2))
}
