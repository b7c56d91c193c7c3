/**
 * D1's outbound contract as this adapter serves it: patterns, answers, refusals, and which of them each code of pinbridge becomes.
 *
 * From D1's public pages, "Outbound API (from D1)": PIN Management and OAuth2. What they leave open is an ASSUMPTION, here and in
 * access-token.ts: compare the five with the D1-Public-OUT-v1 YAML files that Thales gives an issuer.
 */
import { randomInt } from 'node:crypto'
import type { PinbridgeErrorCode } from '../../../src/client/client.ts'

/** ASSUMPTION 1: the values of `type` in Set PIN, for what D1 calls "PIN ISO0" and "PIN 3DES Seccos". */
const type = { type: 'string', enum: ['ISO0', '3DES_SECCOS'] }

/**
 * ASSUMPTION 2: this header names the PIN change in the counter's call and in Set PIN; D1's MAC is over such an id, of 20 digits.
 * The answer to the counter's call returns it; where D1 sends none, the adapter makes one.
 */
export const CHANGE_ID_HEADER = 'x-transaction-id'
export const newChangeId = () => Array.from({ length: 20 }, () => randomInt(10)).join('')

/** ASSUMPTION 3: the members of the two answers. A counter has four digits. */
export const encryptedPin = (encryptedPinBlock: string) => ({ encryptedPinBlock })
export const toldCounter = (changeCounter: string, transactionId: string) => ({ changeCounter, transactionId })
export const digits = (counter: number) => String(counter).padStart(4, '0')

/** For troubleshooting alone, as D1 says: nothing is decided by it. */
export const CORRELATION_ID_HEADER = 'x-correlation-id'
export const CORRELATION_ID = /^[a-zA-Z0-9_\-. ]{1,64}$/

const issuerId = { type: 'string', minLength: 10, maxLength: 10 }
const cardId = { type: 'string', pattern: '^[A-Za-z0-9_-]{1,48}$' }
const changeId = { type: 'string', pattern: '^[0-9]{1,20}$' }
const encryptedPinBlock = { type: 'string', minLength: 1, maxLength: 8192 }

/** D1 adds members and parameters in time, and asks for unknown ones to be accepted: no schema here forbids them. */
export const cardSchema = {
  params: { type: 'object', properties: { issuerId, cardId } },
  headers: { type: 'object', properties: { [CHANGE_ID_HEADER]: changeId } },
}
const required = ['type', 'encryptedPinBlock']
export const setPinBody = { type: 'object', required, properties: { type, encryptedPinBlock } }

/** Every refusal: one of the five statuses that D1 knows, and a constant text. Codes are those of D1's inbound API where it has one. */
const REFUSALS = {
  FIELD_INVALID_FORMAT: [400, 'The URI, a header or the body has not the form of this call.'],
  FIELD_INVALID_VALUE: [400, 'The PIN, or what proves it, is not acceptable.'],
  CRYPTO_ERROR: [400, 'The encrypted PIN block cannot be decrypted.'],
  PARSING_ERROR: [400, 'The decrypted PIN block has not the expected form.'],
  AUTHORIZER_UNAUTHORIZED: [401, 'The access token is missing or not valid.'],
  CARD_NOT_ACTIVE: [403, 'The state of the card does not allow it.'],
  PIN_CHANGE_CONFLICT: [403, 'The card is not in this PIN change: none was begun, or another one came first.'],
  NOT_FOUND: [404, 'There is no such issuer, card or PIN.'],
  INTERNAL_ERROR: [500, 'Internal error.'],
} as const

/** What is answered instead of 200 or 204. */
export class Refusal extends Error {
  readonly status: number
  readonly body: object
  /** What WWW-Authenticate says beside a 401. */
  readonly challenge: string

  constructor(status: number, body: object, challenge = 'Bearer realm="cms"') {
    super()
    this.status = status
    this.body = body
    this.challenge = challenge
  }
}

/** ASSUMPTION 4: an error has the members that D1's inbound API gives one. */
export function refusal(errorCode: keyof typeof REFUSALS): Refusal {
  const [status, error] = REFUSALS[errorCode]
  return new Refusal(status, { errorCode, error })
}

/** The codes of pinbridge that are not the bank's own to mend. 400: the JWE, or what is in it. 403: another PIN change came first. */
const REFUSAL_OF: Partial<Record<PinbridgeErrorCode, keyof typeof REFUSALS>> = {
  ERR_REQUEST_INVALID: 'FIELD_INVALID_FORMAT',
  ERR_JWE_INVALID: 'CRYPTO_ERROR',
  ERR_ALG_NOT_ALLOWED: 'CRYPTO_ERROR',
  ERR_JWE_DECRYPTION_FAILED: 'CRYPTO_ERROR',
  ERR_JWE_PAYLOAD_INVALID: 'PARSING_ERROR',
  ERR_PIN_BLOCK_INVALID: 'FIELD_INVALID_VALUE',
  ERR_PIN_CHANGE_NOT_VERIFIED: 'FIELD_INVALID_VALUE',
  ERR_PIN_REFUSED: 'FIELD_INVALID_VALUE',
  ERR_COUNTER_REPLAYED: 'PIN_CHANGE_CONFLICT',
}

/** What a code of pinbridge is to D1. Any other is 500, also one of tomorrow; so is each in a GET, which brings nothing of D1's. */
export const refusalOf = (code: PinbridgeErrorCode, method: string) =>
  refusal((method === 'PUT' && REFUSAL_OF[code]) || 'INTERNAL_ERROR')
