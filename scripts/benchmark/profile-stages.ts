/** The stages of a request, and by which functions and files a profile's samples are known to belong to them: data, in the order in which it is asked. */
import type { Role } from './profile-service.ts'

/** What a frame of a stack belongs to; the first rule that fits it decides. */
export interface Rule {
  /** `caller`: whoever called this function decides. */
  readonly stage: string
  /** A part of the file's path or of node's name for it; without one, the function has no file: it is native, or made by V8. */
  readonly file?: string
  /** The function's name, or the beginning of it where a star ends it. */
  readonly fn?: string
}

const of = (stage: string, ...files: readonly string[]): Rule[] => files.map((file) => ({ stage, file }))
const native = (stage: string, ...fns: readonly string[]): Rule[] => fns.map((fn) => ({ stage, fn }))

const GARBAGE = 'garbage collection'
const SEND = 'TLS out and sending'
const HTTP = 'HTTP, by node'
const JSON_AND_SCHEMA = 'JSON and schema'
const BRIDGE = 'bridge'
const LOOP = 'event loop, timers, promises'

/** What V8 counts while a thread has nothing to do: no part of what a request costs. */
export const IDLE = '(idle)'
export const UNATTRIBUTED = 'unattributed'

const COMMON: readonly Rule[] = [
  ...native(GARBAGE, '(garbage collector)'),
  ...native('native code of the loop: reading, TLS in, HTTP parser', '(program)'),
  // What Ajv and fast-json-stringify have made.
  ...native(JSON_AND_SCHEMA, 'validate*', 'anonymous0', 'anonymous1'),
  ...of(JSON_AND_SCHEMA, '/dist/json-bytes', '/fast-json-stringify/', '/ajv/', '/fastify/lib/validation'),
  ...of(
    'metrics and log',
    '/prom-client/',
    '/pino',
    '/sonic-boom/',
    '/dist/log.',
    '/safe-stable-stringify/',
    '/quick-format',
  ),
  { stage: BRIDGE, file: '/dist/bridge/channel' },
]

const LAST: readonly Rule[] = [
  // A stream that nothing of ours has called: what comes in over the bridge.
  { stage: BRIDGE, file: 'node:internal/stream_base_commons', fn: 'onStreamRead' },
  ...of(LOOP, 'node:internal/timers', 'node:internal/process/task_queues'),
  ...native(LOOP, 'runMicrotasks'),
]

/** The rules of each kind of process. */
export const RULES: Readonly<Record<Role, readonly Rule[]>> = {
  gateway: [
    ...COMMON,
    // One keyed hash serves two: a record knows a card by it, and so do the limits.
    { stage: 'audit', file: '/dist/gateway/subject-hash', fn: 'card' },
    { stage: 'caller', file: '/dist/gateway/subject-hash', fn: 'hmac' },
    ...of('metrics and log', '/dist/gateway/request-log', '/dist/gateway/request-metrics', '/dist/gateway/metrics'),
    ...of('audit', '/dist/audit/', '/dist/gateway/audited', '/dist/gateway/release-once'),
    ...of(
      'authorisation',
      '/dist/gateway/authentication',
      '/dist/gateway/authorisation',
      '/dist/gateway/issued-by',
      '/dist/gateway/bearer',
    ),
    ...of(
      'limits',
      '/dist/gateway/guarded-call',
      '/dist/gateway/guess-',
      '/dist/gateway/subject-hash',
      '/dist/gateway/hash-source',
    ),
    ...of(
      'limits',
      '/dist/gateway/number-table',
      '/dist/gateway/recent-map',
      '/dist/gateway/pan-variation',
      '/dist/gateway/block-origins',
    ),
    ...of(
      'limits',
      '/dist/gateway/limit',
      '/dist/gateway/used-counters',
      '/dist/gateway/shared-',
      '/dist/gateway/batch/',
    ),
    ...of('queue', '/dist/bridge/'),
    ...of('TLS', 'node:_tls', 'node:internal/tls'),
    { stage: JSON_AND_SCHEMA, file: '/dist/gateway/body-parser' },
    ...of('routes and entry check', '/dist/gateway/'),
    ...of('HTTP, by Fastify', '/fastify/', '/find-my-way/', '/@fastify/', '/process-warning/'),
    ...of(HTTP, 'node:_http', 'node:internal/http'),
    ...LAST,
  ],
  vault: [
    ...COMMON,
    ...of('HSM, our side of the calls', '/pkcs11js/', '/graphene-pk11/', '/dist/hsm/', '/dist/vault/measured-hsm'),
    ...of('JWE', '/dist/jwe/', '/dist/vault/open-jwe'),
    { stage: 'memory of secrets', file: '/dist/secret' },
    ...of(BRIDGE, '/dist/bridge/', '/dist/vault/main', '/dist/vault/report-status'),
    { stage: 'operations, answering', file: '/dist/vault/serve' },
    ...of('layouts and rules of PIN, PRW and MAC', '/dist/pin', '/dist/vault/', '/dist/pan', '/dist/bytes'),
    ...LAST,
  ],
}

/** Native functions that are a stage of their own within another one's: a write of HTTP's is TLS and the kernel's sending. */
export const WITHIN: Readonly<Record<string, { readonly fns: readonly string[]; readonly stage: string }>> = {
  [HTTP]: { fns: ['writeUtf8String', 'writeLatin1String', 'writeBuffer', 'writev'], stage: SEND },
  [BRIDGE]: { fns: ['writeBuffer', 'writev'], stage: 'bridge, sending' },
  audit: { fns: ['writeBuffer', 'writeBuffers', 'writeString'], stage: 'audit, handing writes to a thread' },
  'metrics and log': { fns: ['writeString', 'writeBuffer'], stage: 'log, writing' },
}

/**
 * The PKCS#11 function that a function of the adapter calls: the binding's frames have no names. The second one is what goes
 * through the binding's second layer, which those take whose output is given beforehand or that have an asynchronous form.
 */
export const PKCS11_CALLS: Readonly<Record<string, readonly [direct: string, layered: string]>> = {
  decrypt: ['C_DecryptInit', 'C_Decrypt'],
  encrypt: ['C_EncryptInit', 'C_Encrypt'],
  sign: ['C_SignInit', 'C_Sign'],
  verify: ['C_VerifyInit', 'C_Verify'],
  derive: ['C_DeriveKey', 'C_DeriveKey'],
  unwrap: ['C_UnwrapKey', 'C_UnwrapKey'],
  readSecret: ['C_GetAttributeValue', 'C_GetAttributeValue'],
  withObject: ['C_DestroyObject', 'C_DestroyObject'],
}
export const OTHER_CALL = 'other'
