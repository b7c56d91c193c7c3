/** Results of a benchmark that never ran: cells of given samples, and a whole set of them for whoever draws or prints one. */
import {
  OPERATIONS,
  type CellId,
  type CellResult,
  type OperationId,
  type Results,
  type Sample,
} from '../../scripts/benchmark/results.ts'

/** A sample of 1000 operations, unless it is said otherwise. */
export function sampleOf(sample: Partial<Sample>): Sample {
  return { operations: 1000, wallMs: 1000, cpuUs: {}, ...sample }
}

/** A cell at full load without added latency, unless it is said otherwise. */
export function cellOf(
  id: Pick<CellId, 'operation' | 'subject' | 'concurrency'> & Partial<CellId>,
  samples: readonly Partial<Sample>[],
): CellResult {
  return { hsmLatencyMs: 0, load: 'full', ...id, samples: samples.map(sampleOf) }
}

/** Results of these cells, on a machine of two cores. */
export function resultsOf(cells: readonly CellResult[], rest: Partial<Results> = {}): Results {
  return {
    machine: { cores: 2, model: 'Invented CPU', memoryBytes: 8 * 2 ** 30, node: 'v24.0.0' },
    rounds: 5,
    settings: {},
    start: { keys: 50, readyMs: [900, 950, 1000, 1050, 1100] },
    ...rest,
    cells,
  }
}

/** CPU microseconds: of the bare calls, of the gateway, and of the plain service. */
const COSTS: Readonly<Record<OperationId, readonly [number, number, number]>> = {
  'pin-set-ecdh': [190, 150, 520],
  'pin-set-rsa': [610, 150, 950],
  'pin-get': [25, 150, 350],
  translate: [42, 120, 200],
  batch: [0.55, 1.2, 6],
  migrate: [0.55, 0.5, 4],
  'prw-verify': [43, 120, 210],
}
const LATENCIES_MS = [0, 1, 3, 10]
const CONNECTIONS = [1, 16, 64, 256]
const CALLS = 4

/** A whole run by rule of thumb, the same each time: every kind of cell, five rounds. */
export function inventedResults(): Results {
  const cells = OPERATIONS.flatMap((operation) => {
    const [bare, gateway, plain] = COSTS[operation]
    const isOneByOne = operation !== 'batch' && operation !== 'migrate'
    const made: CellResult[] = []
    const add = (
      id: Pick<CellId, 'subject' | 'concurrency'> & Partial<CellId>,
      cpuUs: Record<string, number>,
      rate: number,
      latencyMs?: number,
    ): void => void made.push(cellOf({ operation, ...id }, fiveRounds(cpuUs, rate, latencyMs)))
    add({ subject: 'hsm-calls', concurrency: 1 }, { 'hsm-calls': bare }, 1e6 / bare)
    add({ subject: 'hsm-calls', concurrency: 2 }, { 'hsm-calls': bare * 1.1 }, 1.8e6 / bare)
    add({ subject: 'node-crypto', concurrency: 1 }, { 'node-crypto': bare / 2 }, 2e6 / bare)
    add({ subject: 'node-forge', concurrency: 1 }, { 'node-forge': bare * 20 }, 5e4 / bare)
    const shares = { supervisor: 1, gateway, vaults: bare * 1.3 }
    if (!isOneByOne) {
      add({ subject: 'plain', concurrency: 1 }, { plain }, 1e6 / plain, 60)
      add({ subject: 'pinbridge', concurrency: 1 }, { ...shares, supervisor: 0.01 }, 1.6e6 / (gateway + bare), 25)
      return made
    }
    for (const hsmLatencyMs of LATENCIES_MS) {
      const all = gateway + bare * 1.3
      for (const concurrency of CONNECTIONS) {
        const alone = plain / 1000 + CALLS * hsmLatencyMs
        add({ subject: 'plain', concurrency, hsmLatencyMs }, { plain }, 1000 / alone, concurrency * alone)
        const aloneMs = 0.6 + CALLS * hsmLatencyMs
        const rate = Math.min(
          1.4e6 / all,
          (concurrency * 1000) / aloneMs,
          32_000 / (CALLS * hsmLatencyMs + bare / 1000),
        )
        add({ subject: 'pinbridge', concurrency, hsmLatencyMs }, shares, rate, (concurrency * 1000) / rate)
      }
    }
    add({ subject: 'pinbridge', concurrency: 64, load: 'half' }, shares, 7e5 / (gateway + bare), 1.2)
    return made
  })
  const slow = 'hsm:\n  vaults: 2\n  sessions: 16\n'
  return resultsOf(cells, { settings: { 1: slow, 3: slow, 10: slow } })
}

function fiveRounds(cpuUs: Record<string, number>, rate: number, latencyMs?: number): Partial<Sample>[] {
  return [0.96, 1.03, 1, 1.08, 0.98].map((sway) => ({
    wallMs: (1e6 / rate) * sway,
    cpuUs: Object.fromEntries(Object.entries(cpuUs).map(([kind, us]) => [kind, 1000 * us * sway])),
    ...(latencyMs !== undefined && {
      latencyUs: { p50: 1000 * latencyMs * sway, p99: 1700 * latencyMs * sway, p999: 2600 * latencyMs * sway },
      memoryBytes: { gateway: 90 * 2 ** 20, vaults: 130 * 2 ** 20 },
    }),
  }))
}
