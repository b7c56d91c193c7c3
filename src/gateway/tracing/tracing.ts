/** Tracing of requests (M-39): which are traced, their spans once they have ended, and their way to a collector. */
import { monotonicMs } from '../../bridge/monotonic-clock.ts'
import type { GatewayConfig, TracingConfig } from '../../config/schema.ts'
import type { Logger } from '../../log.ts'
import type { LiveKeys } from '../live-keys.ts'
import type { Metrics } from '../metrics.ts'
import type { RequestContext } from '../request-context.ts'
import { openSpanExport } from './export-spans.ts'
import { RequestTrace } from './request-trace.ts'
import { createSampler } from './sampling.ts'
import { spansOf } from './spans.ts'

/** What the gateway tells of its requests. */
export interface Tracing {
  /** Begins the trace of a request, or does not; of a client that is known, which is who may have traces made. */
  readonly begin: (context: RequestContext) => void
  /** A request has ended; without a status, its client left before it was answered. */
  readonly end: (context: RequestContext, method: string | undefined, status: number | undefined) => void
  /** Sends what is left, as far as a collector takes it soon. */
  readonly close: () => Promise<void>
}

/** Makes it; from here on spans may be sent. */
export function openTracing(
  config: TracingConfig,
  deps: {
    readonly environment: GatewayConfig['environment']
    readonly keys: LiveKeys
    readonly log: Pick<Logger, 'info' | 'error'>
    readonly metrics: Pick<Metrics, 'trace' | 'spans'>
  },
): Tracing {
  const { keys, metrics } = deps
  const sample = createSampler(config)
  const spanExport = openSpanExport(config, deps)
  return {
    begin: (context) => {
      const decision = sample(context.traceparent, performance.now())
      if (decision !== 'not') metrics.trace(decision)
      if (decision === 'taken') context.trace = new RequestTrace(context.traceparent, context.startedAtMs)
    },
    end: (context, method, status) => {
      const { trace } = context
      if (trace === undefined) return
      const endedMs = monotonicMs()
      trace.whenSettled(() => spanExport.add(spansOf({ ...context, trace, method, status, endedMs }, keys.now.keys)))
    },
    close: spanExport.close,
  }
}
