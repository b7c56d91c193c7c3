/** PKCS#11 return values as errors of the closed set: one table, read by number because the binding names them by version 2.40. */
import { ServiceError, type ErrorCode } from '../../errors.ts'

/** PKCS#11 v2.40 return values that decide something here. */
export const CKR = {
  HOST_MEMORY: 0x02,
  GENERAL_ERROR: 0x05,
  FUNCTION_FAILED: 0x06,
  ARGUMENTS_BAD: 0x07,
  ATTRIBUTE_SENSITIVE: 0x11,
  ATTRIBUTE_TYPE_INVALID: 0x12,
  DEVICE_ERROR: 0x30,
  DEVICE_MEMORY: 0x31,
  DEVICE_REMOVED: 0x32,
  FUNCTION_NOT_SUPPORTED: 0x54,
  KEY_HANDLE_INVALID: 0x60,
  KEY_FUNCTION_NOT_PERMITTED: 0x68,
  MECHANISM_INVALID: 0x70,
  MECHANISM_PARAM_INVALID: 0x71,
  OBJECT_HANDLE_INVALID: 0x82,
  OPERATION_ACTIVE: 0x90,
  SESSION_CLOSED: 0xb0,
  SESSION_COUNT: 0xb1,
  SESSION_HANDLE_INVALID: 0xb3,
  SIGNATURE_INVALID: 0xc0,
  SIGNATURE_LEN_RANGE: 0xc1,
  TOKEN_NOT_PRESENT: 0xe0,
  TOKEN_NOT_RECOGNIZED: 0xe1,
  USER_ALREADY_LOGGED_IN: 0x100,
  USER_NOT_LOGGED_IN: 0x101,
  USER_PIN_NOT_INITIALIZED: 0x102,
  BUFFER_TOO_SMALL: 0x150,
  CRYPTOKI_NOT_INITIALIZED: 0x190,
  CRYPTOKI_ALREADY_INITIALIZED: 0x191,
} as const

/** What only a token gives that is sick, gone or full, whatever the data were. */
const SICK = new Map<number, ErrorCode>([
  // Full: another session ends soon.
  [CKR.HOST_MEMORY, 'ERR_HSM_BUSY'],
  [CKR.DEVICE_MEMORY, 'ERR_HSM_BUSY'],
  [CKR.SESSION_COUNT, 'ERR_HSM_BUSY'],
  [CKR.DEVICE_ERROR, 'ERR_HSM_UNAVAILABLE'], // also what p11-kit's client gives once its connection is lost
  [CKR.DEVICE_REMOVED, 'ERR_HSM_UNAVAILABLE'],
  // A token that went away shows as a stale handle and not as DEVICE_REMOVED: SoftHSM's is of an object, NSS's and openCryptoki's of a key.
  [CKR.KEY_HANDLE_INVALID, 'ERR_HSM_UNAVAILABLE'],
  [CKR.OBJECT_HANDLE_INVALID, 'ERR_HSM_UNAVAILABLE'],
  [CKR.SESSION_CLOSED, 'ERR_HSM_UNAVAILABLE'],
  [CKR.SESSION_HANDLE_INVALID, 'ERR_HSM_UNAVAILABLE'],
  [CKR.TOKEN_NOT_PRESENT, 'ERR_HSM_UNAVAILABLE'],
  [CKR.TOKEN_NOT_RECOGNIZED, 'ERR_HSM_UNAVAILABLE'],
  [CKR.USER_NOT_LOGGED_IN, 'ERR_HSM_UNAVAILABLE'],
  [CKR.CRYPTOKI_NOT_INITIALIZED, 'ERR_HSM_UNAVAILABLE'],
  // No data bring these about: a session that is not clean, a length that is wrong, a key that may do less than it may.
  [CKR.OPERATION_ACTIVE, 'ERR_HSM_UNAVAILABLE'],
  [CKR.BUFFER_TOO_SMALL, 'ERR_HSM_UNAVAILABLE'],
  [CKR.KEY_FUNCTION_NOT_PERMITTED, 'ERR_HSM_UNAVAILABLE'],
])

/** Whether only a token that is sick, gone or full gives this. */
export function isSick(ckr: number): boolean {
  return SICK.has(ckr)
}

/** What says that the token does not have what was asked for; SoftHSM's word for OAEP with SHA-256 is CKR_ARGUMENTS_BAD. */
const LACKING: ReadonlyMap<number, string> = new Map([
  [CKR.ARGUMENTS_BAD, 'CKR_ARGUMENTS_BAD'],
  [CKR.FUNCTION_NOT_SUPPORTED, 'CKR_FUNCTION_NOT_SUPPORTED'],
  [CKR.MECHANISM_INVALID, 'CKR_MECHANISM_INVALID'],
  [CKR.MECHANISM_PARAM_INVALID, 'CKR_MECHANISM_PARAM_INVALID'],
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

/** The name of a return value, and nothing else of a foreign error. */
export function nameOf(error: unknown): string {
  return (error instanceof Error && /^CKR_\w+/.exec(error.message)?.[0]) || 'no PKCS#11 return value'
}

/**
 * Whether the token may mean that the ciphertext, the tag or the wrapped key was bad, and not that it is sick.
 *
 * Tokens have many words for it: CKR_ENCRYPTED_DATA_INVALID and CKR_WRAPPED_KEY_INVALID (NSS), CKR_FUNCTION_FAILED
 * (openCryptoki), CKR_GENERAL_ERROR (SoftHSM), and vendors' own. So every word counts that neither SICK nor LACKING holds; some
 * of them are a sick token's too, which is why a refusal is believed only when the key gives its known answer after it.
 */
export function mayRefuseData(error: unknown): boolean {
  const ckr = ckrOf(error)
  return ckr !== undefined && !SICK.has(ckr) && !LACKING.has(ckr)
}

/** Whether the token says that it lacks the mechanism, the function or this use of it. */
export function isLacking(error: unknown): boolean {
  if (error instanceof ServiceError) return [...LACKING.values()].includes(error.detail?.ckr ?? '')
  const ckr = ckrOf(error)
  return ckr !== undefined && LACKING.has(ckr)
}

/**
 * Classifies what a PKCS#11 call threw; a foreign error's text, stack and cause go no further.
 *
 * Where no data can be at fault, whatever a token returns is the HSM's failure: CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, a code of
 * a later version or a vendor's own. Whether it is sick for longer, the keys' known answers tell.
 */
export function toServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error
  const ckr = ckrOf(error)
  if (ckr === undefined) return new ServiceError('ERR_INTERNAL')
  const name = /CKR_\w+/.exec((error as Error).message)?.[0] ?? `CKR_0x${ckr.toString(16)}`
  const method = 'method' in (error as Error) ? String((error as Error & { method: unknown }).method) : ''
  return new ServiceError(SICK.get(ckr) ?? 'ERR_HSM_UNAVAILABLE', {
    ckr: name,
    ...(/^C_\w{1,40}$/.test(method) && { method }),
  })
}
