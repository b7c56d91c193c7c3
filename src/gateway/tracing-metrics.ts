/** What became of traces and their spans; all 0 where nothing is traced. */
import { Counter, type Registry } from 'prom-client'

/** What tracing tells the metrics. */
export interface TracingMetrics {
  /** A request is traced, or would be but for the limit. */
  readonly trace: (outcome: 'taken' | 'limited') => void
  /** Spans that the collector has taken, or that were dropped because it refused them or took too long. */
  readonly spans: (outcome: 'exported' | 'dropped', count: number) => void
}

/** Registers them. */
export function registerTracingMetrics(registry: Registry): TracingMetrics {
  const registers = [registry]
  const labelNames = ['outcome'] as const
  const traces = new Counter({
    name: 'pinbridge_traces_total',
    help: 'Requests that were traced, or were not because of tracing.tracesPerSecond',
    labelNames,
    registers,
  })
  const spans = new Counter({
    name: 'pinbridge_trace_spans_total',
    help: 'Spans that the collector has taken, or that were dropped because it refused them or took too long',
    labelNames,
    registers,
  })
  for (const outcome of ['taken', 'limited']) traces.inc({ outcome }, 0)
  for (const outcome of ['exported', 'dropped']) spans.inc({ outcome }, 0)
  return {
    trace: (outcome) => traces.inc({ outcome }),
    spans: (outcome, count) => spans.inc({ outcome }, count),
  }
}
