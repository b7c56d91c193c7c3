/** What node's HTTP parser and clock refuse, before or beside Fastify: answered on the socket itself, in the same shape. */
import { randomUUID } from 'node:crypto'
import { STATUS_CODES, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ErrorCode } from '../errors.ts'
import type { Authentication } from './authentication.ts'
import { BEARER_CHALLENGE } from './bearer.ts'
import { problemOf, PROBLEM_TYPE } from './problem.ts'
import { findContext, openContext, type RequestContext } from './request-context.ts'
import type { RecordRequest } from './request-log.ts'

/** Time for the answer to reach a client that is still sending; closing at once would reset the connection and lose it. */
const LINGER_MS = 500

const CODES = new Map<string, ErrorCode>([
  ['HPE_HEADER_OVERFLOW', 'ERR_HEADERS_TOO_LARGE'],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', 'ERR_REQUEST_TOO_LARGE'],
  ['ERR_HTTP_REQUEST_TIMEOUT', 'ERR_REQUEST_TIMEOUT'],
])

/** The requests of each connection that are not answered yet. */
export interface OpenRequests {
  readonly add: (raw: IncomingMessage) => void
  readonly remove: (raw: IncomingMessage) => void
  readonly on: (socket: Duplex) => readonly IncomingMessage[]
  /** How many there are, and how many there have ever been. */
  readonly counts: () => { readonly open: number; readonly ever: number }
  /** Resolves once there is none: a closed server has let go of its connections and has yet to say so of the last ones. */
  readonly settled: () => Promise<void>
}

/** Makes the record of open requests. */
export function createOpenRequests(): OpenRequests {
  const sockets = new WeakMap<Duplex, Set<IncomingMessage>>()
  const emptied: (() => void)[] = []
  let count = 0
  let ever = 0
  return {
    add: (raw) => {
      const open = sockets.get(raw.socket) ?? new Set()
      sockets.set(raw.socket, open.add(raw))
      count++
      ever++
    },
    remove: (raw) => {
      if (sockets.get(raw.socket)?.delete(raw)) count--
      if (count === 0) for (const resolve of emptied.splice(0)) resolve()
    },
    on: (socket) => [...(sockets.get(socket) ?? [])],
    counts: () => ({ open: count, ever }),
    settled: () => (count === 0 ? Promise.resolve() : new Promise((resolve) => emptied.push(resolve))),
  }
}

/** Makes Fastify's clientErrorHandler. */
export function createClientErrorHandler(deps: {
  readonly open: OpenRequests
  readonly record: RecordRequest
  /** None on a listener that asks nobody who he is. */
  readonly authentication?: Authentication
}): (error: Error & { code?: string }, socket: Duplex) => void {
  const { open, record, authentication } = deps
  const answered = new WeakSet<Duplex>()

  return (error, socket) => {
    // The parser complains again about every byte that follows.
    if (answered.has(socket)) return
    answered.add(socket)
    const requests = open.on(socket)
    // A request that arrived whole is being worked on: an answer now would be taken for its answer. So the line is cut.
    const pending = requests.some((raw) => raw.complete)
    if (error.code === 'ECONNRESET' || !socket.writable || pending) return void socket.destroy()

    // Identity first, as in Fastify's own hook: who is not known is told nothing else. Where a token is asked for, a
    // certificate alone makes nobody known, and of what could not be read there is no token.
    const unread = requests[0] === undefined ? undefined : findContext({ raw: requests[0] })
    const bearer = authentication?.policy.bearer
    const client = unread?.client ?? (bearer?.required ? undefined : authentication?.identify(socket)?.client)
    const known = authentication === undefined || client !== undefined
    const code = known ? (CODES.get(error.code ?? '') ?? 'ERR_REQUEST_INVALID') : 'ERR_CLIENT_UNAUTHENTICATED'
    const context = unread ?? contextOfNoRequest()
    if (client !== undefined) context.client ??= client
    context.outcome ??= { code }
    answer(socket, context, context.outcome.code, bearer !== undefined)
    if (unread === undefined) record(context, problemOf(code, '').status)
  }
}

/** A context for what never became a request. */
function contextOfNoRequest(): RequestContext {
  const members = { requestId: randomUUID(), route: 'none', correlationId: undefined, traceparent: undefined }
  return openContext({ raw: {} as IncomingMessage }, members)
}

function answer(socket: Duplex, context: RequestContext, code: ErrorCode, challenges: boolean): void {
  const problem = problemOf(code, context.requestId)
  const body = JSON.stringify(problem)
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'cache-control: no-store',
    'connection: close',
  ]
  if (challenges && code === 'ERR_CLIENT_UNAUTHENTICATED') head.push(`www-authenticate: ${BEARER_CHALLENGE}`)
  if (context.correlationId !== undefined) head.push(`x-correlation-id: ${context.correlationId}`)
  if (context.traceparent !== undefined) head.push(`traceparent: ${context.traceparent}`)
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}
