/** The real API over real mTLS on a free port, with a recording stand-in for the bridge: for what is HTTP and nothing else. */
import { connect, type TLSSocket } from 'node:tls'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { Agent, request as undiciRequest } from 'undici'
import type { AnswerOf, Bridge, Operation, PublicJwk, RequestOf } from '../../src/bridge/contract.ts'
import type { GatewayConfig } from '../../src/config/schema.ts'
import { createOpenRequests } from '../../src/gateway/client-errors.ts'
import { buildApi, buildManagement } from '../../src/gateway/app.ts'
import { createAuthentication, createPolicy } from '../../src/gateway/authentication.ts'
import type { LimitStore } from '../../src/gateway/limit-store.ts'
import { createMetrics } from '../../src/gateway/metrics.ts'
import { createLiveKeys } from '../../src/gateway/live-keys.ts'
import { describeCallers, describeSetPinTypes } from '../../src/gateway/openapi.ts'
import type { Status } from '../../src/gateway/status.ts'
import { testCertificates, type TestClient } from '../support/certificates.ts'
import { assertDocumented } from '../support/documented.ts'

// While the file loads, because RSA keys take their time on a busy machine and a test's clock would count it.
const certificates = await testCertificates()

const ALL_KEYS = [
  'jwe-ec',
  'zpk-in',
  'zpk-out',
  'zpk-aes',
  'seccos-pin',
  'prw',
  'pin-mac',
  'jwe-open',
  'assertion',
  'gone',
]
const ALL_FORMATS = ['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'] as const
const keyRef = { id: 'zpk-out', version: 1, kcv: 'A1B2C3' }

/** What a test may set. */
export interface HarnessOptions {
  readonly limits?: Partial<GatewayConfig['limits']>
  readonly guesses?: Partial<GatewayConfig['limits']['guesses']>
  readonly clients?: GatewayConfig['clients']
  readonly authentication?: GatewayConfig['authentication']
  /** Another CA of clients, PEM, beside the one of the set. */
  readonly clientCa?: string
  readonly status?: () => Status
  readonly publicKeys?: () => readonly PublicJwk[]
  readonly limitStore?: LimitStore | undefined
  readonly counterOnceKeys?: readonly string[]
  /** Whether the catalogue has a limit-hash key; without one, each harness hashes in its own way. */
  readonly hasLimitHashKey?: boolean
}

/** One call that reached the bridge. */
export interface RecordedCall {
  readonly operation: Operation
  readonly body: Record<string, unknown>
}

/** How the stand-in answers; a thrown error is the vault's. */
export type Answers = { [O in Operation]: (body: RequestOf<O>) => AnswerOf<O> | Promise<AnswerOf<O>> }

const LIMIT_HASH_KEY = {
  id: 'limit-hash',
  version: 1,
  state: 'active',
  purpose: 'limit-hash',
  algorithm: 'AES-256',
  kcv: 'E5E5E5E5E5',
} as const

