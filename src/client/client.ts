/**
 * A client of the service: a method for each operation, over mTLS, with time limits, safe retries and typed errors (M-41).
 *
 * It needs nothing but Node. On node:https and not on fetch, because fetch does not say whether a request has left, follows redirects, and
 * takes a client certificate only from a package of its own.
 */
import { X509Certificate } from 'node:crypto'
import { Agent } from 'node:https'
import { createSecureContext } from 'node:tls'
import { createCall, type CallOptions } from './call.ts'
import { ROUTES, type components } from './openapi.ts'

export type { CallOptions } from './call.ts'
export { PinbridgeError, type ErrorCode, type PinbridgeErrorCode } from './errors.ts'
export type * from './openapi.ts'

/** How to reach the service. Certificates that are renewed take a new client; `close` the old one. */
export interface ClientOptions {
  /** `https://host:port`; the server's certificate has to name the host. */
  readonly url: string
  /** The CA certificates of the server, PEM: no other is trusted, none of the system's either. */
  readonly ca: string | Buffer
  /** The client's certificate, with its intermediates behind it, PEM. */
  readonly cert: string | Buffer
  /** The key of the client's certificate, PEM. */
  readonly key: string | Buffer
  /**
   * Gives the bearer token of a request, where the service wants one. After a 401 it is asked once more, with the token that was
   * refused; if it gives another one, the request is sent once more: the service refuses before it does anything.
   */
  readonly token?: ((refused?: string) => Promise<string>) | undefined
  /** For a whole call with its waits and retries; 30 000 unless told. */
  readonly timeoutMs?: number | undefined
  /** For one attempt, from the wait for a connection to the last byte of the answer; 15 000 unless told. */
  readonly attemptTimeoutMs?: number | undefined
  /** How often a call is repeated at most that was answered 503 with Retry-After; 2 unless told. Nothing else is repeated. */
  readonly retries?: number | undefined
  /** How many connections there are at most; 16 unless told. Calls wait for one, within their time limit. */
  readonly connections?: number | undefined
}

/** The longest time that node's timers know: a longer one would be over at once. */
const MOST = 2 ** 31 - 1
/** The service closes a connection that was idle for 60 seconds, and says so; what is sent just then is lost, and nobody knows how far it came. */
const IDLE_MS = 30_000

type Schemas = components['schemas']
type Operation = keyof typeof ROUTES
type SchemaOf<Name> = Name extends keyof Schemas ? Schemas[Name] : never
/** The body of an operation. */
export type RequestOf<O extends Operation> = SchemaOf<`${Capitalize<O>}Request`>
/** The answer of an operation. */
export type AnswerOf<O extends Operation> = SchemaOf<`${Capitalize<O>}Answer`>

/** A method for each operation, which resolves to the answer of a 200 and rejects with a PinbridgeError. */
export type PinbridgeClient = {
  readonly [O in keyof typeof ROUTES]: (typeof ROUTES)[O] extends `GET ${string}`
    ? (options?: CallOptions) => Promise<AnswerOf<O>>
    : (body: RequestOf<O>, options?: CallOptions) => Promise<AnswerOf<O>>
} & {
  /** Takes no more calls, waits for those under way and closes the connections. */
  readonly close: () => Promise<void>
}

/**
 * Makes a client.
 *
 * @throws TypeError if the URL is not of the form `https://host:port`; RangeError if a number is none that can be kept to; node's error if a
 * PEM text is none, or the key is not the certificate's.
 */
export function createClient(options: ClientOptions): PinbridgeClient {
  const { ca, cert, key, token, timeoutMs = 30_000, attemptTimeoutMs = 15_000, retries = 2, connections = 16 } = options
  const base = new URL(options.url)
  if (base.protocol !== 'https:' || base.href !== `${base.origin}/`)
    throw new TypeError('url has to be https://host:port')
  for (const [name, value] of Object.entries({ timeoutMs, attemptTimeoutMs, retries, connections })) {
    const least = name === 'retries' ? 0 : 1
    if (!Number.isInteger(value) || value < least || value > MOST)
      throw new RangeError(`${name} has to be a whole number from ${least} to ${MOST}`)
  }
  // Throws if there is none: to node an empty text means the CAs of the system.
  new X509Certificate(ca)
  const agent = new Agent({
    secureContext: createSecureContext({ ca, cert, key, minVersion: 'TLSv1.3' }),
    // The default, unless somebody's environment has NODE_TLS_REJECT_UNAUTHORIZED.
    rejectUnauthorized: true,
    keepAlive: true,
    // Only of idle connections: nobody listens for it on one in use. Node takes a server's `keep-alive: timeout` only where it is shorter.
    timeout: IDLE_MS,
    maxSockets: connections,
    // A resumed session does not look at the certificate again.
    maxCachedSessions: 0,
  })
  const call = createCall({ agent, base, token, timeoutMs, attemptTimeoutMs, retries })
  const underWay = new Set<Promise<object>>()
  let isClosed = false

  const track = (route: string, body: unknown, callOptions: CallOptions = {}): Promise<object> => {
    const answer = call(route, body, callOptions, isClosed)
    underWay.add(answer)
    const done = () => underWay.delete(answer)
    answer.then(done, done)
    return answer
  }
  const methods = Object.entries(ROUTES).map(([operation, route]) => [
    operation,
    route.startsWith('GET ')
      ? (callOptions?: CallOptions) => track(route, undefined, callOptions)
      : (body: unknown, callOptions?: CallOptions) => track(route, body, callOptions),
  ])
  const close = async (): Promise<void> => {
    isClosed = true
    await Promise.allSettled(underWay)
    agent.destroy()
  }
  return { ...Object.fromEntries(methods), close } as PinbridgeClient
}
