/** One call: its time limits, its token, and the only two things that are sent again (M-41). */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { Agent } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { PinbridgeError, type ErrorFacts } from './errors.ts'
import { exchange } from './exchange.ts'
import { readAnswer } from './read-answer.ts'

/** What a call may say beside its body. */
export interface CallOptions {
  /** 1 to 64 of letters, digits, `_`, `-`, `.` and space, and no card data; a random UUID unless told. */
  readonly correlationId?: string | undefined
  /** W3C Trace Context; one that is malformed is not sent. */
  readonly traceparent?: string | undefined
  /** Ends the call. */
  readonly signal?: AbortSignal | undefined
}

/** What all calls of a client share. */
export interface CallSettings {
  readonly agent: Agent
  readonly base: URL
  readonly token: ((refused?: string) => Promise<string>) | undefined
  readonly timeoutMs: number
  readonly attemptTimeoutMs: number
  readonly retries: number
}

/** Makes a call of a route, such as `POST /v1/pin/get`, and gives the JSON of its 200. */
export type Call = (route: string, body: unknown, options: CallOptions, isClosed: boolean) => Promise<object>

const CORRELATION_ID = /^[a-zA-Z0-9_\-. ]{1,64}$/
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/
/** RFC 6750 section 2.1. */
const BEARER_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/

/** Makes the calls of a client. */
export function createCall({ agent, base, token, timeoutMs, attemptTimeoutMs, retries }: CallSettings): Call {
  return async (route, body, { correlationId = randomUUID(), traceparent = '', signal }, isClosed) => {
    const fail = (facts: Omit<ErrorFacts, 'correlationId'>) => new PinbridgeError({ ...facts, correlationId })
    const unanswered = (reason: string, mayHaveHappened = false) => fail({ code: 'NO_ANSWER', reason, mayHaveHappened })
    if (isClosed) throw unanswered('CLOSED')
    // What is not a correlation id may be card data: the error does not repeat it.
    if (!CORRELATION_ID.test(correlationId)) throw refusal('CORRELATION_ID', '')
    const [method = '', path = ''] = route.split(' ')
    const bytes = method === 'POST' ? serialize(body) : undefined
    if (method === 'POST' && bytes === undefined) throw refusal('BODY', correlationId)
    const headers = {
      accept: 'application/json',
      'x-correlation-id': correlationId,
      ...(TRACEPARENT.test(traceparent) && { traceparent }),
      ...(bytes && { 'content-type': 'application/json', 'content-length': String(bytes.length) }),
    }
    const whyStopped = () => (signal?.aborted ? 'ABORTED' : 'TIMEOUT')

    return within(timeoutMs, signal, async (ends) => {
      if (ends.aborted) throw unanswered('ABORTED')
      const endsAtMs = performance.now() + timeoutMs
      const stopped = once(ends, 'abort')
      const takeToken = async (refused?: string): Promise<string | undefined> => {
        if (token === undefined) return undefined
        const given = (async () => token(refused))()
        const taken = await Promise.race([given, stopped]).catch(() => undefined)
        if (typeof taken === 'string' && BEARER_TOKEN.test(taken)) return taken
        throw unanswered(ends.aborted ? whyStopped() : 'TOKEN')
      }
      const attempt = (bearer: string | undefined) =>
        within(attemptTimeoutMs, ends, (stop) =>
          exchange(agent, {
            url: new URL(path, base),
            method,
            headers: bearer === undefined ? headers : { ...headers, authorization: `Bearer ${bearer}` },
            body: bytes,
            signal: stop,
          }),
        )

      let bearer = await takeToken()
      let isRenewed = false
      for (let retriesLeft = retries; ;) {
        const outcome = await attempt(bearer)
        if ('reason' in outcome) {
          const reason = outcome.reason === 'ABORT_ERR' ? whyStopped() : outcome.reason
          throw unanswered(reason, outcome.mayHaveLeft)
        }
        const read = readAnswer(outcome)
        if ('json' in read) return read.json
        if (read.code === 'ERR_CLIENT_UNAUTHENTICATED' && bearer !== undefined && !isRenewed) {
          // Refused before anything was done: with another token it is another request.
          const renewed = await takeToken(bearer)
          if (renewed === bearer) throw fail(read)
          bearer = renewed
          isRenewed = true
          continue
        }
        // A 503 of a proxy says nothing of how far the request came.
        const isRefusal = read.status === 503 && read.code !== 'NO_ANSWER'
        if (!isRefusal || read.retryAfterS === undefined || !(retriesLeft > 0)) throw fail(read)
        const waitMs = read.retryAfterS * 1000
        if (performance.now() + waitMs >= endsAtMs) throw fail(read)
        retriesLeft -= 1
        await sleep(waitMs, undefined, { signal: ends }).catch(() => {
          throw unanswered(whyStopped())
        })
      }
    })
  }
}

/**
 * Does something with a signal that is aborted when its time is over, or with another one.
 *
 * Not AbortSignal.any: its sources are held weakly, and a limit that the garbage collector takes is none.
 */
async function within<T>(
  limitMs: number,
  other: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const stop = () => controller.abort()
  const timer = setTimeout(stop, limitMs)
  other?.addEventListener('abort', stop)
  if (other?.aborted) stop()
  try {
    return await work(controller.signal)
  } finally {
    clearTimeout(timer)
    other?.removeEventListener('abort', stop)
  }
}

function refusal(reason: string, correlationId: string): PinbridgeError {
  return new PinbridgeError({ code: 'ERR_REQUEST_INVALID', reason, correlationId, mayHaveHappened: false })
}

/** The JSON of an object; undefined where there is none, since the error could quote it. */
function serialize(body: unknown): Buffer | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  try {
    return Buffer.from(JSON.stringify(body))
  } catch {
    return undefined
  }
}
