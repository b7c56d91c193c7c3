/**
 * The closed list of what a span may say (M-39): names, ids of the configuration, codes, counts and times. Each has a form that is
 * checked as it leaves; what has another form, or another name, stays here.
 */
import { HSM_CALLS, REQUESTS } from '../../bridge/contract.ts'
import { isErrorCode } from '../../errors.ts'

type Check = (value: string | number) => boolean

const matches =
  (pattern: RegExp): Check =>
  (value) =>
    typeof value === 'string' && pattern.test(value)
const oneOf =
  (names: readonly string[]): Check =>
  (value) =>
    typeof value === 'string' && names.includes(value)
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isDuration: Check = (value) => typeof value === 'number' && Number.isFinite(value) && value >= 0
const isId = matches(/^[A-Za-z0-9._-]{1,64}$/)

/** What the convention calls a method that it does not know. */
const OTHER_METHOD = '_OTHER'
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY', OTHER_METHOD]

/** How a request ended whose client left before it was answered. */
export const ABORTED = 'ABORTED'

const ATTRIBUTES = {
  // OpenTelemetry's semantic conventions for HTTP servers, and no more of them: no URL, no query, no address, no header.
  'http.request.method': oneOf(METHODS),
  'http.route': matches(/^\/[a-z0-9/-]{1,64}$/),
  'http.response.status_code': (value) =>
    Number.isInteger(value) && (value as number) >= 100 && (value as number) < 600,
  'url.scheme': oneOf(['https']),
  'error.type': (value) => value === ABORTED || isErrorCode(value),
  // The one that log and audit record have.
  'pinbridge.request.id': matches(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  'pinbridge.client.id': isId,
  'pinbridge.operation': oneOf(Object.keys(REQUESTS)),
  'pinbridge.queue.wait_ms': isDuration,
  'pinbridge.vault.id': isCount,
  'pinbridge.token.name': isId,
  'pinbridge.message.requests': isCount,
  'pinbridge.message.items': isCount,
  'pinbridge.messages.missing': isCount,
  'pinbridge.hsm.call': oneOf(HSM_CALLS),
  'pinbridge.hsm.calls.missing': isCount,
  'pinbridge.hsm.ckr': matches(/^CKR_[A-Z0-9_]{1,48}$/),
  'pinbridge.key.id': isId,
  'pinbridge.key.version': isCount,
} as const satisfies Record<string, Check>

/** The attributes of a span; a member of another name does not compile. */
export type Attributes = { readonly [name in keyof typeof ATTRIBUTES]?: string | number | undefined }

/** Those of `attributes` that are there and have their form. */
export function listed(attributes: Attributes): Record<string, string | number> {
  const checks: Readonly<Record<string, Check>> = ATTRIBUTES
  const kept: Record<string, string | number> = {}
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && Object.hasOwn(checks, name) && checks[name]!(value)) kept[name] = value
  }
  return kept
}

/** A method as the convention names it. */
export function methodOf(method: string | undefined): string {
  return method !== undefined && METHODS.includes(method) ? method : OTHER_METHOD
}
