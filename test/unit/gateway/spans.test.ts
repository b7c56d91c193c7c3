/** What spans may say: the closed list, and what becomes of what a vault says of itself. */
import { describe, expect, it } from 'vitest'
import { noteMessage, timingsIn, type CallTrace, type MessageTrace } from '../../../src/bridge/call-trace.ts'
import { MOST_TRACED_CALLS, type VaultTimings } from '../../../src/bridge/contract.ts'
import { ServiceError } from '../../../src/errors.ts'
import { listed, methodOf, type Attributes } from '../../../src/gateway/tracing/attributes.ts'
import { RequestTrace } from '../../../src/gateway/tracing/request-trace.ts'
import { createSampler } from '../../../src/gateway/tracing/sampling.ts'
import { spansOf, type TracedRequest } from '../../../src/gateway/tracing/spans.ts'

const PAN = '4000001234567899'
const REQUEST_ID = '11111111-2222-4333-8444-555555555555'
const parent = (flags: string) => `00-${'a'.repeat(32)}-${'b'.repeat(16)}-${flags}`

describe('the closed list of attributes', () => {
  it('lets through what it lists in its form', () => {
    const attributes: Attributes = {
      'http.request.method': 'POST',
      'http.route': '/v1/pin-blocks/translate-batch',
      'http.response.status_code': 503,
      'url.scheme': 'https',
      'error.type': 'ERR_HSM_BUSY',
      'pinbridge.request.id': REQUEST_ID,
      'pinbridge.client.id': 'cms-adapter',
      'pinbridge.operation': 'openSetPin',
      'pinbridge.queue.wait_ms': 0.125,
      'pinbridge.vault.id': 3,
      'pinbridge.token.name': 'hsm-a',
      'pinbridge.hsm.call': 'openContent',
      'pinbridge.hsm.ckr': 'CKR_DEVICE_ERROR',
      'pinbridge.key.id': 'zpk-out',
      'pinbridge.key.version': 2,
    }
    expect(listed(attributes)).toEqual(attributes)
  })

  it.each<[string, unknown]>([
    ['url.full', 'https://host/v1/pin/set?pan=1'],
    ['client.address', '192.0.2.1'],
    ['pan', PAN],
    ['__proto__', 'x'],
    ['constructor', 'x'],
    ['http.route', `/v1/pin/set?pan=${PAN}`],
    ['http.route', 'unmatched'],
    ['http.request.method', PAN],
    ['http.response.status_code', '200'],
    ['http.response.status_code', 2000],
    ['url.scheme', 'http://'],
    ['error.type', 'ERR_UNHEARD_OF'],
    ['error.type', 'toString'],
    ['pinbridge.request.id', PAN],
    ['pinbridge.client.id', 'CN=somebody'],
    ['pinbridge.operation', 'constructor'],
    ['pinbridge.queue.wait_ms', Number.NaN],
    ['pinbridge.queue.wait_ms', '1'],
    ['pinbridge.vault.id', 1.5],
    ['pinbridge.hsm.call', 'C_Decrypt'],
    ['pinbridge.hsm.ckr', PAN],
    ['pinbridge.key.id', { id: PAN }],
    ['pinbridge.key.id', [PAN]],
    ['pinbridge.key.version', '1'],
  ])('keeps back %s as %j', (name, value) => {
    const attributes = Object.fromEntries([[name, value]]) as Attributes
    expect(listed(attributes)).toEqual({})
  })

  it('names a method that it does not know as the convention does', () => {
    expect([methodOf('POST'), methodOf(PAN), methodOf(undefined)]).toEqual(['POST', '_OTHER', '_OTHER'])
  })
})

describe('sampling', () => {
  const limits = { sampleRatio: 0.25, tracesPerSecond: 3 }

  it('follows what the caller decided, and takes a share of the others', () => {
    const numbers = [0, 0.2499, 0.25, 0.99]
    const sample = createSampler({ ...limits, tracesPerSecond: 100 }, () => numbers.shift()!)
    expect([undefined, undefined, undefined, undefined].map((none) => sample(none, 0))).toEqual([
      'taken',
      'taken',
      'not',
      'not',
    ])
    expect(['00', '01', '02', '03', 'ff', 'fe'].map((flags) => sample(parent(flags), 0))).toEqual([
      ...['not', 'taken', 'not', 'taken', 'taken', 'not'],
    ])
    expect(createSampler({ ...limits, sampleRatio: 0 }, () => 0)(undefined, 0)).toBe('not')
    expect(createSampler({ ...limits, sampleRatio: 1 }, () => 0.999999)(undefined, 0)).toBe('taken')
  })

  it('takes so many a second and no more, whoever decided', () => {
    const sample = createSampler(limits)
    const take = (nowMs: number) => sample(parent('01'), nowMs)
    expect([take(0), take(0), take(0), take(0)]).toEqual(['taken', 'taken', 'taken', 'limited'])
    expect([take(333), take(334), take(335)]).toEqual(['limited', 'taken', 'limited'])
    // What was not used in a minute is not there all at once.
    const later = Array.from({ length: 5 }, () => take(60_000))
    expect(later.filter((decision) => decision === 'taken')).toHaveLength(3)
  })
})

const hsmCall = { call: 'openContent', key: 'jwe-ec', version: 2, outcome: 'ok' } as const
const timings = (over: Partial<VaultTimings> = {}): VaultTimings => ({
  startedMs: 110,
  endedMs: 150,
  hsmCalls: [{ ...hsmCall, calledMs: 115, startedMs: 120, endedMs: 140 }],
  hsmCallsMissing: 0,
  ...over,
})

