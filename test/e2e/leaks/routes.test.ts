/**
 * Canaries through every route that the OpenAPI document names, success and each failure, at log level debug: nothing of
 * them in any text that leaves, and nothing in the log but listed members.
 */
import { randomBytes } from 'node:crypto'
import { appendFileSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Agent, request } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { ERROR_TITLES } from '../../../src/errors.ts'
import { findCanaries } from '../../support/canaries.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { flipBit, openEc, sealEc, sealRsa, withPart, type NodeJwk } from '../../support/node-jwe.ts'
import { pinbridge, type Answer, type CallOptions } from '../../support/service.ts'
import { recordsOf, until } from '../processes/processes.ts'
import { CHANGE, clearBlock, expectSameProcesses, newPan, openIssuer, TO, type Issuer } from '../routes/issuer.ts'
import { secretsOf, sendRaw, type Secrets } from './secrets.ts'

const REQUEST_MS = 1500
/** What cms-adapter may guess wrong before everything that tells right from wrong is 429. */
const GUESSES = 200
/** Statuses of the document that no request of this file can bring about: failures.test.ts and test/http do, and 404 is of a service older than its caller. */
const ELSEWHERE = [404, 500, 503]
const CODES_ELSEWHERE = ['ERR_INTERNAL', 'ERR_HSM_BUSY', 'ERR_HSM_UNAVAILABLE']

let issuer: Issuer
let secrets: Secrets
/** The public half of the key that data are encrypted to. */
let openJwk: NodeJwk
/** A certificate that the service trusts and that names no client. */
let stranger: Agent
/** The documented statuses, and the codes of errors, by `METHOD path`. */
let routes: Map<string, { readonly statuses: number[]; readonly codes: string[] }>
/** Every answer, its status line and headers with it. */
const answers: string[] = []
const statuses = new Map<string, Set<number>>()
const codes = new Set<string>()
const codesOf = new Map<string, Set<string>>()
let management: string[] = []

beforeAll(async () => {
  const others = await makeDevelopmentCertificates({ hosts: [], clients: [{ id: 'stranger', dnsNames: ['stranger'] }] })
  issuer = await openIssuer((config) => {
    config.logLevel = 'debug'
    config.limits.requestMs = REQUEST_MS
    config.limits.guesses.perClient = GUESSES
    config.limits.batchRejects = 1
    config.weakPins = { repeated: true }
    // Of the two JWE keys, one takes each counter of a card once.
    config.d1.profiles.push({ ...config.d1.profiles[0], id: 'once', counterOnce: true })
    config.keys.find(({ id }: any) => id === 'jwe-rsa').d1Profile = 'once'
    config.clients[1].grants = []
    // The CA of the set-up and another one.
    appendFileSync(join(dirname(config.hsm.pinFile), config.listeners.api.clientCa), `\n${others.ca}`)
  })
  openJwk = JSON.parse(
    (await pinbridge(['keys', 'public', 'jwe-open', '--config', issuer.service.setUp.config])).stdout,
  )
  const { certificate: cert, privateKey: key } = others.clients[0]!
  stranger = new Agent({ connect: { ca: readFileSync(issuer.service.setUp.ca), cert, key } })
  secrets = secretsOf(issuer)
  const document = (await issuer.service.manage('/openapi.json')).json
  routes = new Map(
    Object.entries<any>(document.paths).flatMap(([path, item]) =>
      Object.entries<any>(item).map(([method, { responses }]) => [
        `${method.toUpperCase()} ${path}`,
        {
          statuses: Object.keys(responses).map(Number),
          codes: Object.values<any>(responses).flatMap(({ content }) =>
            Object.keys(content['application/problem+json']?.examples ?? {}),
          ),
        },
      ]),
    ),
  )
  await everyRoute()
  await pinSet()
  await pinBlocks()
  await data()
  await managementListener()
  await usedUpGuesses()
})
afterAll(async () => {
  await stranger?.close()
  await issuer?.close()
})

function note(path: string, status: number, answer: unknown[]): void {
  const text = JSON.stringify([status, ...answer])
  answers.push(text)
  statuses.set(path, (statuses.get(path) ?? new Set()).add(status))
  for (const [code] of text.matchAll(/ERR_[A-Z_]+/g)) {
    codes.add(code)
    if (status >= 400) codesOf.set(path, (codesOf.get(path) ?? new Set()).add(code))
  }
}

