/** The metrics of the gateway, in a registry of its own; no label ever comes from a request's content. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { BridgeStatus } from './status.ts'

/** What the rest of the gateway tells the metrics. */
export interface Metrics {
  readonly request: (route: string, status: string, code: string, seconds: number) => void
  readonly guess: (client: string) => void
  readonly panVariationAlarm: () => void
  readonly tlsRefusal: () => void
  readonly contentType: string
  readonly render: () => Promise<string>
}

const UNREADABLE = [
  'process_resident_memory_bytes',
  'process_virtual_memory_bytes',
  'process_heap_bytes',
  'process_open_fds',
  'process_max_fds',
]

/** Makes the metrics of one gateway. */
export function createMetrics(options: {
  readonly status: () => BridgeStatus
  readonly development: boolean
}): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  // These read /proc, which this process may not: a false zero is worse than no figure.
  for (const name of UNREADABLE) registry.removeSingleMetric(name)
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })

  const requests = new Counter({
    name: 'pinbridge_requests_total',
    help: 'Requests by route pattern, HTTP status and outcome code',
    labelNames: ['route', 'status', 'code'] as const,
    registers,
  })
  const durations = new Histogram({
    name: 'pinbridge_request_duration_seconds',
    help: 'Time from the arrival of the headers to the end of the answer',
    labelNames: ['route'] as const,
    buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    registers,
  })
  const guesses = new Counter({
    name: 'pinbridge_guesses_total',
    help: 'Answers that told a client that a PIN block, PRW or MAC was wrong',
    labelNames: ['client'] as const,
    registers,
  })
  const alarms = new Counter({
    name: 'pinbridge_pan_variation_alarms_total',
    help: 'Requests refused because one PIN block came with more than two PANs',
    registers,
  })
  const tlsRefusals = new Counter({
    name: 'pinbridge_tls_refusals_total',
    help: 'Connections that ended in the TLS handshake, such as for an untrusted certificate',
    registers,
  })
  new Gauge({
    name: 'pinbridge_vaults',
    help: 'Vaults by state',
    labelNames: ['state'] as const,
    registers,
    collect() {
      this.reset()
      for (const { state } of options.status().vaults) this.inc({ state })
    },
  })
  new Gauge({
    name: 'pinbridge_requests_in_flight',
    help: 'Requests that a vault is working on',
    registers,
    collect() {
      this.set(options.status().vaults.reduce((sum, { inFlight }) => sum + inFlight, 0))
    },
  })
  new Gauge({
    name: 'pinbridge_queue_length',
    help: 'Requests that wait for a vault',
    registers,
    collect() {
      this.set(options.status().queued)
    },
  })
  new Gauge({
    name: 'pinbridge_development_mode',
    help: '1 where the environment is development: never in production',
    registers,
  }).set(options.development ? 1 : 0)

  return {
    request: (route, status, code, seconds) => {
      requests.inc({ route, status, code })
      durations.observe({ route }, seconds)
    },
    guess: (client) => guesses.inc({ client }),
    panVariationAlarm: () => alarms.inc(),
    tlsRefusal: () => tlsRefusals.inc(),
    contentType: registry.contentType,
    render: () => registry.metrics(),
  }
}
