/**
 * The closed set of errors of the HTTP contract and the one class that carries them (M-8).
 *
 * A text never holds input: it is looked up from the code, and nothing can be interpolated into it.
 */

/** Every code the service may answer with, and the constant sentence a client reads beside it. */
export const ERROR_TITLES = {
  ERR_REQUEST_INVALID: 'The request does not have the form that this route expects.',
  ERR_JWE_INVALID: 'The JWE does not have the expected form, or its kid names no key.',
  ERR_ALG_NOT_ALLOWED: "The JWE's alg or enc is not the one its key is bound to.",
  ERR_CLIENT_UNAUTHENTICATED: 'The client is not known, by its certificate or by the token that goes with it.',
  ERR_KEY_USE_FORBIDDEN: 'This client may not use this key in this way.',
  ERR_TRANSLATION_FORBIDDEN: 'This translation of a PIN block format is not permitted.',
  ERR_NOT_FOUND: 'There is no such route.',
  ERR_METHOD_NOT_ALLOWED: 'This route does not take this method.',
  ERR_REQUEST_TIMEOUT: 'The request did not arrive in time.',
  ERR_COUNTER_REPLAYED: 'This PIN change counter has been used for this card.',
  ERR_REQUEST_TOO_LARGE: 'The request is larger than this route takes.',
  ERR_UNSUPPORTED_MEDIA_TYPE: 'The request body must be application/json.',
  ERR_JWE_DECRYPTION_FAILED: 'The JWE could not be decrypted.',
  ERR_JWE_PAYLOAD_INVALID: 'The decrypted payload does not have the form that its profile expects.',
  ERR_PIN_BLOCK_INVALID: 'The PIN block is not valid.',
  ERR_PIN_CHANGE_NOT_VERIFIED: 'The PRW or the MAC of the PIN change does not verify.',
  ERR_PIN_REFUSED: 'The PIN is not acceptable.',
  ERR_RATE_LIMITED: 'Too many attempts; try again later.',
  ERR_HEADERS_TOO_LARGE: 'The request headers are too large.',
  ERR_INTERNAL: 'Internal error.',
  ERR_HSM_BUSY: 'The HSM is busy; try again later.',
  ERR_HSM_UNAVAILABLE: 'The HSM is unavailable; try again later.',
} as const

/** A code of the closed set. */
export type ErrorCode = keyof typeof ERROR_TITLES

/** What a log record may say about an error beyond its code: closed, and never input. */
export interface ErrorDetail {
  /** The PKCS#11 return value's name, such as CKR_DEVICE_ERROR. */
  readonly ckr?: string
  /** The PKCS#11 function that returned it, such as C_Decrypt. */
  readonly method?: string
  /**
   * What no return value says: the call did not give its known answer, the token lacks what the key needs, the limits
   * cannot be counted, or the audit record cannot be written.
   */
  readonly reason?: 'wrong-answer' | 'key-unavailable' | 'limit-store-gone' | 'audit-unwritable'
}

/** The one error that crosses module borders: a code, a constant text, and nothing of the request. */
export class ServiceError extends Error {
  readonly code: ErrorCode
  readonly detail: ErrorDetail | undefined
  /** When another try may go well, where whoever refused knows. */
  readonly retryAfterS: number | undefined

  constructor(code: ErrorCode, detail?: ErrorDetail, retryAfterS?: number) {
    super(ERROR_TITLES[code])
    this.name = 'ServiceError'
    this.code = code
    this.detail = detail
    this.retryAfterS = retryAfterS
  }
}

/** Whether `value` is a code of the closed set. */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_TITLES, value)
}