async function send(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer> {
  const answer = await issuer.service.call(method, path, body, options)
  note(path, answer.status, [answer.headers, answer.text])
  return answer
}
const post = (path: string, body?: unknown, options?: CallOptions) => send('POST', path, body, options)

async function sendAsStranger(method: string, path: string, body: unknown): Promise<void> {
  const answer = await request(`${issuer.service.ready.url}${path}`, {
    dispatcher: stranger,
    method,
    headers: {
      authorization: `Bearer ${secrets.pan}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    body: body === undefined ? null : JSON.stringify(body),
  })
  note(path, answer.statusCode, [answer.headers, await answer.body.text()])
}

/** Sends what is no whole or no good request; the service hangs up after its answer. */
async function sendBroken(method: string, path: string, head: string, body = ''): Promise<void> {
  const text = await sendRaw(issuer.service, `${method} ${path} HTTP/1.1\r\n${head}${body}`)
  note(path, Number(text.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length)), [text])
}

const FROM = { key: 'zpk-in', format: 'ISO-0' }
const card = () => ({ pan: secrets.pan, panSequenceNumber: '01', expiry: '3012' })
const payload = () => JSON.stringify({ pinBlock: clearBlock('ISO-0', secrets.pin, secrets.pan) })
const sealed = (text: string | Buffer = payload()) => secrets.jwe(sealEc(text, issuer.jwk('jwe-ec')))
const sealedRsa = () => secrets.jwe(sealRsa(payload(), issuer.jwk('jwe-rsa')))

/** A good request of each route with a body. */
function goodBody(path: string, pan = secrets.pan): Record<string, any> {
  const pinBlock = issuer.block('zpk-in', 'ISO-0', secrets.pin, pan)
  const common = { pinBlock, from: FROM, card: { ...card(), pan } }
  const mac = { key: 'pin-mac', pinBlock, prw: '00'.repeat(8), card: { ...card(), pan }, change: CHANGE }
  const bodies: Record<string, () => object> = {
    '/v1/pin/set': () => ({ type: 'ISO0', encryptedPinBlock: sealed(), card: card(), to: TO }),
    '/v1/pin/get': () => ({ ...common, recipient: issuer.recipient.kid }),
    '/v1/pin-blocks/translate': () => ({ ...common, to: TO }),
    '/v1/pin-blocks/translate-batch': () => ({
      from: FROM,
      to: TO,
      items: [{ id: 'one', pinBlock, card: { ...card(), pan } }],
    }),
    '/v1/prw/generate': () => ({ ...common, change: CHANGE, key: 'prw' }),
    '/v1/prw/verify': () => ({ ...common, change: CHANGE, key: 'prw', prw: '00'.repeat(8) }),
    '/v1/mac/generate': () => mac,
    '/v1/mac/verify': () => ({ ...mac, mac: '00'.repeat(8) }),
    '/v1/d1/assertion': () => ({ key: 'assertion' }),
    '/v1/jwe/seal': () => ({ recipient: 'd1-data-dev', payload: { pan, exp: '1231' } }),
    // What is opened is the answer, and so no canary; `data` opens some.
    '/v1/jwe/open': () => ({ jwe: secrets.jwe(sealEc('{"state":"ACTIVE"}', openJwk)) }),
  }
  if (bodies[path] === undefined) throw new Error(`nothing is known to ask of ${path}: this file needs it`)
  return bodies[path]()
}

/** Every route in every way that needs no knowledge of it but a good request. */
async function everyRoute(): Promise<void> {
  const { pin, pan } = secrets
  const broken: Promise<void>[] = []
  for (const route of routes.keys()) {
    const [method, path] = route.split(' ') as [string, string]
    const body = method === 'GET' ? undefined : goodBody(path)
    expect(
      (await send(method, path, body, { headers: { 'x-pan': pan, 'user-agent': pin, cookie: `p=${pin}` } })).status,
    ).toBe(200)
    await send(method, `${path}?pan=${pan}&pin=${pin}`, body)
    await send(method, path, body, { headers: { 'x-correlation-id': `${pan}/${pin}` } })
    await send(method, path, body, { headers: { traceparent: `00-${pan}${pin}-${pin}-01` } })
    await send(method, path, body, { headers: { authorization: `Bearer ${pan}.${pin}.x`, dpop: pin } })
    await send(method === 'GET' ? 'POST' : 'GET', path, method === 'GET' ? goodBody('/v1/pin/get') : undefined)
    await send('DELETE', path)
    await send(method, path, body, { client: 'auditor' })
    await sendAsStranger(method, path, body)
    broken.push(
      sendBroken(method, path, `host: x\r\nx-pan: ${pan.repeat(600)}\r\n\r\n`),
      sendBroken(method, path, `host: x\r\nx-pan: ${pan}\r\nno colon ${pin}\r\n\r\n`),
      sendBroken(method, path, `host: x\r\ncontent-length: ${pan}\r\ntransfer-encoding: ${pin}\r\n\r\n`),
      body === undefined
        ? sendBroken(method, path, `host: x\r\nx-pan: ${pan}\r\n`)
        : sendBroken(
            method,
            path,
            'host: x\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n',
            JSON.stringify(body).slice(0, -1),
          ),
    )
    if (body !== undefined) await badBodies(path, body)
  }
  await Promise.all(broken)
  await send('GET', `/v1/${pin}/${pan}`)
  await send('GET', `/v1/%zz${pan}`)
}

async function badBodies(path: string, body: Record<string, any>): Promise<void> {
  const { pin, pan } = secrets
  const text = JSON.stringify(body)
  await post(path, { ...body, [pin]: pan })
  await post(path, { ...body, card: { pan: `${pan}${pin}` } })
  await post(path, { ...body, card: { ...card(), [pan]: pin } })
  await post(path, { ...body, card: { pan: Number(pan) } })
  await post(path, { ...body, type: pin, key: pan, recipient: pin, change: { counter: pin } })
  await post(path, { ...body, ...('from' in body ? { from: { key: pan, format: 'ISO-0' } } : { key: pan }) })
  if ('to' in body) await post(path, { ...body, to: { key: 'zpk-out', format: 'ISO-1' } })
  if ('from' in body) await post(path, { ...body, from: { key: 'seccos-pin', format: 'SECCOS' } })
  await post(path, text.slice(0, -1))
  await post(path, text.replace('{', `{"__proto__":"${pin}",`))
  await post(path, text.replace('{', `{"card":{"pan":"${pan}"},"card":"${pin}",`))
  await post(path, Buffer.concat([Buffer.from(text), Buffer.from([0xff, 0xfe])]))
  await post(path, text, { headers: { 'content-type': `text/${pin}` } })
  await post(path, text, { headers: { 'content-encoding': pin } })
  await post(path, `"${pin.repeat(path.endsWith('batch') ? 250_000 : 8000)}"`)
}

/** What pin/set can be told besides: a JWE has an inside of its own. */
async function pinSet(): Promise<void> {
  const { pin, pan, badClear } = secrets
  const block = clearBlock('ISO-0', pin, pan)
  const set = (encryptedPinBlock: string, more: object = {}) =>
    post('/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card: card(), to: TO, ...more })
  const setSeccos = (payload: object, more: object = {}) =>
    set(sealed(JSON.stringify(payload)), {
      type: '3DES_SECCOS',
      change: CHANGE,
      issue: { prw: 'prw', mac: 'pin-mac' },
      ...more,
    })
  const seccos = issuer.seccos({ pan, panSequenceNumber: '01', pin, ...CHANGE })
  let counter = 1000
  const setOnce = (jwe: string) => set(jwe, { change: { ...CHANGE, counter: String(counter) } })
  expect((await setOnce(sealedRsa())).status).toBe(200)
  // The same counter in another JWE.
  expect((await setOnce(sealedRsa())).status).toBe(409)
  counter++
  expect((await set(sealed(), { issue: { prw: 'prw-aes' } })).status).toBe(200)
  for (const part of [0, 2, 3, 4]) await set(withPart(sealed(), part, '!'))
  await setOnce(withPart(sealedRsa(), 1, '!'))
  for (const part of [2, 3, 4]) await set(flipBit(sealed(), part))
  await setOnce(flipBit(sealedRsa(), 1, 255))
  await setOnce(secrets.jwe(sealRsa(payload(), issuer.jwk('jwe-rsa'), { cek: randomBytes(16) })))
  for (const header of [{ alg: `ECDH-${pin}` }, { enc: 'A128GCM' }, { kid: pan }, { [pin]: block, crit: [pan] }])
    await set(secrets.jwe(sealEc(payload(), issuer.jwk('jwe-ec'), { header })))
  for (const text of [pin, block, `{"pinBlock":"${block}","pinBlock":"${block}"}`, `{"${pin}":"${pan}"}`])
    await set(sealed(text))
  for (const pinBlock of [pin, badClear, clearBlock('ISO-0', '1'.repeat(12), pan)])
    await set(sealed(JSON.stringify({ pinBlock })))
  await set(sealed(), { card: { ...card(), pan: newPan() } })
  await set(sealed(), { to: { key: pan, format: 'ISO-0' } })
  await setSeccos(seccos, { change: { ...CHANGE, counter: '0004' } })
  await setSeccos({ ...seccos, mac: '00'.repeat(8) })
  await setSeccos({ pinBlock: seccos.pinBlock })
  await set(sealed(JSON.stringify(seccos)), { change: CHANGE })
  expect((await setSeccos(seccos)).status).toBe(200)
}

/** What the routes that take a PIN block can be told besides. */
async function pinBlocks(): Promise<void> {
  const { pin, pan, badClear } = secrets
  const bad = issuer.encipher('zpk-in', badClear)
  for (const route of routes.keys()) {
    const path = route.slice('POST '.length)
    if (!route.startsWith('POST') || path === '/v1/pin/set' || path.startsWith('/v1/mac')) continue
    const body = goodBody(path)
    if (path.endsWith('batch')) {
      const items = [bad, clearBlock('ISO-0', pin, pan).slice(1), pin].map((pinBlock, i) => [
        { id: String(i), pinBlock, card: { pan } },
      ])
      for (const one of items) await post(path, { ...body, items: one })
      const rejects = ['first', 'second'].map((id) => ({ id, pinBlock: bad, card: { pan } }))
      await post(path, { ...body, items: rejects })
      await post(path, { ...body, items: Array.from({ length: 10_001 }, () => ({ id: pan })) })
      await post(path, { ...body, items: undefined, rows: `${pan},${pan},${pin}\n${pin}\n` })
    } else {
      await post(path, { ...body, pinBlock: bad })
      await post(path, { ...body, pinBlock: clearBlock('ISO-0', pin, pan).slice(1) })
    }
  }
  await post('/v1/pin-blocks/translate', {
    ...goodBody('/v1/pin-blocks/translate'),
    to: { key: 'zpk-out', format: 'ISO-1' },
  })
  const got = await post('/v1/pin/get', goodBody('/v1/pin/get'))
  secrets.jwe({ compact: '', ...openEc(got.json.encryptedPinBlock, issuer.recipient.privateJwk) })
  // The third PAN under one block is refused and alarmed: the alarm must not name it.
  const pinBlock = issuer.block('zpk-in', 'ISO-3', pin, pan)
  for (const other of [newPan(), newPan(), pan])
    await post('/v1/pin/get', { ...goodBody('/v1/pin/get'), pinBlock, card: { pan: other } })
}

/** What the routes of registration can be told besides. */
async function data(): Promise<void> {
  const { pin, pan } = secrets
  const pinBlock = clearBlock('ISO-0', pin, pan)
  const open = (payload: string, options = {}) => secrets.jwe(sealEc(payload, openJwk, options))
  const opened = await issuer.service.call('POST', '/v1/jwe/open', { jwe: open(JSON.stringify({ pan, state: pin })) })
  const { payload: given, ...rest } = opened.json
  expect([opened.status, given]).toEqual([200, { pan, state: pin }])
  // It is the caller's, and nobody else's: everything but the payload is searched.
  note('/v1/jwe/open', opened.status, [opened.headers, rest])
  for (const payload of [`{"pan":"${pan}","pinBlock":"${pinBlock}"}`, `{"${pan}":"${pin}","${pan}":1}`, pan, pinBlock])
    await post('/v1/jwe/open', { jwe: open(payload) })
  for (const jwe of [flipBit(open(pan), 4), open(pan, { header: { kid: pan } }), open(pan, { header: { alg: pin } })])
    await post('/v1/jwe/open', { jwe })
  for (const payload of [
    { pan, exp: pin },
    { pan, exp: '1231', pinBlock },
    { personalInformation: { firstName: pinBlock } },
  ])
    await post('/v1/jwe/seal', { recipient: 'd1-data-dev', payload })
  await post('/v1/jwe/seal', { recipient: pan, payload: { pan, exp: '1231' } })
  for (const more of [{ key: pan }, { lifetimeS: Number(pin) }, { issuerId: pan }])
    await post('/v1/d1/assertion', { key: 'assertion', ...more })
}

/** The other listener, with what does not belong there. */
async function managementListener(): Promise<void> {
  const { pin, pan } = secrets
  const paths = [
    '/healthz',
    '/readyz',
    '/metrics',
    '/openapi.json',
    '/docs',
    `/docs?pan=${pan}`,
    `/metrics?pan=${pan}`,
    `/${pan}/${pin}`,
  ]
  management = await Promise.all(paths.map(async (path) => JSON.stringify(await issuer.service.manage(path))))
}

/** The client's budget to its end, then every route once more. */
async function usedUpGuesses(): Promise<void> {
  for (let n = 0; n < GUESSES; n++) {
    const { status } = await post('/v1/prw/verify', goodBody('/v1/prw/verify', newPan()))
    if (status === 429) break
  }
  for (const route of routes.keys()) {
    if (route.startsWith('POST'))
      await post(route.slice('POST '.length), goodBody(route.slice('POST '.length), newPan()))
  }
}

describe('the search', () => {
  it('finds every canary in every encoding, in the midst of a text', () => {
    const { canaries, pin } = secrets
    expect(canaries.length).toBeGreaterThan(40)
    for (const canary of canaries) {
      for (const text of canary.texts) expect(findCanaries(`{"msg":"x${text}y"}`, [canary])).toEqual([canary.what])
      expect(findCanaries(canary.texts.find((text) => /^[0-9a-f]+$/.test(text))!.toUpperCase(), [canary])).toEqual([
        canary.what,
      ])
    }
    const planted = Buffer.from(`some text, then ${pin} and more`)
    for (const encoding of ['utf8', 'hex', 'base64', 'base64url'] as const) {
      for (const before of ['', 'a', 'ab']) {
        const text = Buffer.concat([Buffer.from(before), planted]).toString(encoding)
        expect(findCanaries(text, canaries)).toContain('PIN')
      }
    }
    expect(findCanaries('nothing of it', canaries)).toEqual([])
  })

  it('reached every status that the OpenAPI document has for a route, but for those that others bring about', () => {
    expect(routes.size).toBeGreaterThanOrEqual(10)
    for (const [route, { statuses: documented }] of routes) {
      const path = route.split(' ')[1]!
      const reached = [...statuses.get(path)!].filter((status) => documented.includes(status))
      expect([route, reached.sort()]).toEqual([
        route,
        documented.filter((status) => !ELSEWHERE.includes(status)).sort(),
      ])
    }
  })

  it('reached every code that the OpenAPI document has for a route, and no other, but for those that others bring about', () => {
    for (const [route, { codes: documented }] of routes) {
      const reached = [...codesOf.get(route.split(' ')[1]!)!]
      expect([route, reached.sort()]).toEqual([
        route,
        documented.filter((code) => !CODES_ELSEWHERE.includes(code) && code !== 'ERR_NOT_FOUND').sort(),
      ])
    }
  })

  it('reached every code of the closed set, but for those that others bring about', () => {
    const expected = Object.keys(ERROR_TITLES).filter((code) => !CODES_ELSEWHERE.includes(code))
    expect([...codes].sort()).toEqual(expected.sort())
  })

  it('has a record for each answer in the log', async () => {
    const records = () => recordsOf(issuer.service.output()).filter(({ event }) => event === 'request').length
    // One more is of the request for the JWKS that came before; a record follows its answer.
    await until('the last record', () => records() > answers.length)
    expect(records()).toBe(answers.length + 1)
    expect(issuer.service.output()).toContain('"event":"pan-variation"')
    expectSameProcesses(issuer.service)
  })
})

describe('no canary stands', () => {
  it('in what the service wrote on standard output and standard error', () => {
    expect(findCanaries(issuer.service.output(), secrets.canaries)).toEqual([])
  })

  it('in any answer or its headers', () => {
    const [found] = answers.filter((answer) => findCanaries(answer, secrets.canaries).length > 0)
    expect(found).toBeUndefined()
  })

  it('in the audit record', () => {
    const { config } = issuer.service.setUp
    const directory = join(dirname(config), 'audit')
    const record = readdirSync(directory).map((name) => readFileSync(join(directory, name), 'utf8'))
    expect(record.join()).toContain('ERR_PIN_BLOCK_INVALID')
    expect(findCanaries(record.join(), secrets.canaries)).toEqual([])
  })

  it('in metrics, health, readiness and the OpenAPI document', () => {
    expect(management.join()).toContain('ERR_PIN_BLOCK_INVALID')
    expect(findCanaries(management.join(), secrets.canaries)).toEqual([])
  })
})

it('the log holds records of known kinds only, and they listed members only', () => {
  expect(strangersInLog(issuer.service.output())).toEqual([])
  const record = '{"level":30,"time":"","process":"gateway","event":"request","keys":[{"id":"a","pan":"b"}]}'
  expect(strangersInLog(`${record}\n{"process":"gateway","msg":"${secrets.pan}"}\nError: a stack`)).toEqual([
    'gateway: request: keys[].pan',
    `gateway: ${secrets.pan}`,
    'a line that is no record',
  ])
})
