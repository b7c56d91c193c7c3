/** Canaries through every route, success and each failure, at log level debug: nothing of them in any text that leaves. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesCanary, digitsCanary, findCanaries, textCanary, type Canary } from '../support/canaries.ts'
import { flipBit, openEc, sealEc, sealRsa, withPart, type MadeJwe } from '../support/node-jwe.ts'
import type { Answer, CallOptions } from '../support/service.ts'
import {
  CHANGE,
  clearBlock,
  expectSameProcesses,
  newPan,
  newPin,
  openIssuer,
  TO,
  type Issuer,
} from './routes/issuer.ts'

let issuer: Issuer
/** Every answer, its status line and headers with it. */
const answers: string[] = []
const statuses = new Map<string, Set<number>>()
const canaries: Canary[] = []
let metrics = ''

const PIN = `9${newPin(11)}`
const PAN = newPan(19)
/** A block that does not decode, and that an error might be tempted to show. */
const BAD_CLEAR = `5C${PIN}FF`

beforeAll(async () => {
  issuer = await openIssuer((config) => {
    config.logLevel = 'debug'
  })
  canaries.push(
    digitsCanary('PIN', PIN),
    digitsCanary('PAN', PAN),
    bytesCanary('clear ISO-0 block', Buffer.from(clearBlock('ISO-0', PIN, PAN), 'hex')),
    bytesCanary('clear SECCOS block', Buffer.from(clearBlock('SECCOS', PIN, PAN), 'hex')),
    bytesCanary('bad clear block', Buffer.from(BAD_CLEAR, 'hex')),
    textCanary(
      'HSM PIN',
      readFileSync(parse(readFileSync(issuer.service.setUp.config, 'utf8')).hsm.pinFile, 'utf8').trimEnd(),
    ),
    ...Object.entries(issuer.keys).map(([id, value]) => bytesCanary(`key ${id}`, Buffer.from(value, 'hex'))),
  )
  await everything()
  metrics = JSON.stringify([await issuer.service.manage('/metrics'), await issuer.service.manage('/readyz')])
})
afterAll(() => issuer.close())