/** A request with one call of one message. */
async function requestOf(message: Partial<MessageTrace>, error?: ServiceError): Promise<TracedRequest> {
  const trace = new RequestTrace(parent('01'), performance.now())
  await trace
    .follow('openSetPin', (call) => {
      const base = { vault: 7, token: 'hsm-a', givenMs: 100, endedMs: 160, requests: 1, items: 1, calls: [call] }
      noteMessage(call, { ...base, ...message })
      return error ? Promise.reject(error) : Promise.resolve()
    })
    .catch(() => {})
  const endedMs = trace.startedMs + 5
  return { requestId: REQUEST_ID, route: '/v1/pin/set', trace, method: 'POST', status: 200, endedMs }
}

const KEYS = [
  { id: 'jwe-ec', version: 1, purpose: 'jwe-decrypt', algorithm: 'EC-P256', kcv: '00', state: 'active' },
] as const

describe('spans of a request', () => {
  it('shows what a vault measured, and a wait where there was one', async () => {
    const spans = spansOf(await requestOf({ timings: timings() }), [...KEYS])
    expect(spans.slice(2).map(({ name, startMs, endMs }) => [name, startMs, endMs])).toEqual([
      ['vault openSetPin', 110, 150],
      ['wait for a session', 115, 120],
      ['HSM openContent', 120, 140],
    ])
    expect(spans.at(-1)!.attributes).toEqual({
      'pinbridge.hsm.call': 'openContent',
      'pinbridge.token.name': 'hsm-a',
      'pinbridge.key.id': 'jwe-ec',
      'pinbridge.key.version': 2,
    })
  })

  it('names no key that the catalogue does not have, and believes no time beyond what it saw itself', async () => {
    const lie = { ...hsmCall, key: PAN, calledMs: 0, startedMs: 1, endedMs: 9e15 }
    const message = { timings: timings({ startedMs: 0, endedMs: 9e15, hsmCalls: [lie] }) }
    const spans = spansOf(await requestOf(message), [...KEYS])
    expect(spans.slice(2).map(({ startMs, endMs }) => [startMs, endMs])).toEqual([
      [100, 160],
      [100, 100],
      [100, 160],
    ])
    expect(JSON.stringify(spans)).not.toContain(PAN)
  })

  it('tells the code and the return value of a failure, and no text', async () => {
    const error = new ServiceError('ERR_HSM_UNAVAILABLE', { ckr: 'CKR_DEVICE_ERROR', method: 'C_Decrypt' })
    const [, bridge, vault] = spansOf(await requestOf({ code: 'ERR_HSM_UNAVAILABLE' }, error), [...KEYS])
    expect(bridge).toMatchObject({
      isError: true,
      attributes: { 'error.type': 'ERR_HSM_UNAVAILABLE', 'pinbridge.hsm.ckr': 'CKR_DEVICE_ERROR' },
    })
    expect(vault).toMatchObject({ isError: true, startMs: 100, endMs: 160 })
  })

  it('is bounded: so many messages of a call, so many links', async () => {
    const others: CallTrace[] = Array.from({ length: 100 }, (_, i) => ({
      traceId: 'c'.repeat(32),
      spanId: i.toString(16).padStart(16, '0'),
      messages: [],
      messagesMissing: 0,
    }))
    const request = await requestOf({ calls: others })
    const [call] = request.trace.calls
    const [message] = call!.messages
    for (let i = 0; i < 99; i++) noteMessage(call!, message!)
    const spans = spansOf(request, [...KEYS])
    expect(spans).toHaveLength(2 + 16)
    expect(spans[1]!.attributes['pinbridge.messages.missing']).toBe(84)
    expect(spans[1]!.links).toHaveLength(32)
  })

  it('waits for a vault that answers after the client has left', async () => {
    const trace = new RequestTrace(undefined, performance.now())
    const { promise, resolve } = Promise.withResolvers<undefined>()
    const followed = trace.follow('generateMac', () => promise)
    let isSettled = false
    trace.whenSettled(() => (isSettled = true))
    expect(isSettled).toBe(false)
    resolve(undefined)
    await followed
    expect(isSettled).toBe(true)
    expect(trace.traceId).toMatch(/^[0-9a-f]{32}$/)
    const left = {
      requestId: REQUEST_ID,
      route: '/v1/mac/generate',
      trace,
      method: 'POST',
      status: undefined,
      endedMs: 0,
    }
    expect(spansOf(left, [])[0]).toMatchObject({ isError: true, attributes: { 'error.type': 'ABORTED' } })
  })
})

describe('what a vault says of its times', () => {
  it('is taken in the form of the contract, and in no other', () => {
    expect(timingsIn(timings())).toEqual(timings())
    const calls = Array.from({ length: MOST_TRACED_CALLS + 1 }, () => timings().hsmCalls[0]!)
    const wrong: unknown[] = [
      undefined,
      null,
      'x',
      timings({ hsmCalls: calls }),
      { ...timings(), pan: PAN },
      { ...timings(), startedMs: '0' },
      timings({ startedMs: -1 }),
      timings({ endedMs: Number.NaN }),
      timings({ hsmCalls: [{ ...timings().hsmCalls[0]!, call: PAN as 'sign' }] }),
      timings({ hsmCalls: [{ ...timings().hsmCalls[0]!, key: `${PAN} ` }] }),
    ]
    expect(wrong.map((each) => timingsIn(each))).toEqual(wrong.map(() => undefined))
    expect(timingsIn(timings({ hsmCalls: calls.slice(1) }))).toBeDefined()
  })
})
