/** The door: what happens to every request before its route is looked at, in this order and on every path, errors included. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { ServiceError } from '../errors.ts'
import type { Identify } from './authentication.ts'
import { announcesBody, assertBodyHeaders } from './body-parser.ts'
import type { OpenRequests } from './client-errors.ts'
import { readCorrelation } from './correlation.ts'
import { openContext } from './request-context.ts'
import type { RecordRequest } from './request-log.ts'

/** The methods that each path takes, as the routes were declared. */
export type RouteMethods = ReadonlyMap<string, readonly string[]>

/** Makes the entry check; it throws what refuses the request. */
export function createEntry(deps: {
  readonly identify: Identify
  readonly record: RecordRequest
  readonly open: OpenRequests
  readonly methods: RouteMethods
}): (request: FastifyRequest, reply: FastifyReply) => void {
  const { identify, record, open, methods } = deps

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
      record(context, reply.raw.writableEnded ? reply.raw.statusCode : undefined)
    })
    reply.header('cache-control', 'no-store')
    if (context.correlationId !== undefined) reply.header('x-correlation-id', context.correlationId)
    if (context.traceparent !== undefined) reply.header('traceparent', context.traceparent)

    // 2. Who is it? Nobody else learns which routes there are.
    const client = identify(raw.socket)
    if (client === undefined) throw new ServiceError('ERR_CLIENT_UNAUTHENTICATED')
    context.client = client
    if (correlationIdMalformed) throw new ServiceError('ERR_REQUEST_INVALID')

    // 3. Is there such a route?
    if (request.is404) {
      const allowed = methods.get(raw.url?.split('?', 1)[0] ?? '')
      if (allowed === undefined) throw new ServiceError('ERR_NOT_FOUND')
      reply.header('allow', allowed.join(', '))
      throw new ServiceError('ERR_METHOD_NOT_ALLOWED')
    }

    // 4. Does it look like a request of this contract? No route takes a query: what stands there ends in other people's logs.
    const hostMissing = raw.httpVersion !== '1.0' && raw.headers.host === undefined
    const bodyless = raw.method === 'GET'
    if (hostMissing || raw.url?.includes('?') || (bodyless && announcesBody(raw.headers))) {
      throw new ServiceError('ERR_REQUEST_INVALID')
    }
    if (!bodyless) assertBodyHeaders(raw.headers)
  }
}
