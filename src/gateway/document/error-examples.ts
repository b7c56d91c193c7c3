/** An example of every error answer, with what a caller does about it. */
import { ERROR_TITLES, type ErrorCode } from '../../errors.ts'
import { problemOf } from '../problem.ts'

/** What a caller does when it gets the code. */
const CURES = {
  ERR_REQUEST_INVALID:
    'Correct the request: a member is missing, unknown, repeated or malformed, or the profile of the key needs one more.',
  ERR_JWE_INVALID: 'Pass on the JWE as D1 sent it; if it is, D1 uses a kid that is in no key here: see GET /v1/jwks.',
  ERR_ALG_NOT_ALLOWED:
    'The sender of the JWE is to use alg and enc as agreed for this key: alg stands in GET /v1/jwks.',
  ERR_CLIENT_UNAUTHENTICATED: 'Show the certificate that the service knows, and a fresh token if it wants tokens.',
  ERR_KEY_USE_FORBIDDEN:
    'Ask the operator for the grant, or name another key: which rule refused is in the log of the service only.',
  ERR_TRANSLATION_FORBIDDEN:
    'Ask for another format: PCI PIN requirement 3-3 forbids this one, whatever the grants are.',
  ERR_NOT_FOUND: 'Correct the path; or the service is older than the route.',
  ERR_METHOD_NOT_ALLOWED: 'Use a method that the header allow names.',
  ERR_REQUEST_TIMEOUT: 'Nothing was done: send the whole request again, and faster.',
  ERR_COUNTER_REPLAYED: 'Do not send it again: the card has another PIN change with this counter.',
  ERR_REQUEST_TOO_LARGE: 'Send less: 64 KiB, or 2 500 000 bytes in a batch.',
  ERR_UNSUPPORTED_MEDIA_TYPE: 'Send application/json in UTF-8, without a content coding.',
  ERR_JWE_DECRYPTION_FAILED: 'Do not send it again: it was encrypted to another key, or changed on its way.',
  ERR_JWE_PAYLOAD_INVALID: 'Do not send it again: what is in the JWE is not what was agreed with its sender.',
  ERR_PIN_BLOCK_INVALID:
    'Do not send it again: it is under another key, of another format or of another PAN. It costs a guess.',
  ERR_PIN_CHANGE_NOT_VERIFIED:
    'Do not send it again: the PIN change is not the one that the card or D1 made. It costs a guess.',
  ERR_PIN_REFUSED: 'Let the cardholder choose another PIN. It costs a guess.',
  ERR_RATE_LIMITED: 'Send it again after Retry-After, and find out who sends wrong ones.',
  ERR_HEADERS_TOO_LARGE: 'Send fewer or shorter headers: 8 KiB in all.',
  ERR_INTERNAL: 'Tell the operator the request id. Whether anything was done is not known.',
  ERR_HSM_BUSY: 'Send it again after Retry-After.',
  ERR_HSM_UNAVAILABLE: 'Send it again after Retry-After, a few times; then tell the operator.',
} as const satisfies Record<ErrorCode, string>

/** No request has this id. */
const REQUEST_ID = '00000000-0000-4000-8000-000000000000'

/** The examples by code, as components of the document. */
export const ERROR_EXAMPLES = Object.fromEntries(
  (Object.keys(CURES) as ErrorCode[]).map((code) => [
    code,
    { summary: ERROR_TITLES[code], description: CURES[code], value: problemOf(code, REQUEST_ID) },
  ]),
)
