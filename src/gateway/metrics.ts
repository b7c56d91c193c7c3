/** The metrics of the gateway, in a registry of its own; no label ever comes from a request's content. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { StatusReport } from '../bridge/contract.ts'
import { createHsmCallHistogram } from './hsm-call-histogram.ts'
import type { Status } from './status.ts'
import { registerStatusMetrics } from './status-metrics.ts'

/** What the rest of the gateway tells the metrics. */
export interface Metrics {
  readonly request: (route: string, status: string, code: string, seconds: number) => void
  readonly guess: (client: string) => void
  readonly panVariationAlarm: () => void
  readonly tlsRefusal: () => void
  /** A new configuration was taken over, or was not fit. */
  readonly reload: (outcome: 'applied' | 'refused') => void
  /** When certificates of the API listener expire, in milliseconds since 1970. */
  readonly expiries: (expiries: Readonly<Record<'server' | 'client-ca', number>>) => void
  /** A request went to a vault, after so long in the queue. */
  readonly queueWait: (seconds: number) => void
  /** What a vault of this token reported as new. */
  readonly hsmCalls: (token: string, calls: StatusReport['calls']) => void
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
export function createMetrics(options: { readonly status: () => Status; readonly development: boolean }): Metrics {
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
  const reloads = new Counter({
    name: 'pinbridge_reloads_total',
    help: 'New configurations that were taken over, or were not fit and left everything as it was',
    labelNames: ['outcome'] as const,
    registers,
  })
  for (const outcome of ['applied', 'refused']) reloads.inc({ outcome }, 0)
  let expiries: Readonly<Record<string, number>> = {}
  new Gauge({
    name: 'pinbridge_certificate_expiry_seconds',
    help: 'Time until a certificate of the API listener expires: of the server, of the first of the CAs of clients',
    labelNames: ['certificate'] as const,
    registers,
    collect() {
      for (const [certificate, atMs] of Object.entries(expiries)) this.set({ certificate }, (atMs - Date.now()) / 1000)
    },
  })
  const queueWaits = new Histogram({
    name: 'pinbridge_queue_wait_seconds',
    help: 'Time that a request waited before it went to a vault',
    buckets: [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    registers,
  })
  const hsmCalls = createHsmCallHistogram(registry)
  registerStatusMetrics(registry, options.status)
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
    reload: (outcome) => reloads.inc({ outcome }),
    expiries: (found) => {
      expiries = found
    },
    queueWait: (seconds) => queueWaits.observe(seconds),
    hsmCalls,
    contentType: registry.contentType,
    render: () => registry.metrics(),
  }
}
