/** What a call of the client ends with when it does not end with an answer: one class, a closed set of codes, and nothing of the request. */
import { ERROR_CODES } from './openapi.ts'

/** A code of the service. */
export type ErrorCode = (typeof ERROR_CODES)[number]

/**
 * Why there is no answer: a code of the service; `UNKNOWN_CODE`, one that this client does not know yet (`serviceCode` has it); or
 * `NO_ANSWER`, none of the service's at all (`reason` says why).
 */
export type PinbridgeErrorCode = ErrorCode | 'UNKNOWN_CODE' | 'NO_ANSWER'

/** What is known of a call that failed. */
export interface ErrorFacts {
  readonly code: PinbridgeErrorCode
  /** Stands in the service's log and audit record, if the request came so far. */
  readonly correlationId: string
  /** False only where the service cannot have carried the request out, or has said that it did not. */
  readonly mayHaveHappened: boolean
  /** The HTTP status, where there was one; of a proxy's answer too. */
  readonly status?: number | undefined
  /** The service's name for the request. */
  readonly requestId?: string | undefined
  /** The seconds of Retry-After. */
  readonly retryAfterS?: number | undefined
  /** The code of the service, where `code` is `UNKNOWN_CODE`. */
  readonly serviceCode?: string | undefined
  /**
   * Of `NO_ANSWER` and of a request that was never sent, one word: `TIMEOUT`, `ABORTED`, `CLOSED`, `TOKEN`, `CORRELATION_ID`, `BODY`,
   * `NOT_PINBRIDGE`, `ANSWER_TOO_LARGE`, or node's own, such as `ECONNREFUSED` or `ERR_TLS_CERT_ALTNAME_INVALID`.
   */
  readonly reason?: string | undefined
}

/** A call that was not answered with 200. It has no `cause`, because a cause could carry what was sent (M-41). */
export class PinbridgeError extends Error implements ErrorFacts {
  readonly code: PinbridgeErrorCode
  readonly correlationId: string
  readonly mayHaveHappened: boolean
  readonly status: number | undefined
  readonly requestId: string | undefined
  readonly retryAfterS: number | undefined
  readonly serviceCode: string | undefined
  readonly reason: string | undefined

  constructor(facts: ErrorFacts) {
    super([facts.code, facts.status, facts.serviceCode, facts.reason].filter((part) => part !== undefined).join(' '))
    this.name = 'PinbridgeError'
    this.code = facts.code
    this.correlationId = facts.correlationId
    this.mayHaveHappened = facts.mayHaveHappened
    this.status = facts.status
    this.requestId = facts.requestId
    this.retryAfterS = facts.retryAfterS
    this.serviceCode = facts.serviceCode
    this.reason = facts.reason
  }
}

/** Whether this client knows a code. */
export function isErrorCode(code: string): code is ErrorCode {
  return (ERROR_CODES as readonly string[]).includes(code)
}
