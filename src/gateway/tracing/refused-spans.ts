/**
 * How many spans a collector refused of a batch that it took (OTLP specification, "Partial Success"): the exporter tells
 * OpenTelemetry's own log of it, and nobody else.
 */
import { diag, DiagLogLevel } from '@opentelemetry/api'

const PARTIAL_SUCCESS = 'Received Partial Success response:'

let refused = 0

const nothing = () => {}
diag.setLogger(
  { error: nothing, info: nothing, debug: nothing, verbose: nothing, warn: noteRefused },
  { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
)

/** Of what the collector says it is the number alone that is read. */
function noteRefused(message: string, partialSuccess?: unknown): void {
  if (message !== PARTIAL_SUCCESS || typeof partialSuccess !== 'string') return
  const { rejectedSpans } = JSON.parse(partialSuccess) as { rejectedSpans?: number }
  refused = rejectedSpans ?? 0
}

/** The number of the answer that has just been read: to be taken in the exporter's callback, before anything is awaited. */
export function takeRefusedSpans(): number {
  const count = refused
  refused = 0
  return count
}
