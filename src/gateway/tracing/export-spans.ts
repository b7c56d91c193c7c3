/**
 * The way of spans to a collector, by OTLP over HTTP: with OpenTelemetry's own queue and exporter, and a bound on everything that
 * a collector could take from this process, which are memory, connections and time.
 *
 * Nothing waits for it. What it does not take in time is dropped and counted; the log is told once when it stops taking spans, and
 * once when it takes them again.
 */
import { SpanKind, SpanStatusCode, TraceFlags, type HrTime, type Link, type SpanContext } from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes, type Resource } from '@opentelemetry/resources'
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace'
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { monotonicMs } from '../../bridge/monotonic-clock.ts'
import type { GatewayConfig, TracingConfig } from '../../config/schema.ts'
import type { Logger } from '../../log.ts'
import { VERSION } from '../../version.ts'
import type { Metrics } from '../metrics.ts'
import { collectorAgent } from './collector-agent.ts'
import { takeRefusedSpans } from './refused-spans.ts'
import type { Span } from './spans.ts'

/** The most spans that wait or are on their way: some megabytes. */
export const MOST_PENDING_SPANS = 4096
const BATCH_SPANS = 512
const BATCH_EVERY_MS = 1_000
/** For one batch, tries and all. */
const EXPORT_MS = 5_000
/** For the last ones, while the service stops. */
const CLOSE_MS = 2_000

const KINDS = { server: SpanKind.SERVER, internal: SpanKind.INTERNAL, client: SpanKind.CLIENT } as const

type Done = Parameters<SpanExporter['export']>[1]

/** Where spans go. */
export interface SpanExport {
  /** Takes the spans of a request, or drops all of them: a trace is whole or not there. */
  readonly add: (spans: readonly Span[]) => void
  readonly close: () => Promise<void>
}

/** Opens the way to the collector of the configuration; the first connection is made for the first spans. */
export function openSpanExport(
  config: TracingConfig,
  deps: {
    readonly environment: GatewayConfig['environment']
    readonly log: Pick<Logger, 'info' | 'error'>
    readonly metrics: Pick<Metrics, 'spans'>
  },
): SpanExport {
  const { environment, metrics } = deps
  const agent = collectorAgent(config)
  const otlp = new OTLPTraceExporter({
    url: config.endpoint,
    timeoutMillis: EXPORT_MS,
    // At the end, all that is left goes at once.
    concurrencyLimit: MOST_PENDING_SPANS / BATCH_SPANS + 1,
    httpAgentOptions: () => agent,
  })
  const tell = createTeller(deps.log)
  let pending = 0
  const settle = (outcome: 'exported' | 'dropped', spans: number): void => {
    pending -= spans
    metrics.spans(outcome, spans)
  }
  const exporter: SpanExporter = {
    export: (spans, done) => {
      let refused = 0
      const finish = once((result) => {
        clearTimeout(deadline)
        const isTaken = result.code === ExportResultCode.SUCCESS
        const exported = isTaken ? spans.length - refused : 0
        settle('exported', exported)
        settle('dropped', spans.length - exported)
        tell(isTaken ? (refused > 0 ? new Refused() : undefined) : (result.error ?? new Error()))
        done(result)
      })
      // A collector that answers a byte now and then is never silent for long enough to be given up by the exporter.
      const deadline = setTimeout(() => {
        finish({ code: ExportResultCode.FAILED, error: new Late() })
        agent.destroy()
      }, EXPORT_MS)
      otlp.export(spans, (result) => {
        refused = Math.min(takeRefusedSpans(), spans.length)
        finish(result)
      })
    },
    forceFlush: () => otlp.forceFlush(),
    shutdown: () => otlp.shutdown(),
  }
  const queue = new BatchSpanProcessor({
    exporter,
    maxQueueSize: MOST_PENDING_SPANS,
    maxExportBatchSize: BATCH_SPANS,
    scheduledDelayMillis: BATCH_EVERY_MS,
    exportTimeoutMillis: 2 * EXPORT_MS,
  })
  const resource = resourceFromAttributes({
    'service.name': 'pinbridge',
    'service.version': VERSION,
    // Of this process: nodes are told apart by it.
    'service.instance.id': randomUUID(),
    'deployment.environment.name': environment,
  })

  return {
    add: (spans) => {
      if (pending + spans.length > MOST_PENDING_SPANS) {
        metrics.spans('dropped', spans.length)
        return
      }
      pending += spans.length
      // The wall clock as it is now, for all of them: what sets it meanwhile moves no span against another.
      const epochMs = Date.now() - monotonicMs()
      for (const span of spans) queue.onEnd(readable(span, resource, epochMs))
    },
    close: async () => {
      await Promise.race([queue.shutdown().catch(() => {}), pause(CLOSE_MS)])
      agent.destroy()
    },
  }
}

class Late extends Error {}
/** Of some spans of a batch that was taken. */
class Refused extends Error {}

/** Says why the collector takes no spans, or not all, once for each reason, and that it does again. */
function createTeller(log: Pick<Logger, 'info' | 'error'>): (error: Error | undefined) => void {
  let told: string | undefined
  return (error) => {
    const status = error === undefined ? undefined : statusOf(error)
    const reason = error && reasonOf(error)
    const text = reason && `${reason} ${status}`
    if (text === told) return
    told = text
    if (reason === undefined) log.info({ event: 'tracing' }, 'the trace collector takes spans again')
    else log.error({ event: 'tracing', reason, status }, 'the trace collector takes no spans, or not all')
  }
}

function reasonOf(error: Error): 'timeout' | 'refused' | 'connection' {
  if (error instanceof Late) return 'timeout'
  // The exporter's own is of an answer; it has a status only where no second try could have been of use.
  return error instanceof Refused || error.name === 'OTLPExporterError' ? 'refused' : 'connection'
}

/** The HTTP status of an exporter's error; its text is the collector's. */
function statusOf(error: Error): number | undefined {
  return 'code' in error && typeof error.code === 'number' ? error.code : undefined
}

function once(finish: Done): Done {
  let isDone = false
  return (result) => {
    if (isDone) return
    isDone = true
    finish(result)
  }
}

/** A span as the exporter takes it. No `tracestate`: it is whatever the caller has put there. */
function readable(span: Span, resource: Resource, epochMs: number): ReadableSpan {
  const { traceId, spanId, parentSpanId, hasRemoteParent = false, startMs, endMs } = span
  const contextOf = (id: string, isRemote: boolean, ofTrace = traceId): SpanContext => {
    return { traceId: ofTrace, spanId: id, traceFlags: TraceFlags.SAMPLED, isRemote }
  }
  const context = contextOf(spanId, false)
  return {
    name: span.name,
    kind: KINDS[span.kind],
    spanContext: () => context,
    ...(parentSpanId !== undefined && { parentSpanContext: contextOf(parentSpanId, hasRemoteParent) }),
    startTime: timeOf(startMs + epochMs),
    endTime: timeOf(endMs + epochMs),
    duration: timeOf(endMs - startMs),
    status: { code: span.isError ? SpanStatusCode.ERROR : SpanStatusCode.UNSET },
    attributes: span.attributes,
    links: span.links.map((link): Link => ({ context: contextOf(link.spanId, false, link.traceId) })),
    events: [],
    ended: true,
    resource,
    instrumentationScope: { name: 'pinbridge', version: VERSION },
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  }
}

/** Seconds and nanoseconds. */
function timeOf(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000)
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)]
}
