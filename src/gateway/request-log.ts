/** One record per request, built from listed members only: never a URL, a query, a header or a body. */
import { performance } from 'node:perf_hooks'
import type { Logger } from '../log.ts'
import { withUsed } from './audited.ts'
import { traceIdOf } from './correlation.ts'
import type { LiveKeys } from './live-keys.ts'
import type { Metrics } from './metrics.ts'
import type { RequestContext } from './request-context.ts'

/** Records the end of a request; without a status, the client left before it was answered. */
export type RecordRequest = (context: RequestContext, status: number | undefined) => void

/** Makes the recorder of log and metrics. */
export function createRecorder(deps: {
  readonly log: Logger
  readonly metrics: Metrics
  readonly keys: LiveKeys
}): RecordRequest {
  const { log, metrics, keys } = deps

  return (context, status) => {
    const { outcome } = context
    // A name that the catalogue does not know is the caller's text, and does not enter the log.
    const named = (context.keys ?? []).flatMap((key) => keys.now.refOf(key) ?? [])
    const durationMs = performance.now() - context.startedAtMs
    const code = outcome?.code ?? (status === undefined ? 'ABORTED' : 'OK')
    const { route, client } = context
    metrics.request({ route, status, code, client: client?.id, seconds: durationMs / 1000 })

    const record = {
      event: 'request',
      requestId: context.requestId,
      correlationId: context.correlationId,
      traceId: context.trace?.traceId ?? (context.traceparent && traceIdOf(context.traceparent)),
      route: context.route,
      clientId: context.client?.id,
      operation: context.operation,
      keys: withUsed(named, context.audit?.usedKeys ?? []),
      batch: context.batch,
      code,
      status,
      durationMs: Math.round(durationMs * 1000) / 1000,
      ckr: outcome?.detail?.ckr,
      method: outcome?.detail?.method,
      reason: outcome?.detail?.reason,
      errorType: outcome?.errorType,
    }
    if (code === 'ERR_INTERNAL') log.error(record)
    else log.info(record)
  }
}
