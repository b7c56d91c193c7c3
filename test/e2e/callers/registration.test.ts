/**
 * D1 registration against the real service: what an issuer's adapter does to register a consumer and a card, with D1's inbound side
 * as a party that knows nothing of us but the public keys that it was given.
 */
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodeJwt, decodeProtectedHeader, generateKeyPair, SignJWT, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startD1Inbound, type D1Inbound } from '../../d1/inbound.ts'
import { seal } from '../../d1/simulator.ts'
import { makeNextVersions } from '../../support/key-versions.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { bytesNeedles, scanMemory, summary, type Needle } from '../../support/memory.ts'
import { flipBit, sealEc, withPart } from '../../support/node-jwe.ts'
import { editConfig, pinbridge } from '../../support/service.ts'
import { until } from '../processes/processes.ts'
import { expectOneAnswer, expectProblem, iso0, newPan, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

const OPENED = 8
const IDLE_MS = 500
const ISSUER_ID = 'pinbridge1'
const AUDIENCE = 'https://api.d1.test/oauth2/token'
const PERSON = {
  language: 'de-DE',
  firstName: 'Änne-Sophie',
  lastName: "O'Connor",
  dateOfBirth: '1975-02-28',
  email: 'a.s@mail.example',
  mobilePhoneNumber: { countryCode: '+49', phoneNumber: '15112345678' },
  residencyAddress: { line1: 'Königstraße 12/3', city: 'Köln', zipCode: '50667', countryCode: 'DE' },
}

let issuer: Issuer
let d1: D1Inbound
let dataRecipient: { kid: string; privateJwk: any }
let openJwk: JWK & { kid: string }
let assertionJwk: JWK

/** What `keys public` gives a partner. */
async function publicJwk(key: string): Promise<any> {
  const { code, stdout, stderr } = await pinbridge(['keys', 'public', key, '--config', issuer.service.setUp.config])
  expect([code, stderr.includes('thumbprint')]).toEqual([0, true])
  return JSON.parse(stdout)
}

beforeAll(async () => {
  issuer = await openIssuer((config) => {
    // Each vault takes its time to start, and is started anew by each reload.
    config.hsm.vaults = 1
    config.d1.profiles[0].members = { mac: 'seal-of-it' }
    config.keys.find(({ id }: any) => id === 'assertion').audience = AUDIENCE
    // A client that may do it all with keys and recipients that are not meant for it.
    config.clients[1].grants.push({ operations: ['jwe/open'], keys: ['jwe-ec', 'zpk-in'] })
  })
  dataRecipient = issuer.service.setUp.recipients.find(({ kid }) => kid === 'd1-data-dev')!
  assertionJwk = await publicJwk('assertion')
  openJwk = await publicJwk('jwe-open')
  d1 = await startD1Inbound({
    issuerId: ISSUER_ID,
    assertionKeys: [assertionJwk],
    dataKey: dataRecipient.privateJwk,
    audience: AUDIENCE,
  })
})
afterAll(async () => {
  await d1?.close()
  await issuer?.close()
})

const assertionOf = async (body: object = { key: 'assertion' }) => {
  const answer = await issuer.post('/v1/d1/assertion', body)
  expect([answer.status, answer.text]).toEqual([200, answer.text])
  return answer.json as { assertion: string; expiresAt: number; key: object }
}
const sealed = async (payload: object): Promise<string> => {
  const answer = await issuer.post('/v1/jwe/seal', { recipient: 'd1-data-dev', payload })
  expect(answer.text).toContain('"jwe"')
  return answer.json.jwe
}
const open = (jwe: string, client?: string) =>
  issuer.post('/v1/jwe/open', { jwe }, client === undefined ? {} : { client })

/** Asks D1 for an access token. */
async function tokenFor(assertion: string) {
  const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion })
  const answer = await fetch(`${d1.url}/oauth2/token`, { method: 'POST', body })
  return { status: answer.status, json: (await answer.json()) as any }
}

