/** The two headers that are taken over from a caller and returned: x-correlation-id and W3C traceparent. */

const CORRELATION_ID = /^[a-zA-Z0-9_\-. ]{1,64}$/
// W3C Trace Context, section 3.2: version ff is invalid, and so are an all-zero trace id and parent id.
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/

/** What a request's headers give: a malformed correlation id is told apart from none, because it refuses the request. */
export interface Correlation {
  readonly correlationId: string | undefined
  readonly correlationIdMalformed: boolean
  readonly traceparent: string | undefined
}

/** Reads both headers; a repeated one arrives joined by a comma and is therefore malformed. */
export function readCorrelation(headers: Readonly<Record<string, string | string[] | undefined>>): Correlation {
  const id = headers['x-correlation-id']
  const trace = headers['traceparent']
  const correlationId = typeof id === 'string' && CORRELATION_ID.test(id) ? id : undefined
  return {
    correlationId,
    correlationIdMalformed: id !== undefined && correlationId === undefined,
    // Section 3.2.2.3 has a malformed traceparent ignored, not refused.
    traceparent: typeof trace === 'string' && TRACEPARENT.test(trace) ? trace : undefined,
  }
}

/** The trace id inside a well-formed traceparent. */
export function traceIdOf(traceparent: string): string | undefined {
  return TRACEPARENT.exec(traceparent)?.[1]
}

/** What a well-formed traceparent says: the trace, the caller's span in it, and whether the caller records it (section 3.2.2.5). */
export interface Traceparent {
  readonly traceId: string
  readonly spanId: string
  readonly isSampled: boolean
}

/** Reads a well-formed traceparent; undefined if it is none. */
export function traceparentOf(text: string): Traceparent | undefined {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(text) ?? []
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined
  return { traceId, spanId, isSampled: (parseInt(flags, 16) & 1) === 1 }
}
