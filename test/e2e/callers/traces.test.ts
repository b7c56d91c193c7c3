import { randomBytes } from 'node:crypto'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Agent, request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { findCanaries, textCanary } from '../../support/canaries.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { flipBit, sealEc, sealRsa } from '../../support/node-jwe.ts'
import { startCollector, type CollectedSpan, type Collector } from '../../support/otlp-collector.ts'
import { temporaryFolder, type Answer, type CallOptions } from '../../support/service.ts'
import { secretsOf } from '../leaks/secrets.ts'
import { childrenOf, recordsOf, until } from '../processes/processes.ts'
import { CHANGE, iso0, newPan, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

const FROM = { key: 'zpk-in', format: 'ISO-0' } as const
/** Long, because vaults are made to stand still here while requests come together. */
const HSM_MS = 15_000

/** A traceparent of a caller that records. */
const newParent = (flags = '01') => {
  const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
  return { traceId, spanId, header: `00-${traceId}-${spanId}-${flags}` }
}

/** The spans of a trace as lines, indented, in the order of their beginning; siblings that begin together by name. */
function treeOf(spans: readonly CollectedSpan[], parentSpanId: string, indent = ''): string[] {
  return spans
    .filter((span) => span.parentSpanId === parentSpanId)
    .sort((a, b) => Number(a.startNs - b.startNs) || (a.name < b.name ? -1 : 1))
    .flatMap((span) => [`${indent}${span.name}`, ...treeOf(spans, span.spanId, `${indent}  `)])
}

/** Waits are seen now and then, and are no part of the shape. */
const withoutWaits = (lines: readonly string[]) => lines.filter((line) => !line.endsWith('wait for a session'))

describe('a service that traces', () => {
  const folder = temporaryFolder()
  let collector: Collector
  let issuer: Issuer
  /** A certificate that the service trusts, and that names no client. */
  let stranger: Agent

  beforeAll(async () => {
    const hosts = ['127.0.0.1']
    const own = await makeDevelopmentCertificates({ hosts, clients: [{ id: 'pinbridge', dnsNames: ['pinbridge'] }] })
    const { certificate, privateKey } = own.clients[0]!
    collector = await startCollector({
      key: own.server.privateKey,
      cert: own.server.certificate,
      ca: own.ca,
      requestCert: true,
      rejectUnauthorized: true,
    })
    const write = (name: string, text: string) => {
      const path = join(folder.path, name)
      writeFileSync(path, text, { mode: 0o600 })
      return path
    }
    issuer = await openIssuer((config) => {
      config.hsm.vaults = 1
      config.limits.hsmMs = HSM_MS
      config.tracing = {
        endpoint: collector.url,
        // No test of this file is about the limit.
        tracesPerSecond: 1000,
        caFile: write('ca.pem', own.ca),
        certificateFile: write('own.pem', certificate),
        privateKeyFile: write('own-key.pem', privateKey),
      }
      appendFileSync(
        join(dirname(config.hsm.tokens?.[0]?.pinFile ?? config.hsm.pinFile), config.listeners.api.clientCa),
        `\n${own.ca}`,
      )
    })
    stranger = new Agent({
      connect: { ca: readFileSync(issuer.service.setUp.ca), cert: certificate, key: privateKey },
    })
  })
  afterAll(async () => {
    await stranger?.close()
    await issuer?.close()
    await collector?.close()
    folder.dispose()
  })

  /** Sends a request in a trace of its own; what it was answered, and its spans once they are there. */
  async function trace(path: string, body: unknown, options: CallOptions = {}) {
    const parent = newParent()
    const headers = { ...options.headers, traceparent: parent.header }
    const answer = await issuer.post(path, body, { ...options, headers })
    const spans = await spansOf(parent.traceId)
    return { answer, spans, server: spans.find(({ kind }) => kind === 2)!, tree: treeOf(spans, parent.spanId) }
  }

  /** A trace is exported whole, its first span before the others. */
  async function spansOf(traceId: string): Promise<CollectedSpan[]> {
    const { value } = await until(`a trace ${traceId}`, () => {
      const spans = collector.spans.filter((span) => span.traceId === traceId)
      return spans.some(({ kind }) => kind === 2) && spans
    })
    return value
  }

  const translation = (pan = newPan()) => ({
    pinBlock: issuer.block('zpk-in', 'ISO-0', '123456', pan),
    from: FROM,
    to: TO,
    card: { pan },
  })

  it('shows a pin/set by ECDH-ES from the request to the calls of the HSM, each within its parent', async () => {
    const pan = newPan()
    const { compact } = sealEc(iso0('123456', pan), issuer.jwk('jwe-ec'))
    const body = { type: 'ISO0', encryptedPinBlock: compact, card: { pan }, to: TO }
    const { answer, spans, server, tree } = await trace('/v1/pin/set', body)

    expect(answer.status).toBe(200)
    expect(withoutWaits(tree)).toEqual([
      'POST /v1/pin/set',
      '  bridge openSetPin',
      '    vault openSetPin',
      '      HSM openContent',
      '      HSM encipherBlocks',
    ])
    expect(server.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/v1/pin/set',
      'http.response.status_code': 200,
      'url.scheme': 'https',
      'pinbridge.request.id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'pinbridge.client.id': 'cms-adapter',
    })
    expect(server.resource).toEqual({
      'service.name': 'pinbridge',
      'service.version': expect.stringMatching(/^\d+\.\d+\.\d+$/),
      'service.instance.id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      'deployment.environment.name': 'development',
    })
    const open = spans.find(({ name }) => name === 'HSM openContent')!
    expect(open).toMatchObject({ kind: 3, status: 0 })
    expect(open.attributes).toMatchObject({ 'pinbridge.key.id': 'jwe-ec', 'pinbridge.key.version': 1 })
    const vault = spans.find(({ name }) => name === 'vault openSetPin')!
    expect(vault.attributes).toMatchObject({ 'pinbridge.message.requests': 1, 'pinbridge.message.items': 1 })
    for (const span of spans) {
      const parent = spans.find(({ spanId }) => spanId === span.parentSpanId)
      expect(span.endNs).toBeGreaterThanOrEqual(span.startNs)
      if (parent === undefined) continue
      expect(span.startNs).toBeGreaterThanOrEqual(parent.startNs)
      expect(span.endNs).toBeLessThanOrEqual(parent.endNs)
    }
    // Within minutes of now: the machine's monotonic clock does not begin in 1970.
    expect(Math.abs(Number(server.startNs / 1_000_000n) - Date.now())).toBeLessThan(600_000)
    // The log tells the trace, and the record of requests the id.
    const record = recordsOf(issuer.service.output()).find(({ traceId }) => traceId === server.traceId)
    expect(record.requestId).toBe(server.attributes['pinbridge.request.id'])
    // As the contract says: the caller's own comes back.
    expect(answer.headers['traceparent']).toBe(`00-${server.traceId}-${server.parentSpanId}-01`)
  })

  it('shows every operation by the calls of the HSM that it takes', async () => {
    const pan = newPan()
    const block = translation(pan)
    const card = { pan, panSequenceNumber: '01', expiry: '3012' }
    const { compact } = sealRsa(iso0('123456', pan), issuer.jwk('jwe-rsa'))
    const prw = { pinBlock: block.pinBlock, from: FROM, card, change: CHANGE, key: 'prw' }
    const mac = { key: 'pin-mac', pinBlock: block.pinBlock, prw: '00'.repeat(8), card, change: CHANGE }
    const cases: [string, object, string, string[]][] = [
      [
        '/v1/pin/set',
        { type: 'ISO0', encryptedPinBlock: compact, card, to: TO },
        'openSetPin',
        ['openContent', 'encipherBlocks'],
      ],
      [
        '/v1/pin/get',
        { pinBlock: block.pinBlock, from: FROM, card, recipient: issuer.recipient.kid },
        'sealGetPin',
        ['decipherBlocks'],
      ],
      ['/v1/pin-blocks/translate', block, 'translatePinBlocks', ['decipherBlocks', 'encipherBlocks']],
      ['/v1/prw/generate', prw, 'generatePrw', ['decipherBlocks', 'generateMac']],
      ['/v1/prw/verify', { ...prw, prw: '00'.repeat(8) }, 'verifyPrw', ['decipherBlocks', 'verifyMac']],
      ['/v1/mac/generate', mac, 'generateMac', ['generateMac']],
      ['/v1/mac/verify', { ...mac, mac: '00'.repeat(8) }, 'verifyMac', ['verifyMac']],
    ]
    const made = await Promise.all(cases.map(([path, body]) => trace(path, body)))
    expect(made.map(({ answer, tree }) => [answer.status, withoutWaits(tree)])).toEqual(
      cases.map(([path, , operation, calls]) => [
        200,
        [
          `POST ${path}`,
          `  bridge ${operation}`,
          `    vault ${operation}`,
          ...calls.map((call) => `      HSM ${call}`),
        ],
      ]),
    )
  })

  it('says why a request was refused, by its code, and how far it came', async () => {
    const pan = newPan()
    const jwe = sealEc(iso0('123456', pan), issuer.jwk('jwe-ec')).compact
    const set = { type: 'ISO0', encryptedPinBlock: flipBit(jwe, 4), card: { pan }, to: TO }
    const [wrongTag, forbidden, malformed, noRoute] = await Promise.all([
      trace('/v1/pin/set', set),
      trace('/v1/pin-blocks/translate', { ...translation(), to: { key: 'none', format: 'ISO-0' } }),
      trace('/v1/pin-blocks/translate', { pan }),
      trace(`/v1/${pan}`, {}),
    ])
    expect(withoutWaits(wrongTag.tree)).toEqual([
      'POST /v1/pin/set',
      '  bridge openSetPin',
      '    vault openSetPin',
      '      HSM openContent',
    ])
    // The HSM answered, and what was wrong is the caller's.
    expect(wrongTag.spans.map(({ status }) => status)).toEqual([0, 2, 2, 0])
    expect(forbidden.tree).toEqual(['POST /v1/pin-blocks/translate'])
    expect(noRoute.tree).toEqual(['POST'])
    expect(
      [wrongTag, forbidden, malformed, noRoute].map(({ server: { attributes, status } }) => [
        attributes['error.type'],
        attributes['http.response.status_code'],
        status,
      ]),
    ).toEqual([
      ['ERR_JWE_DECRYPTION_FAILED', 422, 0],
      ['ERR_KEY_USE_FORBIDDEN', 403, 0],
      ['ERR_REQUEST_INVALID', 400, 0],
      ['ERR_NOT_FOUND', 404, 0],
    ])
  })

  it('shows each message of a batch that went in parts', async () => {
    const items = Array.from({ length: 300 }, (_, i) => {
      const { pinBlock, card } = translation()
      return { id: String(i), pinBlock, card }
    })
    // A pair of keys and formats that nobody has asked for yet: the first message of it is a short one.
    const to = { key: 'zpk-out', format: 'ISO-3' }
    const { answer, spans } = await trace('/v1/pin-blocks/translate-batch', { from: FROM, to, items })
    expect(answer.status).toBe(200)
    const messages = spans.filter(({ name }) => name === 'vault translatePinBlocks')
    expect(messages.length).toBeGreaterThan(1)
    const noted = messages.map(({ attributes }) => attributes['pinbridge.message.items'] as number)
    expect(noted.reduce((all, some) => all + some)).toBe(items.length)
    expect(spans.filter(({ name }) => name === 'bridge translatePinBlocks')).toHaveLength(1)
  })

  it('says of translations that shared a message that they did, and links each to the others', async () => {
    const parents = Array.from({ length: 24 }, () => newParent())
    const [vault] = childrenOf(issuer.service.ready.pid).vaults
    // While it stands still, what comes gathers: two messages are with it, the rest goes in one.
    process.kill(vault!, 'SIGSTOP')
    const asked = parents.map(({ header }) =>
      issuer.post('/v1/pin-blocks/translate', translation(), { headers: { traceparent: header } }),
    )
    await until('all of them in flight or waiting', async () => {
      const { vaults, queued } = (await issuer.service.manage('/readyz')).json as {
        readonly vaults: readonly { readonly inFlight: number }[]
        readonly queued: number
      }
      return (vaults[0]?.inFlight ?? 0) + queued === parents.length
    }).finally(() => process.kill(vault!, 'SIGCONT'))
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(parents.map(() => 200))

    const traces = await Promise.all(parents.map(({ traceId }) => spansOf(traceId)))
    const bridges = traces.map((spans) => spans.find(({ name }) => name.startsWith('bridge '))!)
    const shares = traces.map((spans) => {
      return spans.find(({ name }) => name.startsWith('vault '))!.attributes['pinbridge.message.requests'] as number
    })
    expect(Math.max(...shares)).toBeGreaterThan(2)
    for (const [i, bridge] of bridges.entries()) {
      expect(bridge.links).toHaveLength(shares[i]! - 1)
      for (const link of bridge.links) {
        const other = bridges.find(({ traceId, spanId }) => traceId === link.traceId && spanId === link.spanId)
        expect(other?.links).toContainEqual({ traceId: bridge.traceId, spanId: bridge.spanId })
      }
    }
  })

  it('follows what its caller decided, and else decides itself', async () => {
    const silent = newParent('00')
    const tracestate = `vendor=${newPan()}`
    const calls = [{ traceparent: silent.header }, {}, { traceparent: 'malformed', tracestate }]
    const answers: Answer[] = []
    for (const headers of calls) answers.push(await issuer.post('/v1/pin-blocks/translate', translation(), { headers }))
    expect(answers.map(({ headers }) => headers['traceparent'])).toEqual([silent.header, undefined, undefined])
    // A trace that begins here has no parent, and stands in the log as the caller's would.
    const { value: roots } = await until('two traces of its own', () => {
      const found = collector.spans.filter(({ kind, parentSpanId }) => kind === 2 && parentSpanId === '')
      return found.length >= 2 && found
    })
    const records = recordsOf(issuer.service.output())
    for (const { traceId, attributes } of roots) {
      expect(records.find((record) => record.traceId === traceId)?.requestId).toBe(attributes['pinbridge.request.id'])
    }
    expect(collector.spans.filter(({ traceId }) => traceId === silent.traceId)).toEqual([])
    // trace_state is field 3 of a span.
    expect(collector.spans.filter(({ fields }) => fields.includes(3))).toEqual([])
  })

  it('has no trace of a caller whom nobody knows', async () => {
    const { traceId, header } = newParent()
    const url = `${issuer.service.ready.url}/v1/jwks`
    const answer = await request(url, { dispatcher: stranger, headers: { traceparent: header } })
    await answer.body.dump()
    expect([answer.statusCode, answer.headers['traceparent']]).toEqual([401, header])
    // Spans leave in the order of their requests' ends.
    await trace('/v1/pin-blocks/translate', translation())
    expect(collector.spans.filter((span) => span.traceId === traceId)).toEqual([])
  })

  it('lets no secret, and nothing else of a request, leave in a span', async () => {
    const secrets = secretsOf(issuer)
    const { pin, pan } = secrets
    const correlation = `corr-${randomBytes(12).toString('hex')}`
    const transactionId = randomBytes(12).toString('hex')
    const card = { pan, panSequenceNumber: '01', expiry: '3012' }
    const jwe = secrets.jwe(sealEc(iso0(pin, pan), issuer.jwk('jwe-ec')))
    const pinBlock = issuer.block('zpk-in', 'ISO-0', pin, pan)
    const prw = randomBytes(8).toString('hex')
    const set = { type: 'ISO0', encryptedPinBlock: jwe, card, to: TO, change: { counter: '0003', transactionId } }
    const options = { headers: { 'x-correlation-id': correlation, 'user-agent': pin, tracestate: `a=${pan}` } }
    const answers = await Promise.all([
      trace('/v1/pin/set', set, options),
      trace(
        '/v1/pin/set',
        { ...set, encryptedPinBlock: secrets.jwe(sealRsa(iso0(pin, pan), issuer.jwk('jwe-rsa'))) },
        options,
      ),
      trace('/v1/pin/set', { ...set, encryptedPinBlock: flipBit(jwe, 3) }, options),
      trace('/v1/pin/set', { ...set, to: { key: pan, format: 'ISO-0' } }, options),
      trace(`/v1/pin/set?pan=${pan}`, set, options),
      trace('/v1/pin-blocks/translate', { pinBlock, from: FROM, to: TO, card }, options),
      trace('/v1/prw/verify', { pinBlock, from: FROM, card, change: CHANGE, key: 'prw', prw }, options),
      trace('/v1/pin/get', { pinBlock, from: FROM, card, recipient: pin }, options),
    ])
    expect(answers.map(({ answer }) => answer.status)).toEqual([200, 200, 422, 403, 400, 200, 200, 403])
    const [made] = answers
    const canaries = [
      ...secrets.canaries,
      ...[correlation, transactionId, pinBlock, prw, made.answer.json.pinBlock].map((text) => textCanary(text, text)),
      ...jwe
        .split('.')
        .filter((part) => part.length >= 8)
        .map((part, i) => textCanary(`JWE part ${i}`, part)),
      // The name in the client's certificate.
      textCanary('DNS name', 'cms-adapter.development'),
    ]
    expect(collector.bodies.length).toBeGreaterThan(0)
    const bytes = Buffer.concat(collector.bodies)
    expect(findCanaries(`${bytes.toString('latin1')} ${bytes.toString('hex')}`, canaries)).toEqual([])
    // Too short to be a canary.
    expect(bytes.includes(issuer.recipient.kid)).toBe(false)
    // The canaries would be seen: what does leave is found in the same bytes.
    expect(findCanaries(bytes.toString('latin1'), [textCanary('client', 'cms-adapter')])).toEqual(['client'])
    expect(strangersInLog(issuer.service.output())).toEqual([])
    expect([
      ...new Set(collector.requests.map(({ method, url, headers }) => `${method} ${url} ${headers['content-type']}`)),
    ]).toEqual(['POST /v1/traces application/x-protobuf'])
  })

  it('shows what a vault that died had before it as lost', async () => {
    const parent = newParent()
    const [vault] = childrenOf(issuer.service.ready.pid).vaults
    process.kill(vault!, 'SIGSTOP')
    const asked = issuer.post('/v1/pin-blocks/translate', translation(), { headers: { traceparent: parent.header } })
    await until('it has it', async () => (await issuer.service.manage('/readyz')).json.vaults[0]?.inFlight === 1)
    process.kill(vault!, 'SIGKILL')
    expect((await asked).status).toBe(503)
    const spans = await spansOf(parent.traceId)
    expect(treeOf(spans, parent.spanId)).toEqual([
      'POST /v1/pin-blocks/translate',
      '  bridge translatePinBlocks',
      '    vault translatePinBlocks',
    ])
    expect(spans.map(({ attributes, status }) => [attributes['error.type'], status])).toEqual(
      spans.map(() => ['ERR_HSM_UNAVAILABLE', 2]),
    )
    await until('another vault', async () => (await issuer.service.manage('/readyz')).status === 200)
  })

  it('answers requests while the collector says nothing, and has their traces there when it is back', async () => {
    collector.manner = 'hang'
    const before = collector.bodies.length
    const parents = Array.from({ length: 50 }, () => newParent())
    const ask = async ({ header }: { readonly header: string }) => {
      const headers = { traceparent: header }
      return (await issuer.post('/v1/pin-blocks/translate', translation(), { headers })).status
    }
    expect(await Promise.all(parents.slice(0, 25).map(ask))).toEqual(parents.slice(0, 25).map(() => 200))
    await until('a batch that hangs', () => collector.bodies.length > before)
    expect(await Promise.all(parents.slice(25).map(ask))).toEqual(parents.slice(25).map(() => 200))
    collector.manner = 'take'
    collector.cut()
    // What it was given first it may have had too long; the others waited for it.
    const waited = parents.slice(25)
    const arrived = await Promise.all(waited.map(({ traceId }) => spansOf(traceId)))
    expect(arrived.map((spans) => spans.filter(({ kind }) => kind === 2).length)).toEqual(waited.map(() => 1))
    expect(strangersInLog(issuer.service.output())).toEqual([])
  })

  it('counts what it sent, and sends what is left when it is told to stop', async () => {
    const parent = newParent()
    await issuer.post('/v1/pin-blocks/translate', translation(), { headers: { traceparent: parent.header } })
    const metrics = (await issuer.service.manage('/metrics')).text
    expect(metrics).toMatch(/^pinbridge_traces_total\{outcome="taken"\} [1-9]\d*$/m)
    expect(metrics).toMatch(/^pinbridge_trace_spans_total\{outcome="exported"\} [1-9]\d*$/m)
    expect(metrics).toMatch(/^pinbridge_trace_spans_total\{outcome="dropped"\} \d+$/m)
    expect(await issuer.service.stop()).toBe(0)
    expect(collector.spans.some(({ traceId }) => traceId === parent.traceId)).toBe(true)
  })
})