/** Calls D1 as an adapter does. */
async function put(token: string, path: string, body: object, headers: Record<string, string> = {}) {
  const answer = await fetch(`${d1.url}/issuers/${path}`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  const text = await answer.text()
  return { status: answer.status, json: text === '' ? undefined : JSON.parse(text) }
}

describe('a registration', () => {
  it('of a consumer, and of the consumer with a card, is taken by D1, which knows then what was sealed', async () => {
    const pan = newPan()
    const { access_token, token_type, expires_in } = (await tokenFor((await assertionOf()).assertion)).json
    expect({ token_type, expires_in }).toEqual({ token_type: 'Bearer', expires_in: '900' })
    const consumer = `${ISSUER_ID}/consumers/consumer_1-A`
    const correlation = { 'x-correlation-id': 'registration-1' }
    const encryptedData = await sealed({ personalInformation: PERSON })
    expect(await put(access_token, consumer, { encryptedData }, correlation)).toEqual({ status: 204 })
    const cards = [{ cardId: 'card-1', encryptedData: await sealed({ pan, exp: '0931' }) }]
    expect((await put(access_token, `${consumer}/cards`, { cards }, correlation)).status).toBe(204)
    const known = d1.consumers.get('consumer_1-A')!
    expect(known.personalInformation).toEqual(PERSON)
    expect([...known.cards]).toEqual([['card-1', { pan, exp: '0931' }]])
  })

  it('is refused by D1 where it should be, so that what is taken says something', async () => {
    const { access_token } = (await tokenFor((await assertionOf()).assertion)).json
    const encryptedData = await sealed({ pan: newPan(), exp: '0931' })
    const cards = (more: object = {}) => ({ cards: [{ cardId: 'card-1', encryptedData, ...more }] })
    const statusOf = async (...request: Parameters<typeof put>) => (await put(...request)).status
    const path = `${ISSUER_ID}/consumers/c/cards`
    expect(await statusOf('of-nobody', path, cards())).toBe(401)
    expect(await statusOf(access_token, `short/consumers/c/cards`, cards())).toBe(400)
    expect(await statusOf(access_token, `pinbridge2/consumers/c/cards`, cards())).toBe(404)
    expect(await statusOf(access_token, `${ISSUER_ID}/consumers/${'c'.repeat(65)}/cards`, cards())).toBe(400)
    expect(await statusOf(access_token, `${ISSUER_ID}/consumers/a.b/cards`, cards())).toBe(400)
    expect(await statusOf(access_token, path, cards({ cardId: 'c'.repeat(49) }))).toBe(400)
    expect(await statusOf(access_token, path, cards(), { 'x-correlation-id': 'a/b' })).toBe(400)
    expect(await statusOf(access_token, path, cards({ encryptedData: withPart(encryptedData, 4, 'A') }))).toBe(400)
    expect(
      await statusOf(access_token, path, cards({ encryptedData: await sealed({ personalInformation: PERSON }) })),
    ).toBe(400)
    d1.failOnce()
    expect(await put(access_token, path, cards())).toEqual({
      status: 500,
      json: { errorCode: 'INTERNAL_ERROR', error: 'Internal error' },
    })
    expect(d1.consumers.has('c')).toBe(false)
    expect(await statusOf(access_token, path, cards())).toBe(204)
  })
})

describe('an assertion', () => {
  it('says what RFC 7523 wants, by the key’s entry alone, and is verified by node:crypto', async () => {
    const before = Math.floor(Date.now() / 1000)
    const { assertion, expiresAt, key } = await assertionOf()
    const { iat, exp, jti, ...claims } = decodeJwt(assertion)
    expect(decodeProtectedHeader(assertion)).toEqual({ alg: 'ES256', kid: 'assertion', typ: 'JWT' })
    expect(claims).toEqual({ iss: ISSUER_ID, sub: ISSUER_ID, aud: AUDIENCE })
    expect(iat).toBeGreaterThanOrEqual(before)
    expect(iat).toBeLessThanOrEqual(Date.now() / 1000)
    expect([exp! - iat!, expiresAt]).toEqual([300, exp])
    expect(jti).toMatch(/^[A-Za-z0-9_-]{22}$/)
    const kcv = issuer.service.setUp.keys.find(({ id }) => id === 'assertion')!.kcv
    expect(key).toEqual({ id: 'assertion', version: 1, kcv })
    const [header, payload, signature] = assertion.split('.') as [string, string, string]
    const publicKey = createPublicKey({ key: assertionJwk, format: 'jwk' })
    const bytes = Buffer.from(signature, 'base64url')
    const isRight = (text: string) =>
      verify('sha256', Buffer.from(text), { key: publicKey, dsaEncoding: 'ieee-p1363' }, bytes)
    expect([bytes.length, isRight(`${header}.${payload}`), isRight(`${payload}.${header}`)]).toEqual([64, true, false])
    expect(decodeJwt((await assertionOf()).assertion).jti).not.toBe(jti)
  })

  it('is taken by D1 once, until it expires, and up to 15 minutes', async () => {
    const { assertion } = await assertionOf({ key: 'assertion', lifetimeS: 900 })
    const { exp, iat } = decodeJwt(assertion)
    expect(exp! - iat!).toBe(900)
    expect((await tokenFor(assertion)).status).toBe(200)
    expect(await tokenFor(assertion)).toEqual({
      status: 401,
      json: expect.objectContaining({ errorCode: 'UNAUTHORIZED' }),
    })
    const soon = await assertionOf({ key: 'assertion', lifetimeS: 60 })
    d1.later(61)
    expect((await tokenFor(soon.assertion)).status).toBe(401)
    expect((await tokenFor((await assertionOf()).assertion)).status).toBe(200)
    d1.later(-61)
  })

  it('of another issuer, of a key that was not onboarded, or for more than 15 minutes is refused by D1', async () => {
    const { privateKey } = await generateKeyPair('ES256')
    const claims = { iss: ISSUER_ID, sub: ISSUER_ID, jti: 'x' }
    const forged = (header: object) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', ...header })
        .setIssuedAt()
        .setAudience(AUDIENCE)
        .setExpirationTime('5m')
        .sign(privateKey)
    for (const header of [{ kid: 'assertion' }, { kid: 'other' }, {}]) {
      expect((await tokenFor(await forged(header))).status).toBe(401)
    }
    const { assertion } = await assertionOf()
    const [head, , signature] = assertion.split('.')
    const longer = { ...decodeJwt(assertion), exp: Math.floor(Date.now() / 1000) + 3600 }
    const payload = Buffer.from(JSON.stringify(longer)).toString('base64url')
    expect((await tokenFor(`${head}.${payload}.${signature}`)).status).toBe(401)
  })

  it('is refused where the request chooses what is not its to choose', async () => {
    for (const more of [
      { lifetimeS: 901 },
      { lifetimeS: 0 },
      { lifetimeS: 1.5 },
      { iss: 'other00001' },
      { aud: 'x' },
    ]) {
      expectProblem(await issuer.post('/v1/d1/assertion', { key: 'assertion', ...more }), 400, 'ERR_REQUEST_INVALID')
    }
    const others = ['jwe-open', 'jwe-ec', 'zpk-in', 'pin-mac', 'audit-mac', 'nobody']
    const refusals = []
    for (const key of others) refusals.push(await issuer.post('/v1/d1/assertion', { key }))
    expectOneAnswer(refusals, 403, 'ERR_KEY_USE_FORBIDDEN')
    const auditor = await issuer.post('/v1/d1/assertion', { key: 'assertion' }, { client: 'auditor' })
    expectProblem(auditor, 403, 'ERR_KEY_USE_FORBIDDEN')
  })
})

describe('jwe/seal', () => {
  it.each<[string, object]>([
    ['nothing', {}],
    ['a PAN alone', { pan: '4000001234567899' }],
    ['an expiry as the rest of this service writes it', { pan: '4000001234567899', exp: '3112' }],
    ['a month that is none', { pan: '4000001234567899', exp: '1331' }],
    ['a PAN of 11 digits', { pan: '40000012345', exp: '1231' }],
    ['a PAN with a PIN block’s digits', { pan: '0412AC89ABCDEF67', exp: '1231' }],
    ['a PIN block beside the card', { pan: '4000001234567899', exp: '1231', pinBlock: '0412AC89ABCDEF67' }],
    ['a card verification value', { pan: '4000001234567899', exp: '1231', cvv: '123' }],
    ['both kinds at once', { pan: '4000001234567899', exp: '1231', personalInformation: PERSON }],
    ['a person of no member', { personalInformation: {} }],
    ['an unknown member of a person', { personalInformation: { ...PERSON, pin: '4711' } }],
    ['a name with digits', { personalInformation: { firstName: '0412AC89ABCDEF67' } }],
    ['a name that is a block of letters', { personalInformation: { firstName: 'ABCDEFABCDEFABCD' } }],
    ['an address that is a block', { personalInformation: { residencyAddress: { line1: 'at 0412AC89ABCDEF67' } } }],
    ['an address of e-mail that is a block', { personalInformation: { email: '0412AC89ABCDEF67@b.example' } }],
    [
      'a telephone number of 16 digits',
      { personalInformation: { mobilePhoneNumber: { countryCode: '+49', phoneNumber: '0412000089012367' } } },
    ],
    ['a name of 65 letters', { personalInformation: { lastName: 'ü'.repeat(65) } }],
    ['a name with a line feed', { personalInformation: { lastName: 'a\nb' } }],
  ])('refuses %s', async (_what, payload) => {
    const answer = await issuer.post('/v1/jwe/seal', { recipient: 'd1-data-dev', payload })
    expectProblem(answer, 400, 'ERR_REQUEST_INVALID')
  })

  it('seals nothing to a recipient of PINs, and pin/get no PIN to a recipient of data', async () => {
    const payload = { pan: newPan(), exp: '0931' }
    const refusals = []
    // The first is granted, so that it is the vault that refuses it.
    for (const recipient of ['d1-dev', 'jwe-open', 'nobody']) {
      refusals.push(await issuer.post('/v1/jwe/seal', { recipient, payload }))
    }
    const pan = newPan()
    const get = {
      pinBlock: issuer.block('zpk-in', 'ISO-0', '4711', pan),
      from: { key: 'zpk-in', format: 'ISO-0' },
      card: { pan },
    }
    refusals.push(await issuer.post('/v1/pin/get', { ...get, recipient: 'd1-data-dev' }))
    expectOneAnswer(refusals, 403, 'ERR_KEY_USE_FORBIDDEN')
    expect((await issuer.post('/v1/pin/get', { ...get, recipient: 'd1-dev' })).status).toBe(200)
  })
})

describe('jwe/open', () => {
  it('gives what D1 sealed, as D1 wrote it, and names the key', async () => {
    const payload = { pan: '4000001234567899', exp: '0931', state: { list: [1, null, 'ä"\\'] } }
    const kcv = issuer.service.setUp.keys.find(({ id }) => id === 'jwe-open')!.kcv
    expect(await open(await seal(payload, openJwk))).toMatchObject({
      status: 200,
      json: { payload, key: { id: 'jwe-open', version: 1, kcv } },
    })
    // No double holds this number, and no member is put into another order.
    const text = '{ "b": 12345678901234567890, "a": 1.0 }'
    expect((await open(sealEc(text, openJwk).compact)).text).toContain(`"payload":${text},`)
  })

  it('refuses a payload with a PIN block in it, at any depth and by the profile’s own names', async () => {
    const refusals = []
    const names = ['pin', 'pinBlock', 'encryptedPinBlock', 'prw', 'mac', 'seal-of-it', '\\u0070inBlock', 'PIN_Block']
    for (const name of names) {
      for (const text of [`{"${name}":"x"}`, `{"a":[{"b":{"${name}":{}}}]}`]) {
        refusals.push(await open(sealEc(text, openJwk).compact))
      }
    }
    for (const text of ['[1]', '"text"', '1', '{', '{"a":1,"a":2}', '{"__proto__":1}', '\ufeff{}', 'no JSON at all']) {
      refusals.push(await open(sealEc(text, openJwk).compact))
    }
    refusals.push(await open(sealEc(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), openJwk).compact))
    refusals.push(await open(sealEc(`{"a":${'['.repeat(20)}${']'.repeat(20)}}`, openJwk).compact))
    expectOneAnswer(refusals, 422, 'ERR_JWE_PAYLOAD_INVALID')
    expect((await open(sealEc('{"shipping":"pinBlock"}', openJwk).compact)).status).toBe(200)
  })

  it('takes no JWE that was made for PINs, and pin/set none that was made for data', async () => {
    const pan = newPan()
    const payload = iso0('4711', pan)
    const forPins = sealEc(payload, issuer.jwk('jwe-ec')).compact
    const unknown = sealEc('{}', openJwk, { header: { kid: 'nobody' } }).compact
    expectOneAnswer([await open(forPins), await open(unknown)], 400, 'ERR_JWE_INVALID')
    const set = (encryptedPinBlock: string) =>
      issuer.post('/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card: { pan }, to: TO })
    const forData = sealEc(payload, openJwk).compact
    // The content is under the other key, whatever the kid says.
    const relabelled = sealEc(payload, openJwk, { header: { kid: 'jwe-ec' } }).compact
    expectProblem(await set(forData), 400, 'ERR_JWE_INVALID')
    expectProblem(await set(relabelled), 422, 'ERR_JWE_DECRYPTION_FAILED')
    expect((await set(forPins)).status).toBe(200)
  })

  it('has one answer to a JWE that does not open, and refuses forms before it asks the HSM', async () => {
    const good = sealEc('{"a":1}', openJwk).compact
    const flipped = [3, 4].map((part) => flipBit(good, part))
    const wrongKey = sealEc('{"a":1}', issuer.jwk('jwe-ec'), { header: { kid: 'jwe-open' } }).compact
    const failed = []
    for (const jwe of [...flipped, wrongKey]) failed.push(await open(jwe))
    expectOneAnswer(failed, 422, 'ERR_JWE_DECRYPTION_FAILED')
    const rsa = sealEc('{}', openJwk, { header: { alg: 'RSA-OAEP-256' } }).compact
    expectProblem(await open(rsa), 400, 'ERR_ALG_NOT_ALLOWED')
    expectProblem(await open('a.b.c'), 400, 'ERR_JWE_INVALID')
    expectProblem(await open('a'.repeat(8193)), 400, 'ERR_REQUEST_INVALID')
  })

  it('is refused to a client that has no jwe-open key among its keys', async () => {
    const jwe = sealEc('{"a":1}', openJwk).compact
    expectProblem(await open(jwe, 'auditor'), 403, 'ERR_KEY_USE_FORBIDDEN')
  })
})

it('GET /v1/jwks gives the keys that PINs are encrypted to, and no other', async () => {
  const { json } = await issuer.service.call('GET', '/v1/jwks')
  expect(json.keys.map(({ kid }: JWK) => kid).sort()).toEqual(['jwe-ec', 'jwe-rsa'])
})

it('the record names key, recipient and card of each, and neither it nor the log holds what was signed or sealed', async () => {
  const pan = newPan()
  const name = 'Xenophanes'
  const { assertion } = await assertionOf()
  await sealed({ pan, exp: '0931' })
  await sealed({ personalInformation: { firstName: name } })
  expect((await open(await seal({ pan, name }, openJwk))).status).toBe(200)
  await open(await seal({ pan, name, pinBlock: '0' }, openJwk))
  const directory = join(dirname(issuer.service.setUp.config), 'audit')
  const record = readdirSync(directory)
    .map((file) => readFileSync(join(directory, file), 'utf8'))
    .join('')
  const outcomes = record
    .split('\n')
    .filter((line) => line.includes('"kind":"outcome"'))
    .map((line) => JSON.parse(line))
  const last = (operation: string) => outcomes.filter((one) => one.operation === operation && one.code === 'OK').at(-1)
  expect(last('d1/assertion')).toMatchObject({ client: 'cms-adapter', keys: [{ id: 'assertion', version: 1 }] })
  expect(
    outcomes.find((one) => one.operation === 'jwe/seal' && one.code === 'OK' && one.card !== undefined),
  ).toMatchObject({
    recipient: 'd1-data-dev',
    keys: [],
    card: expect.any(String),
  })
  expect(last('jwe/open')).toMatchObject({ keys: [{ id: 'jwe-open', version: 1 }] })
  expect(outcomes.at(-1)).toMatchObject({ operation: 'jwe/open', code: 'ERR_JWE_PAYLOAD_INVALID' })
  const signature = assertion.split('.')[2]!
  for (const text of [record, issuer.service.output()]) {
    for (const canary of [pan, name, signature, assertion.split('.')[1]!]) expect(text).not.toContain(canary)
  }
  expect(strangersInLog(issuer.service.output())).toEqual([])
})

it('what was opened, and the CEK that it was under, stands in no vault that is idle, and in the gateway not for long', async () => {
  const needles: Needle[] = []
  for (let n = 0; n < OPENED; n++) {
    const text = randomBytes(24).toString('base64url')
    const { compact, cek } = sealEc(JSON.stringify({ state: text }), openJwk)
    expect((await open(compact)).json.payload).toEqual({ state: text })
    needles.push({ what: 'payload', bytes: Buffer.from(text) }, ...bytesNeedles('CEK', cek))
  }
  await sleep(IDLE_MS)
  // A text of its code is in every vault, so that the others would be found.
  needles.push({ what: 'code', bytes: Buffer.from('ERR_JWE_PAYLOAD_INVALID') })
  for (const vault of issuer.service.ready.vaults) {
    const { findings } = scanMemory(vault, needles)
    expect(findings.some(({ what }) => what === 'code')).toBe(true)
    expect(summary(findings.filter(({ what }) => what !== 'code'))).toEqual({})
  }
  const { findings } = scanMemory(issuer.service.ready.gateway, needles)
  expect(findings.filter(({ what }) => what.startsWith('CEK'))).toEqual([])
  // A buffer of node's own may have been left with one; none is left with each.
  expect(findings.filter(({ what }) => what === 'payload').length).toBeLessThan(OPENED / 2)
})

it('a new version of each key is taken over while the service runs', async () => {
  const { config } = issuer.service.setUp
  const next = await makeNextVersions(config, ['assertion', 'jwe-open'])
  const reload = async (edit: (draft: any) => void) => {
    editConfig(config, edit)
    issuer.service.process.kill('SIGHUP')
    const sha256 = createHash('sha256').update(readFileSync(config)).digest('hex')
    await until('every vault to run by it', async () => {
      const { configuration } = (await issuer.service.manage('/readyz')).json
      if (configuration.refused === sha256) throw new Error(`refused: ${issuer.service.output().slice(-2000)}`)
      return configuration.inUse === sha256 && configuration.renewing === 0
    })
  }
  const old = sealEc('{"of":1}', openJwk).compact
  await reload(({ keys }) => keys.push(...[...next.values()].map(({ entry }) => entry)))
  const newJwk = await publicJwk('jwe-open@2')
  const pending = sealEc('{"of":2}', newJwk).compact
  // A pending key signs nothing yet, and opens what somebody encrypted to it already.
  expect(decodeProtectedHeader((await assertionOf()).assertion).kid).toBe('assertion')
  expect((await open(pending)).json.key).toMatchObject({ id: 'jwe-open', version: 2 })
  await reload(({ keys }) => {
    for (const key of keys) {
      if (key.id !== 'assertion' && key.id !== 'jwe-open') continue
      key.state = key.version === 2 ? 'active' : 'retiring'
    }
  })
  const rotated = await assertionOf()
  expect(rotated.key).toMatchObject({ version: 2 })
  expect(decodeProtectedHeader(rotated.assertion).kid).toBe('assertion-2')
  expect((await open(old)).json).toMatchObject({ payload: { of: 1 }, key: { version: 1 } })
  await reload(({ keys }) => {
    for (const key of keys) if (key.id === 'jwe-open' && key.version === 1) key.state = 'retired'
  })
  expectProblem(await open(old), 400, 'ERR_JWE_INVALID')
  expect((await open(pending)).status).toBe(200)
})
