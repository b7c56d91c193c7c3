/** The metrics of the gateway, in a registry of its own, named by Prometheus' conventions; no label ever comes from a request's content. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { StatusReport } from '../bridge/contract.ts'
import { registerConfigMetrics, type ReloadOutcome } from './config-metrics.ts'
import { registerExpiryMetrics, type Expiries } from './expiry-metrics.ts'
import { createHsmCallHistogram } from './hsm-call-histogram.ts'
import type { KeyView } from './live-keys.ts'
import { registerRequestMetrics, type RequestMetrics } from './request-metrics.ts'
import type { Status } from './status.ts'
import { registerStatusMetrics } from './status-metrics.ts'
import { registerTracingMetrics, type TracingMetrics } from './tracing-metrics.ts'

/** What the rest of the gateway tells the metrics. */
export interface Metrics extends RequestMetrics, TracingMetrics {
  readonly tlsRefusal: () => void
  /** A new configuration was taken over, or was not fit. */
  readonly reload: (outcome: ReloadOutcome) => void
  readonly expiries: (expiries: Expiries) => void
  /** A request went to a vault, after so long in the queue. */
  readonly queueWait: (seconds: number) => void
  /** What a vault of this token reported as new. */
  readonly hsmCalls: (token: string, calls: StatusReport['calls']) => void
  readonly contentType: string
  readonly render: () => Promise<string>
}

/** What the metrics are read from when they are asked for. */
export interface MetricsSources {
  readonly status: () => Status
  readonly keys: () => KeyView['keys']
  /** The ids of the clients that may call now. */
  readonly clients: () => readonly string[]
  readonly development: boolean
  /** How many requests may wait for a vault. */
  readonly queue: number
}

// These read /proc, which this process may not: a false zero is worse than no figure.
const UNREADABLE = [
  'process_resident_memory_bytes',
  'process_virtual_memory_bytes',
  'process_heap_bytes',
  'process_open_fds',
  'process_max_fds',
]

// Gauges under a counter's name; without it, they are there by type.
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total']

/** Makes the metrics of one gateway. */
export function createMetrics({ status, keys, clients, development, queue }: MetricsSources): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  for (const name of [...UNREADABLE, ...MISNAMED]) registry.removeSingleMetric(name)
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })

  registerStatusMetrics(registry, status)
  const requests = registerRequestMetrics(registry, clients)
  const queueWaits = new Histogram({
    name: 'pinbridge_queue_wait_seconds',
    help: 'Time that a request waited before it went to a vault',
    buckets: [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10],
    registers,
  })
  const hsmCalls = createHsmCallHistogram(registry, () => status().tokens.map(({ name }) => name))
  const tlsRefusals = new Counter({
    name: 'pinbridge_tls_refusals_total',
    help: 'Connections that ended in the TLS handshake, such as for an untrusted certificate',
    registers,
  })
  const { expiries } = registerExpiryMetrics(registry, keys)
  const { reload } = registerConfigMetrics(registry, { status, development, queue })

  return {
    ...requests,
    ...registerTracingMetrics(registry),
    tlsRefusal: () => tlsRefusals.inc(),
    reload,
    expiries,
    queueWait: (seconds) => queueWaits.observe(seconds),
    hsmCalls,
    contentType: registry.contentType,
    render: () => registry.metrics(),
  }
}