async function send(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer> {
  const answer = await issuer.service.call(method, path, body, options)
  answers.push(JSON.stringify([answer.status, answer.headers, answer.text]))
  statuses.set(path, (statuses.get(path) ?? new Set()).add(answer.status))
  return answer
}

/** Notes the content key of a JWE, which is a secret as long as the PIN under it is. */
function jwe({ compact, cek, z }: MadeJwe): string {
  if (cek.length > 0) canaries.push(bytesCanary('CEK', cek))
  if (z.length > 0) canaries.push(bytesCanary('Z', z))
  return compact
}

async function everything(): Promise<void> {
  const card = { pan: PAN, panSequenceNumber: '01', expiry: '3012' }
  const block = clearBlock('ISO-0', PIN, PAN)
  const payload = JSON.stringify({ pinBlock: block })
  const ec = (text: string | Buffer = payload) => jwe(sealEc(text, issuer.jwk('jwe-ec')))
  const rsa = () => jwe(sealRsa(payload, issuer.jwk('jwe-rsa')))
  const signed = issuer.seccos({ pan: PAN, panSequenceNumber: '01', pin: PIN, ...CHANGE })
  const seccos = (members: object = signed) => ec(JSON.stringify(members))

  const set = (encryptedPinBlock: string, more: object = {}) =>
    send('POST', '/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card, to: TO, ...more })
  const setSeccos = (encryptedPinBlock: string, more: object = {}) =>
    set(encryptedPinBlock, { type: '3DES_SECCOS', change: CHANGE, issue: { prw: 'prw', mac: 'pin-mac' }, ...more })
  await set(ec())
  await set(rsa())
  await set(ec(), { issue: { prw: 'prw-aes' } })
  await setSeccos(seccos())
  for (const part of [0, 1, 2, 3, 4]) await set(withPart(part === 1 ? rsa() : ec(), part, '!'))
  for (const part of [2, 3, 4]) await set(flipBit(ec(), part))
  await set(flipBit(rsa(), 1, 255))
  await set(jwe(sealRsa(payload, issuer.jwk('jwe-rsa'), { cek: randomBytes(16) })))
  await set(jwe(sealEc(payload, issuer.jwk('jwe-ec'), { header: { alg: `ECDH-${PIN}` } })))
  await set(jwe(sealEc(payload, issuer.jwk('jwe-ec'), { header: { kid: PAN } })))
  await set(jwe(sealEc(payload, issuer.jwk('jwe-ec'), { header: { [PIN]: block, crit: [PAN] } })))
  for (const text of [
    PIN,
    block,
    `{"pinBlock":"${block}","pinBlock":"${block}"}`,
    `{"${PIN}":"${PAN}"}`,
    `{"pinBlock":"${PIN}"}`,
  ])
    await set(ec(text))
  await set(ec(JSON.stringify({ pinBlock: BAD_CLEAR })))
  await set(ec(), { card: { ...card, pan: newPan() } })
  await set(ec(), { type: PIN })
  await set(ec(), { to: { key: PAN, format: 'ISO-0' } })
  await set(ec(), { [PIN]: block })
  await set(ec(), { card: { ...card, [PAN]: PIN } })
  await set(ec(), { change: { counter: PIN } })
  await setSeccos(seccos(), { change: { ...CHANGE, counter: '0004' } })
  await setSeccos(seccos({ ...signed, mac: '00'.repeat(8) }))
  await setSeccos(seccos({ pinBlock: signed.pinBlock }))
  await set(seccos(), { change: CHANGE })
  await send('POST', '/v1/pin/set', `{"pin":"${PIN}","pan":"${PAN}"`)
  await send('POST', '/v1/pin/set', { pin: PIN, pan: PAN }, { client: 'auditor' })
  await send('POST', '/v1/pin/set', PIN, { headers: { 'content-type': 'text/plain' } })
  await send('POST', '/v1/pin/set', `"${PIN.repeat(8000)}"`)

  const from = { key: 'zpk-in', format: 'ISO-0' }
  const good = issuer.block('zpk-in', 'ISO-0', PIN, PAN)
  const bad = issuer.encipher('zpk-in', BAD_CLEAR)
  const routes: Record<string, object> = {
    'pin/get': { pinBlock: good, from, card, recipient: issuer.recipient.kid },
    'pin-blocks/translate': { pinBlock: good, from, to: TO, card },
    'prw/generate': { pinBlock: good, from, card, change: CHANGE, key: 'prw' },
    'prw/verify': { pinBlock: good, from, card, change: CHANGE, key: 'prw', prw: '00'.repeat(8) },
    'mac/generate': { key: 'pin-mac', pinBlock: good, prw: '00'.repeat(8), card, change: CHANGE },
    'mac/verify': { key: 'pin-mac', pinBlock: good, prw: '00'.repeat(8), card, change: CHANGE, mac: '00'.repeat(8) },
  }
  for (const [route, body] of Object.entries(routes)) {
    const path = `/v1/${route}`
    const answer = await send('POST', path, body)
    if (route === 'pin/get')
      jwe({
        compact: '',
        parts: ['', '', '', '', ''],
        ...openEc(answer.json.encryptedPinBlock, issuer.recipient.privateJwk),
      })
    if (!route.startsWith('mac')) await send('POST', path, { ...body, pinBlock: bad })
    await send('POST', path, { ...body, pinBlock: block.slice(1) })
    await send('POST', path, { ...body, [PIN]: PAN })
    await send('POST', path, { ...body, card: { pan: `${PAN}${PIN}` } })
    await send('POST', path, {
      ...body,
      ...(route.startsWith('mac') ? {} : { from: { key: PIN, format: 'ISO-0' } }),
      key: PAN,
      recipient: PIN,
    })
    await send('POST', path, { ...body, ...('from' in body ? { from: { key: PAN, format: 'ISO-0' } } : { key: PAN }) })
    await send('POST', path, JSON.stringify(body).slice(0, -1))
    await send('POST', path, body, { client: 'auditor' })
    await send('GET', path)
  }
  await send('POST', '/v1/pin-blocks/translate', {
    pinBlock: good,
    from,
    to: { key: 'zpk-out', format: 'ISO-1' },
    card,
  })
  // The third PAN under one block is refused and alarmed: the alarm must not name it.
  const other = issuer.block('zpk-in', 'ISO-3', PIN, PAN)
  for (const pan of [newPan(), newPan(), PAN]) {
    await send('POST', '/v1/pin/get', { ...routes['pin/get'], pinBlock: other, card: { pan } })
  }
  await send('GET', '/v1/jwks')
  await send('GET', '/v1/keys')
  await send('GET', `/v1/${PIN}/${PAN}`)
  await send('GET', `/v1/keys?pin=${PIN}&pan=${PAN}`)
  await send('POST', `/v1/pin/get?pan=${PAN}`, routes['pin/get'], { headers: { 'user-agent': PIN, 'x-pan': PAN } })
}

describe('the search', () => {
  it('finds every canary in every encoding, in the midst of a text', () => {
    expect(canaries.length).toBeGreaterThan(40)
    for (const canary of canaries) {
      for (const text of canary.texts) expect(findCanaries(`{"msg":"x${text}y"}`, [canary])).toEqual([canary.what])
      expect(findCanaries(canary.texts.find((text) => /^[0-9a-f]+$/.test(text))!.toUpperCase(), [canary])).toEqual([
        canary.what,
      ])
    }
    const planted = Buffer.from(`some text, then ${PIN} and more`)
    for (const encoding of ['utf8', 'hex', 'base64', 'base64url'] as const) {
      for (const before of ['', 'a', 'ab']) {
        const text = Buffer.concat([Buffer.from(before), planted]).toString(encoding)
        expect(findCanaries(text, canaries)).toContain('PIN')
      }
    }
    expect(findCanaries('nothing of it', canaries)).toEqual([])
  })

  it('reached success and failure on every route, and their records stand in the log', () => {
    const seen = (path: string) => [...(statuses.get(path) ?? [])].sort()
    expect(seen('/v1/pin/set')).toEqual([200, 400, 403, 413, 415, 422])
    expect(seen('/v1/pin/get')).toEqual([200, 400, 403, 405, 422, 429])
    expect(seen('/v1/pin-blocks/translate')).toEqual([200, 400, 403, 405, 422])
    for (const path of ['prw/generate', 'prw/verify']) expect(seen(`/v1/${path}`)).toEqual([200, 400, 403, 405, 422])
    for (const path of ['mac/generate', 'mac/verify']) expect(seen(`/v1/${path}`)).toEqual([200, 400, 403, 405])
    const log = issuer.service.output()
    expect(log.split('\n').filter((line) => line.includes('"event":"request"')).length).toBe(answers.length + 1)
    expect(log).toContain('"event":"pan-variation"')
    expectSameProcesses(issuer.service)
  })
})

describe('no canary stands', () => {
  it('in what the service wrote on standard output and standard error', () => {
    expect(findCanaries(issuer.service.output(), canaries)).toEqual([])
  })

  it('in any answer or its headers', () => {
    for (const answer of answers) expect(findCanaries(answer, canaries)).toEqual([])
  })

  it('in the metrics', () => {
    expect(metrics).toContain('ERR_PIN_BLOCK_INVALID')
    expect(findCanaries(metrics, canaries)).toEqual([])
  })
})
