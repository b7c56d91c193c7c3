/** What the gateway knows of one request while it lasts: kept beside the request, so that nothing of it is logged by accident. */
import { performance } from 'node:perf_hooks'
import type { IncomingMessage } from 'node:http'
import type { ClientEntry } from '../config/schema.ts'
import type { ErrorCode, ErrorDetail } from '../errors.ts'
import type { AuditNotes } from './audited.ts'
import type { NamedKey } from './live-keys.ts'
import type { RequestTrace } from './tracing/request-trace.ts'

/** Anything that carries node's own request: a FastifyRequest of whatever generics. */
export interface HasRawRequest {
  readonly raw: IncomingMessage
}

/** One request's identity, who made it, what it asked for and how it ended. */
export interface RequestContext {
  readonly requestId: string
  readonly startedAtMs: number
  /** The route's pattern; never the URL, which may hold anything. */
  readonly route: string
  readonly correlationId: string | undefined
  readonly traceparent: string | undefined
  client?: ClientEntry
  operation?: string
  keys?: readonly NamedKey[]
  batch?: BatchCounts
  audit?: AuditNotes
  outcome?: Outcome
  /** Where it is traced. */
  trace?: RequestTrace
}

/** How the items of a batch ended. */
export interface BatchCounts {
  readonly items: number
  readonly rejected: number
  readonly limited: number
}

/** How a request ended, where it did not end well. */
export interface Outcome {
  readonly code: ErrorCode
  readonly detail?: ErrorDetail | undefined
  /** The class of a foreign error: the one thing of it that is safe to record. */
  readonly errorType?: string | undefined
}

const contexts = new WeakMap<IncomingMessage, RequestContext>()

/** Opens the context of a request that has just arrived. */
export function openContext(request: HasRawRequest, members: Omit<RequestContext, 'startedAtMs'>): RequestContext {
  const context = { ...members, startedAtMs: performance.now() }
  contexts.set(request.raw, context)
  return context
}

/** The context of a request, if one was opened. */
export function findContext(request: HasRawRequest): RequestContext | undefined {
  return contexts.get(request.raw)
}

/** The context of a request that passed the entry hook. */
export function contextOf(request: HasRawRequest): RequestContext {
  const context = contexts.get(request.raw)
  if (context === undefined) throw new Error('internal error: a request without a context')
  return context
}
