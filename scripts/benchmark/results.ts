/** What a benchmark found: the cells of its table, a sample a round in each, and the words that name them. */
import { cpus, totalmem } from 'node:os'

/** What is asked of the HSM; batch and migrate are counted in rows. */
export const OPERATIONS = [
  'pin-set-ecdh',
  'pin-set-rsa',
  'pin-get',
  'translate',
  'batch',
  'migrate',
  'prw-verify',
] as const
export type OperationId = (typeof OPERATIONS)[number]

/** Who does it. */
export type SubjectId = 'hsm-calls' | 'plain' | 'pinbridge' | 'node-crypto' | 'node-forge'

/** A request's time in microseconds, that of the middle one and those of the slowest. */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly p999: number
}

/** One cell in one round. */
export interface Sample {
  /** Rows for batch and migrate. */
  readonly operations: number
  readonly wallMs: number
  /** CPU microseconds by kind of process; the sum is the subject's. */
  readonly cpuUs: Readonly<Record<string, number>>
  /** Of HTTP subjects only. */
  readonly latencyUs?: Latency
  /** Proportional set size by kind of process, at the end of the load. */
  readonly memoryBytes?: Readonly<Record<string, number>>
}

/** Which cell it is. */
export interface CellId {
  readonly operation: OperationId
  readonly subject: SubjectId
  /** Connections, or processes of hsm-calls. */
  readonly concurrency: number
  /** Added to every PKCS#11 call that does cryptography. */
  readonly hsmLatencyMs: number
  /** half: requests arrive at half of the throughput of the full cell of the same round, whoever is still unanswered. */
  readonly load: 'full' | 'half'
}

/** One operation by one subject at one concurrency and one HSM latency, over all rounds. */
export interface CellResult extends CellId {
  /** One a round, in order. */
  readonly samples: readonly Sample[]
}

/** How long the service takes from its start until it is ready. */
export interface StartResult {
  readonly keys: number
  readonly readyMs: readonly number[]
}

/** Which machine it was measured on: figures of another one are not to be compared. */
export interface Machine {
  readonly cores: number
  readonly model: string
  readonly memoryBytes: number
  readonly node: string
}

/** All that was measured. */
export interface Results {
  readonly machine: Machine
  readonly rounds: number
  /** What an operator set beside what `init --dev` writes, by HSM latency in milliseconds: YAML of pinbridge.yaml. */
  readonly settings: Readonly<Record<string, string>>
  readonly cells: readonly CellResult[]
  readonly start?: StartResult
}

export function thisMachine(): Machine {
  return {
    cores: cpus().length,
    model: cpus()[0]?.model.trim() ?? 'unknown',
    memoryBytes: totalmem(),
    node: process.version,
  }
}

/** A figure over all rounds. */
export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

/** The median of figures, and the least and the most of them. */
export function spreadOf(figures: readonly number[]): Spread {
  const sorted = figures.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  const median = (sorted[Math.ceil(middle) - 1]! + sorted[Math.floor(middle)]!) / 2
  return { median, least: sorted[0]!, most: sorted.at(-1)! }
}