/** The catalogue that the tests' clients know. */
export const testConfig = (options: HarnessOptions = {}): GatewayConfig => ({
  environment: 'development',
  clients: options.clients ?? [
    {
      id: 'cms-adapter',
      dnsName: 'cms-adapter.clients.test',
      grants: [
        {
          operations: [
            'pin/set',
            'pin/get',
            'pin-blocks/translate',
            'pin-blocks/translate-batch',
            'prw/generate',
            'prw/verify',
            'mac/generate',
            'mac/verify',
            'd1/assertion',
            'jwe/seal',
            'jwe/open',
            'jwks',
            'keys',
          ],
          keys: ALL_KEYS,
          formats: [...ALL_FORMATS],
          recipients: ['d1-dev', 'd1-data-dev'],
        },
      ],
    },
    {
      id: 'narrow',
      dnsName: 'narrow.clients.test',
      grants: [
        { operations: ['pin-blocks/translate'], keys: ['zpk-in', 'zpk-out'], formats: ['ISO-0'], recipients: [] },
        { operations: ['pin-blocks/translate-seccos'], keys: ['zpk-aes'], formats: [...ALL_FORMATS], recipients: [] },
        { operations: ['pin/get'], keys: ['zpk-in'], formats: ['ISO-0'], recipients: ['own'] },
        { operations: ['pin/set'], keys: ['zpk-out'], formats: ['ISO-0'], recipients: [] },
      ],
    },
    {
      id: 'auditor',
      dnsName: 'auditor.clients.test',
      grants: [{ operations: ['keys', 'jwks'], keys: [], formats: [], recipients: [] }],
    },
    // The common name of a certificate that has no DNS name.
    {
      id: 'cn-only',
      dnsName: 'cn-only.development',
      grants: [{ operations: ['keys'], keys: [], formats: [], recipients: [] }],
    },
  ],
  listeners: {
    api: { host: '127.0.0.1', port: 0, certificate: '', privateKey: '', clientCa: '' },
    management: { host: '127.0.0.1', port: 0 },
  },
  limits: {
    guesses: {
      windowMs: 60_000,
      perClient: 1000,
      perCard: 1000,
      perPinBlock: 1000,
      perCardMade: 1000,
      ...options.guesses,
    },
    batchRejects: 10_000,
    counterTtlMs: 60_000,
    requestMs: 10_000,
    hsmMs: 5000,
    queue: 1000,
    inFlightPerVault: 8,
    shutdownMs: 1000,
    ...options.limits,
  },
  logLevel: 'info',
  keys: [
    { id: 'jwe-ec', version: 1, state: 'active', purpose: 'jwe-decrypt', algorithm: 'EC-P256', kcv: '0102030405' },
    { id: 'jwe-open', version: 1, state: 'active', purpose: 'jwe-open', algorithm: 'EC-P256', kcv: '0607080910' },
    {
      id: 'assertion',
      version: 1,
      state: 'active',
      purpose: 'assertion-sign',
      algorithm: 'EC-P256',
      kcv: '1112131415',
    },
    {
      id: 'zpk-in',
      version: 1,
      state: 'active',
      purpose: 'zone-pin',
      direction: 'in',
      algorithm: 'TDEA-128',
      kcv: 'A1A1A1',
    },
    {
      id: 'zpk-out',
      version: 1,
      state: 'active',
      purpose: 'zone-pin',
      direction: 'both',
      algorithm: 'TDEA-128',
      kcv: 'B2B2B2',
    },
    {
      id: 'zpk-aes',
      version: 1,
      state: 'active',
      purpose: 'zone-pin',
      direction: 'both',
      algorithm: 'AES-256',
      kcv: 'C3C3C3C3C3',
    },
    // In no grant.
    { id: 'spare', version: 1, state: 'active', purpose: 'pin-mac', algorithm: 'AES-128', kcv: 'F6F6F6F6F6' },
    {
      id: 'prw',
      version: 1,
      state: 'active',
      purpose: 'prw',
      use: ['generate', 'verify'],
      algorithm: 'TDEA-128',
      kcv: 'D4D4D4',
      profile: 'seccos-3des',
    },
    ...(options.hasLimitHashKey ? [LIMIT_HASH_KEY] : []),
  ],
  setPinTypes: ['ISO0', '3DES_SECCOS'],
  counterOnceKeys: options.counterOnceKeys ?? [],
  authentication: options.authentication ?? {},
})

/** The status of a service with one vault that serves, but for what is told. */
export function statusOf(over: Partial<Status> = {}): Status {
  const sessions = { total: 4, inUse: 0, waiting: 0 }
  return {
    reason: undefined,
    vaults: [{ id: 1, token: 'hsm-a', state: 'ready', inFlight: 0, selfTestAgeMs: 0, sessions }],
    queued: 0,
    tokens: [{ name: 'hsm-a', state: 'serving', wanted: 1, serving: 1 }],
    configuration: undefined,
    restarts: undefined,
    ...over,
  }
}

