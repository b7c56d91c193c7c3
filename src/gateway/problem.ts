/** Errors on the wire (RFC 9457): the one table from code to status, and the only place that shapes an error answer. */
import { ERROR_TITLES, ServiceError, type ErrorCode } from '../errors.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { findContext, type Outcome } from './request-context.ts'

/** The HTTP status of every code; a code without one does not compile. */
export const STATUS = {
  ERR_REQUEST_INVALID: 400,
  ERR_JWE_INVALID: 400,
  ERR_ALG_NOT_ALLOWED: 400,
  ERR_CLIENT_UNAUTHENTICATED: 401,
  ERR_KEY_USE_FORBIDDEN: 403,
  ERR_TRANSLATION_FORBIDDEN: 403,
  ERR_NOT_FOUND: 404,
  ERR_METHOD_NOT_ALLOWED: 405,
  ERR_REQUEST_TIMEOUT: 408,
  ERR_COUNTER_REPLAYED: 409,
  ERR_REQUEST_TOO_LARGE: 413,
  ERR_UNSUPPORTED_MEDIA_TYPE: 415,
  ERR_JWE_DECRYPTION_FAILED: 422,
  ERR_JWE_PAYLOAD_INVALID: 422,
  ERR_PIN_BLOCK_INVALID: 422,
  ERR_PIN_CHANGE_NOT_VERIFIED: 422,
  ERR_PIN_REFUSED: 422,
  ERR_RATE_LIMITED: 429,
  ERR_HEADERS_TOO_LARGE: 431,
  ERR_INTERNAL: 500,
  ERR_HSM_BUSY: 503,
  ERR_HSM_UNAVAILABLE: 503,
} as const satisfies Record<ErrorCode, number>

/** The media type of every error answer. */
export const PROBLEM_TYPE = 'application/problem+json'

/** Seconds in Retry-After where whoever refused did not know better. */
export const RETRY_AFTER_S: Partial<Record<ErrorCode, number>> = {
  ERR_RATE_LIMITED: 60,
  ERR_HSM_BUSY: 1,
  ERR_HSM_UNAVAILABLE: 5,
}

/** Fastify's own refusals; whatever is not listed is ours to answer for, and so is ERR_INTERNAL. */
const FASTIFY_CODES = new Map<string, ErrorCode>([
  ['FST_ERR_VALIDATION', 'ERR_REQUEST_INVALID'],
  ['FST_ERR_CTP_INVALID_CONTENT_LENGTH', 'ERR_REQUEST_INVALID'],
  ['FST_ERR_ROUTE_MISSING_CONTENT_TYPE', 'ERR_REQUEST_INVALID'],
  ['FST_ERR_CTP_BODY_TOO_LARGE', 'ERR_REQUEST_TOO_LARGE'],
  ['FST_ERR_CTP_INVALID_MEDIA_TYPE', 'ERR_UNSUPPORTED_MEDIA_TYPE'],
  ['FST_ERR_BAD_URL', 'ERR_NOT_FOUND'],
  ['FST_ERR_NOT_FOUND', 'ERR_NOT_FOUND'],
])

/** The body of an error answer. */
export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: ErrorCode
  readonly requestId: string
}

/** Shapes the answer of a code; everything but the request id is constant. */
export function problemOf(code: ErrorCode, requestId: string): Problem {
  const name = code.slice('ERR_'.length).toLowerCase().replaceAll('_', '-')
  return { type: `urn:pinbridge:problem:${name}`, title: ERROR_TITLES[code], status: STATUS[code], code, requestId }
}

/** Tells which code an error is; of a foreign error only its class is kept. */
export function classify(error: unknown): Outcome {
  if (error instanceof ServiceError) return { code: error.code, detail: error.detail }
  const known = FASTIFY_CODES.get((error as { code?: unknown } | null)?.code as string)
  if (known !== undefined) return { code: known }
  return { code: 'ERR_INTERNAL', errorType: error instanceof Error ? error.constructor.name : typeof error }
}

/** Fastify's error handler: notes the outcome for the record and answers with the code's problem. */
export function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const context = findContext(request)
  // A connection that broke while the body was read says nothing about us; the socket's own handler may have noted why.
  const broken = request.raw.destroyed && !request.raw.complete
  const outcome = context?.outcome ?? (broken ? { code: 'ERR_REQUEST_INVALID' as const } : classify(error))
  if (context !== undefined) context.outcome = outcome
  const known = error instanceof ServiceError && error.code === outcome.code ? error.retryAfterS : undefined
  const retryAfter = known ?? RETRY_AFTER_S[outcome.code]
  if (retryAfter !== undefined && !reply.hasHeader('retry-after')) reply.header('retry-after', retryAfter)
  // Bytes, so that neither a response schema nor Fastify's charset takes part: the shape is settled above.
  reply
    .code(STATUS[outcome.code])
    .type(PROBLEM_TYPE)
    .send(Buffer.from(JSON.stringify(problemOf(outcome.code, request.id))))
}
