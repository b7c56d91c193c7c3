/** PKCS#11 return values as errors of the closed set: one table, read by number because the binding names them by version 2.40. */
import { ServiceError, type ErrorCode } from '../../errors.ts'

/** PKCS#11 v2.40 return values that decide something here. */
export const CKR = {
  HOST_MEMORY: 0x02,
  GENERAL_ERROR: 0x05,
  FUNCTION_FAILED: 0x06,
  ARGUMENTS_BAD: 0x07,
  ATTRIBUTE_TYPE_INVALID: 0x12,
  DATA_INVALID: 0x20,
  DATA_LEN_RANGE: 0x21,
  DEVICE_ERROR: 0x30,
  DEVICE_MEMORY: 0x31,
  DEVICE_REMOVED: 0x32,
  ENCRYPTED_DATA_INVALID: 0x40,
  ENCRYPTED_DATA_LEN_RANGE: 0x41,
  KEY_HANDLE_INVALID: 0x60,
  OBJECT_HANDLE_INVALID: 0x82,
  PIN_INCORRECT: 0xa0,
  PIN_INVALID: 0xa1,
  PIN_LEN_RANGE: 0xa2,
  PIN_EXPIRED: 0xa3,
  PIN_LOCKED: 0xa4,
  SESSION_CLOSED: 0xb0,
  SESSION_COUNT: 0xb1,
  SESSION_HANDLE_INVALID: 0xb3,
  SIGNATURE_INVALID: 0xc0,
  SIGNATURE_LEN_RANGE: 0xc1,
  TOKEN_NOT_PRESENT: 0xe0,
  TOKEN_NOT_RECOGNIZED: 0xe1,
  USER_ALREADY_LOGGED_IN: 0x100,
  USER_NOT_LOGGED_IN: 0x101,
  CRYPTOKI_NOT_INITIALIZED: 0x190,
} as const

const CODES = new Map<number, ErrorCode>([
  [CKR.HOST_MEMORY, 'ERR_HSM_BUSY'],
  [CKR.DEVICE_MEMORY, 'ERR_HSM_BUSY'],
  [CKR.SESSION_COUNT, 'ERR_HSM_BUSY'],
  [CKR.DEVICE_ERROR, 'ERR_HSM_UNAVAILABLE'],
  [CKR.DEVICE_REMOVED, 'ERR_HSM_UNAVAILABLE'],
  // A token that went away shows as a stale handle and not as DEVICE_REMOVED.
  [CKR.KEY_HANDLE_INVALID, 'ERR_HSM_UNAVAILABLE'],
  [CKR.OBJECT_HANDLE_INVALID, 'ERR_HSM_UNAVAILABLE'],
  [CKR.SESSION_CLOSED, 'ERR_HSM_UNAVAILABLE'],
  [CKR.SESSION_HANDLE_INVALID, 'ERR_HSM_UNAVAILABLE'],
  [CKR.TOKEN_NOT_PRESENT, 'ERR_HSM_UNAVAILABLE'],
  [CKR.TOKEN_NOT_RECOGNIZED, 'ERR_HSM_UNAVAILABLE'],
  [CKR.USER_NOT_LOGGED_IN, 'ERR_HSM_UNAVAILABLE'],
  [CKR.CRYPTOKI_NOT_INITIALIZED, 'ERR_HSM_UNAVAILABLE'],
])

/**
 * The number of the CKR that `error` carries; undefined if it comes from elsewhere.
 *
 * C_CreateObject and its like throw a plain Error with the number in its text, the other calls one with a `code`.
 */
export function ckrOf(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  if ('code' in error && typeof error.code === 'number' && error.code > 0) return error.code
  const number = /^CKR_\w+:(\d+)/.exec(error.message)?.[1]
  return number === undefined ? undefined : Number(number)
}

/**
 * Classifies what a PKCS#11 call threw; a foreign error's text, stack and cause go no further.
 *
 * A sick token and a bad ciphertext share codes (CKR_GENERAL_ERROR), so an unlisted code says nothing about health: the
 * known answers of the keys do.
 */
export function toServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error
  const ckr = ckrOf(error)
  if (ckr === undefined) return new ServiceError('ERR_INTERNAL')
  const name = /CKR_\w+/.exec((error as Error).message)?.[0] ?? `CKR_0x${ckr.toString(16)}`
  const method = 'method' in (error as Error) ? String((error as Error & { method: unknown }).method) : ''
  return new ServiceError(CODES.get(ckr) ?? 'ERR_INTERNAL', {
    ckr: name,
    ...(/^C_\w{1,40}$/.test(method) && { method }),
  })
}
