/** The spans of a request: itself, its calls to vaults, what a vault did for each message, and the calls of the HSM. */
import type { CallTrace, MessageTrace } from '../../bridge/call-trace.ts'
import type { VaultTimings } from '../../bridge/contract.ts'
import type { KeyView } from '../live-keys.ts'
import type { RequestContext } from '../request-context.ts'
import { ABORTED, listed, methodOf, type Attributes } from './attributes.ts'
import { newSpanId, type BridgeCall, type RequestTrace } from './request-trace.ts'

/** Calls that shared a message with this one, by at most so many of their spans. */
const MOST_LINKS = 32

/** A span, all of it; times are in ms of the machine's monotonic clock. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  /** Whether its parent is another process's. */
  readonly hasRemoteParent?: boolean
  readonly name: string
  /** `server` for a request, `client` for a call of the HSM, `internal` for what is between. */
  readonly kind: 'server' | 'internal' | 'client'
  readonly startMs: number
  readonly endMs: number
  readonly attributes: Readonly<Record<string, string | number>>
  readonly isError: boolean
  readonly links: readonly Pick<CallTrace, 'traceId' | 'spanId'>[]
}

/** What of a request its span says. */
export type TracedRequest = Pick<RequestContext, 'requestId' | 'route' | 'client' | 'outcome'> & {
  readonly trace: RequestTrace
  readonly method: string | undefined
  /** Undefined if the client left before it was answered. */
  readonly status: number | undefined
  readonly endedMs: number
}

interface Family {
  readonly traceId: string
  /** Whether a key is one of the catalogue: a vault may be newer, or say anything. */
  readonly knowsKey: (id: string) => boolean
}

/** The spans of a request, each within its parent's time but for a call that its client did not wait for. */
export function spansOf(request: TracedRequest, keys: KeyView['keys']): Span[] {
  const { trace, status } = request
  const { traceId, spanId, parentSpanId } = trace
  const method = methodOf(request.method)
  const route = request.route.startsWith('/') ? request.route : undefined
  const code = request.outcome?.code ?? (status === undefined ? ABORTED : undefined)
  const server = spanOf({
    ...{ traceId, spanId, parentSpanId, hasRemoteParent: parentSpanId !== undefined },
    name: route === undefined ? method : `${method} ${route}`,
    kind: 'server',
    startMs: trace.startedMs,
    endMs: request.endedMs,
    // What the caller did wrong is no error of the server's, by the convention.
    isError: status === undefined || status >= 500,
    attributes: {
      'http.request.method': method,
      'http.route': route,
      'http.response.status_code': status,
      'url.scheme': 'https',
      'error.type': code,
      'pinbridge.request.id': request.requestId,
      'pinbridge.client.id': request.client?.id,
    },
  })
  const known = new Set(keys.map(({ id }) => id))
  const family = { traceId, knowsKey: (id: string) => known.has(id) }
  return [server, ...trace.calls.flatMap((call) => spansOfCall(call, spanId, family))]
}

function spansOfCall(call: BridgeCall, parentSpanId: string, family: Family): Span[] {
  const { traceId, spanId, operation, code, messages } = call
  const links = messages.flatMap(({ calls }) => calls.filter((other) => other !== call)).slice(0, MOST_LINKS)
  const bridge = spanOf({
    ...{ traceId, spanId, parentSpanId, links },
    name: `bridge ${operation}`,
    startMs: call.startedMs,
    endMs: call.endedMs,
    isError: code !== undefined,
    attributes: {
      'pinbridge.operation': operation,
      'pinbridge.queue.wait_ms': call.queueWaitMs,
      'pinbridge.messages.missing': call.messagesMissing || undefined,
      'error.type': code,
      'pinbridge.hsm.ckr': call.ckr,
    },
  })
  return [bridge, ...messages.flatMap((message) => spansOfMessage(message, call, family))]
}

/** What a message shares with other calls is told in the trace of each; `pinbridge.message.requests` says how many they are. */
function spansOfMessage(message: MessageTrace, { operation, spanId, endedMs }: BridgeCall, family: Family): Span[] {
  const { timings, givenMs, code } = message
  const endMs = message.endedMs ?? endedMs ?? givenMs
  const within = (moment: number): number => Math.min(Math.max(moment, givenMs), endMs)
  const vault = spanOf({
    traceId: family.traceId,
    parentSpanId: spanId,
    name: `vault ${operation}`,
    // From a vault that was lost nothing was heard: then it is the time that it was waited for.
    startMs: within(timings?.startedMs ?? givenMs),
    endMs: within(timings?.endedMs ?? endMs),
    isError: code !== undefined,
    attributes: {
      'pinbridge.operation': operation,
      'pinbridge.vault.id': message.vault,
      'pinbridge.token.name': message.token,
      'pinbridge.message.requests': message.requests,
      'pinbridge.message.items': message.items,
      'pinbridge.hsm.calls.missing': timings?.hsmCallsMissing || undefined,
      'error.type': code,
    },
  })
  const calls = (timings?.hsmCalls ?? []).flatMap((call) => spansOfHsmCall(call, vault, message.token, within, family))
  return [vault, ...calls]
}

function spansOfHsmCall(
  { call, key, version, calledMs, startedMs, endedMs, outcome }: VaultTimings['hsmCalls'][number],
  { traceId, spanId: parentSpanId }: Span,
  token: string,
  within: (moment: number) => number,
  { knowsKey }: Family,
): Span[] {
  const startMs = within(startedMs)
  const wait = { traceId, parentSpanId, name: 'wait for a session', startMs: within(calledMs), endMs: startMs }
  const isKnown = key !== undefined && knowsKey(key)
  const own = spanOf({
    ...{ traceId, parentSpanId, startMs, endMs: within(endedMs) },
    name: `HSM ${call}`,
    kind: 'client',
    isError: outcome === 'error',
    attributes: {
      'pinbridge.hsm.call': call,
      'pinbridge.token.name': token,
      'pinbridge.key.id': isKnown ? key : undefined,
      'pinbridge.key.version': isKnown ? version : undefined,
    },
  })
  return startedMs > calledMs ? [spanOf({ ...wait, attributes: {} }), own] : [own]
}

type SpanMembers = Pick<Span, 'traceId' | 'parentSpanId' | 'name' | 'startMs'> &
  Partial<Omit<Span, 'attributes' | 'endMs'>> & { readonly attributes: Attributes; readonly endMs: number | undefined }

function spanOf({ attributes, endMs, ...span }: SpanMembers): Span {
  return {
    ...{ spanId: newSpanId(), kind: 'internal', isError: false, links: [] },
    ...span,
    endMs: Math.max(span.startMs, endMs ?? span.startMs),
    attributes: listed(attributes),
  }
}