/** Starts the API and the management listener. */
export async function start(options: HarnessOptions = {}) {
  const calls: RecordedCall[] = []
  const records: Record<string, unknown>[] = []
  const answers: Answers = {
    openSetPin: () => ({ pinBlock: '0123456789ABCDEF', format: 'ISO-0', key: keyRef }),
    sealGetPin: () => ({ encryptedPinBlock: 'e30.e30.e30.e30.e30' }),
    translatePinBlocks: ({ items }) => ({
      format: 'ISO-0',
      key: keyRef,
      rejected: [],
      packed: Buffer.from('0123456789ABCDEF'.repeat(items), 'hex'),
    }),
    generatePrw: () => ({ prw: '0123456789ABCDEF', profile: 'seccos-3des', key: keyRef, counter: '0003' }),
    verifyPrw: () => ({ verified: true }),
    generateMac: () => ({ mac: '0123456789ABCDEF', profile: 'seccos-3des', key: keyRef }),
    verifyMac: () => ({ verified: true }),
    makeD1Assertion: () => ({ assertion: 'e30.e30.c2ln', expiresAt: 1_800_000_000, key: keyRef }),
    sealData: () => ({ jwe: 'e30.e30.e30.e30.e30' }),
    openData: () => ({ packed: Buffer.from('{"pan":"4111111111111111","exp":"1230"}'), key: keyRef }),
    sealAudit: () => ({ mac: '00'.repeat(16), sealedAtMs: 0, key: keyRef }),
    deriveHashKey: () => ({ packed: Buffer.alloc(32), key: keyRef }),
  }
  const bridge: Bridge = {
    call: async (operation, body) => {
      calls.push({ operation, body: body as Record<string, unknown> })
      return answers[operation](body)
    },
  }
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      records.push(JSON.parse(chunk.toString()) as Record<string, unknown>)
      done()
    },
  })
  const config = testConfig(options)
  const status = options.status ?? (() => statusOf())
  const keys = createLiveKeys(config)
  const metrics = createMetrics({
    status,
    keys: () => keys.now.keys,
    clients: () => authentication.policy.clients.map(({ id }) => id),
    development: true,
    queue: config.limits.queue,
  })
  const clientCa = certificates.ca + (options.clientCa ?? '')
  const authentication = createAuthentication(createPolicy(config, clientCa))
  const api = await buildApi({
    config,
    bridge,
    log: pino({ level: 'debug' }, sink),
    metrics,
    open: createOpenRequests(),
    keys,
    publicKeys: options.publicKeys ?? (() => []),
    limitStore: options.limitStore,
    tls: { key: certificates.server.privateKey, cert: certificates.server.certificate, ca: clientCa },
    authentication,
  })
  const openApi = () =>
    describeCallers(describeSetPinTypes(api.swagger(), keys.now.setPinTypes), authentication.policy.bearer)
  const management = buildManagement({ config, metrics, status, openApi })
  const url = await api.listen({ host: '127.0.0.1', port: 0 })
  const managementUrl = await management.listen({ host: '127.0.0.1', port: 0 })
  const port = Number(new URL(url).port)

  const identity = (client: TestClient) => {
    const { certificate, privateKey } = certificates.clients.find(({ id }) => id === client)!
    return { ca: certificates.ca, cert: certificate, key: privateKey }
  }
  const agents = new Map<TestClient, Agent>()
  const agentOf = (client: TestClient) => {
    const agent = agents.get(client) ?? new Agent({ connect: identity(client) })
    agents.set(client, agent)
    return agent
  }

  /** Sends one request; an object is sent as JSON, a string or bytes as they are. */
  async function send(
    method: string,
    path: string,
    body?: unknown,
    {
      client = 'cms',
      headers = {},
      // For codes that a stand-in gives and no vault would: the document need not have them.
      anyCode = false,
    }: { client?: TestClient; headers?: Record<string, string>; anyCode?: boolean } = {},
  ) {
    const raw = typeof body === 'string' || Buffer.isBuffer(body) || body === undefined ? body : JSON.stringify(body)
    const answer = await undiciRequest(`${url}${path}`, {
      method: method as 'GET',
      dispatcher: agentOf(client),
      headers: { ...(raw === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(raw === undefined ? {} : { body: raw }),
    })
    const text = await answer.body.text()
    const json = (text === '' ? undefined : JSON.parse(text)) as Record<string, unknown>
    const got = { status: answer.statusCode, headers: answer.headers, text, json }
    if (!anyCode) await assertDocumented(method, path, got)
    return got
  }

  /** A raw TLS connection as a client. */
  const openSocket = (client: TestClient = 'cms') =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port, ...identity(client) }, () => resolve(socket))
      socket.once('error', reject)
    })

  /** The request records once there are `count` of them: a record follows its answer. */
  async function requestRecords(count: number) {
    for (let i = 0; i < 200; i++) {
      const found = records.filter(({ event }) => event === 'request')
      if (found.length >= count) return found
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    throw new Error('records missing')
  }

  const close = async () => {
    await Promise.all([...agents.values()].map((agent) => agent.destroy()))
    await Promise.all([api.close(), management.close()])
  }
  return {
    url,
    managementUrl,
    port,
    send,
    openSocket,
    identity,
    calls,
    answers,
    records,
    requestRecords,
    metrics,
    api,
    authentication,
    keys,
    close,
  }
}

