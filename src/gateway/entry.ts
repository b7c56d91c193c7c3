/** The door: what happens to every request before its route is looked at, in this order and on every path, errors included (M-16). */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { IncomingMessage } from 'node:http'
import { finished } from 'node:stream/promises'
import { ServiceError } from '../errors.ts'
import type { ClientEntry } from '../config/schema.ts'
import type { Authentication } from './authentication.ts'
import { BEARER_CHALLENGE } from './bearer.ts'
import { announcesBody, assertBodyHeaders } from './body-parser.ts'
import type { OpenRequests } from './client-errors.ts'
import { readCorrelation } from './correlation.ts'
import { openContext, type RequestContext } from './request-context.ts'
import type { RecordRequest } from './request-log.ts'
import type { Tracing } from './tracing/tracing.ts'

/** The methods that each path takes, as the routes were declared. */
export type RouteMethods = ReadonlyMap<string, readonly string[]>

/** Lets a request in, or throws what refuses it; at once, unless a token has to be verified or a body read away first. */
export type Enter = (request: FastifyRequest, reply: FastifyReply) => void | Promise<void>

/** Makes the entry check. */
export function createEntry(deps: {
  readonly authentication: Authentication
  readonly record: RecordRequest
  readonly open: OpenRequests
  readonly methods: RouteMethods
  readonly tracing?: Tracing | undefined
}): Enter {
  const { authentication, record, open, methods, tracing } = deps

  return (request, reply) => {
    const { raw } = request
    // 1. Give it a context, so that however it ends there is a record and the caller's ids go back.
    const { correlationIdMalformed, ...correlation } = readCorrelation(raw.headers)
    const route = request.is404 ? 'unmatched' : (request.routeOptions.url ?? 'unmatched')
    const context = openContext(request, { requestId: request.id, route, ...correlation })
    open.add(raw)
    reply.raw.once('close', () => {
      open.remove(raw)
      // Ended, not finished: a client may have its answer and hang up before node learns that the kernel took it.
      const status = reply.raw.writableEnded ? reply.raw.statusCode : undefined
      record(context, status)
      tracing?.end(context, raw.method, status)
    })
    reply.header('cache-control', 'no-store')
    if (context.correlationId !== undefined) reply.header('x-correlation-id', context.correlationId)
    if (context.traceparent !== undefined) reply.header('traceparent', context.traceparent)

    // 2. Who is it? Nobody else learns which routes there are.
    const client = authentication.authenticate(raw)
    if (!(client instanceof Promise)) return admit(request, reply, context, client, correlationIdMalformed)
    return client.then((found) => admit(request, reply, context, found, correlationIdMalformed))
  }

  function admit(
    request: FastifyRequest,
    reply: FastifyReply,
    context: RequestContext,
    client: ClientEntry | undefined,
    correlationIdMalformed: boolean,
  ): void | Promise<void> {
    const { raw } = request
    if (client === undefined) {
      // On another connection the client may show a certificate that is good, or a CA that has come since may find it so.
      reply.header('connection', 'close')
      if (authentication.policy.bearer) reply.header('www-authenticate', BEARER_CHALLENGE)
      const refusal = new ServiceError('ERR_CLIENT_UNAUTHENTICATED')
      if (!announcesBody(raw.headers)) throw refusal
      // A connection that is closed while the client still sends is reset, and takes the answer with it.
      context.outcome = { code: refusal.code }
      return drain(raw).then(() => Promise.reject(refusal))
    }
    context.client = client
    tracing?.begin(context)
    if (correlationIdMalformed) throw new ServiceError('ERR_REQUEST_INVALID')

    // 3. Is there such a route?
    if (request.is404) {
      const allowed = methods.get(raw.url?.split('?', 1)[0] ?? '')
      if (allowed === undefined) throw new ServiceError('ERR_NOT_FOUND')
      reply.header('allow', allowed.join(', '))
      throw new ServiceError('ERR_METHOD_NOT_ALLOWED')
    }

    // 4. Does it look like a request of this contract? No route takes a query: what stands there ends in other people's logs.
    const bodyless = raw.method === 'GET'
    if (!hasOneHost(raw) || !canMeet(raw.headers.expect) || raw.url?.includes('?')) {
      throw new ServiceError('ERR_REQUEST_INVALID')
    }
    if (bodyless && announcesBody(raw.headers)) throw new ServiceError('ERR_REQUEST_INVALID')
    if (!bodyless) assertBodyHeaders(raw.headers)
  }
}

/** Reads a body away; resolves at its end, or at the end of its connection. */
async function drain(raw: IncomingMessage): Promise<void> {
  await finished(raw.resume(), { writable: false }).catch(() => {})
}

/** RFC 9112 section 3.2: one Host, and none only in HTTP/1.0; node takes the first of several. */
function hasOneHost({ headersDistinct, httpVersion }: IncomingMessage): boolean {
  const hosts = headersDistinct['host']?.length ?? 0
  return hosts === 1 || (hosts === 0 && httpVersion === '1.0')
}

/** RFC 9110 section 10.1.1: there is one expectation, and node has met it. */
function canMeet(expectation: string | undefined): boolean {
  return expectation === undefined || expectation.toLowerCase() === '100-continue'
}
