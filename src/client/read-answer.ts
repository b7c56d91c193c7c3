/** Tells the service's answers from those of whatever else may answer in its place. */
import { isErrorCode, type ErrorFacts } from './errors.ts'
import type { Answered } from './exchange.ts'

/** What an answer says of a call, beside its correlation id. */
export type AnswerFacts = Omit<ErrorFacts, 'correlationId'>

const CODE = /^ERR_[A-Z0-9_]{1,60}$/
const REQUEST_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** RFC 9110 section 10.2.3; the service gives seconds and never a date. */
const SECONDS = /^\d{1,6}$/

/** The JSON of a 200, or what another answer says. */
export function readAnswer({ status, contentType, retryAfter, body }: Answered): { json: object } | AnswerFacts {
  const json = /^application\/(?:[a-z-]+\+)?json$/.test(contentType) ? parse(body) : undefined
  if (status === 200 && json !== undefined) return { json }
  const { type, code, requestId } = (json ?? {}) as Readonly<Record<string, unknown>>
  const retryAfterS = retryAfter !== undefined && SECONDS.test(retryAfter) ? Number(retryAfter) : undefined
  const isOurs = contentType === 'application/problem+json' && String(type).startsWith('urn:pinbridge:problem:')
  if (!isOurs || typeof code !== 'string' || !CODE.test(code)) {
    // Whoever answers 502 or 504 in the service's place may have passed the request on; so may whoever answers anything else.
    return { code: 'NO_ANSWER', reason: 'NOT_PINBRIDGE', status, retryAfterS, mayHaveHappened: true }
  }
  return {
    ...(isErrorCode(code) ? { code } : { code: 'UNKNOWN_CODE', serviceCode: code }),
    status,
    // A 503 is a refusal: it releases nothing and frees the change counter. Of a fault nobody knows how far it went.
    mayHaveHappened: status >= 500 && status !== 503,
    requestId: typeof requestId === 'string' && REQUEST_ID.test(requestId) ? requestId : undefined,
    retryAfterS,
  }
}

/** A parser's message quotes what it cannot parse, so nobody sees it. */
function parse(body: Buffer): object | undefined {
  try {
    const json: unknown = JSON.parse(body.toString())
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? json : undefined
  } catch {
    return undefined
  }
}