/** A started harness. */
export type Harness = Awaited<ReturnType<typeof start>>

/** Reads a raw socket to its end. */
export async function readAll(socket: TLSSocket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text
}

/** A valid request of each POST route. */
export const VALID = {
  '/v1/pin/set': {
    type: 'ISO0',
    encryptedPinBlock: 'e30.e30.e30.e30.e30',
    card: { pan: '4111111111111111' },
    to: { key: 'zpk-out', format: 'ISO-0' },
  },
  '/v1/pin/get': {
    pinBlock: '0123456789abcdef',
    from: { key: 'zpk-in', format: 'ISO-0' },
    card: { pan: '4111111111111111' },
    recipient: 'd1-dev',
  },
  '/v1/pin-blocks/translate': {
    pinBlock: '0123456789abcdef',
    from: { key: 'zpk-in', format: 'ISO-0' },
    to: { key: 'zpk-out', format: 'ISO-0' },
    card: { pan: '4111111111111111' },
  },
  '/v1/pin-blocks/translate-batch': {
    from: { key: 'zpk-in', format: 'ISO-0' },
    to: { key: 'zpk-out', format: 'ISO-0' },
    items: [{ id: 'row-1', pinBlock: '0123456789abcdef', card: { pan: '4111111111111111' } }],
  },
  '/v1/prw/generate': {
    pinBlock: '0123456789abcdef',
    from: { key: 'zpk-in', format: 'ISO-0' },
    card: { pan: '4111111111111111' },
    change: { counter: '0003' },
    key: 'prw',
  },
  '/v1/prw/verify': {
    pinBlock: '0123456789abcdef',
    from: { key: 'zpk-in', format: 'ISO-0' },
    card: { pan: '4111111111111111' },
    change: { counter: '0003' },
    key: 'prw',
    prw: '0123456789abcdef',
  },
  '/v1/mac/generate': { key: 'pin-mac', pinBlock: '0123456789abcdef' },
  '/v1/mac/verify': { key: 'pin-mac', pinBlock: '0123456789abcdef', mac: '01234567' },
  '/v1/d1/assertion': { key: 'assertion' },
  '/v1/jwe/seal': { recipient: 'd1-data-dev', payload: { pan: '4111111111111111', exp: '1230' } },
  '/v1/jwe/open': { jwe: 'e30.e30.e30.e30.e30' },
} as const
