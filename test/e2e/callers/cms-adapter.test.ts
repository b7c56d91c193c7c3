/** The reference CMS adapter as D1 sees it: its published patterns and codes, one after the other, against a real service. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text as readText } from 'node:stream/consumers'
import { SignJWT, type JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PinbridgeError } from '../../../src/client/client.ts'
import { d1Outbound, exchange, type D1Outbound } from '../../d1/outbound.ts'
import { insertCard, makeD1Secrets, runAdapter, type RunningAdapter } from '../../d1/running-adapter.ts'
import { iso0Payload, openPin, seal, seccosPayload } from '../../d1/simulator.ts'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'

const ISSUER = 'demobank01'
const SECRETS = makeD1Secrets()

let folder: ReturnType<typeof temporaryFolder>
let service: Service
let adapter: RunningAdapter
let d1: D1Outbound
let issuerKey: JWK
let database: string

const at = (issuerId: string, cardId: string) => `/cms/api/v1/issuers/${issuerId}/cards/${cardId}/pin`
/** A new card, with a PAN of its own: a change counter is accepted once for a PAN, and no test sees what another one left. */
let cards = 0
function newCard(over: { state?: 'ACTIVE' | 'INACTIVE' | 'BLOCKED'; changeCounter?: number; cardId?: string } = {}) {
  // The check digit is not in a PIN block, so it is the same for all.
  const pan = `400000${100_000_000 + ++cards}7`
  const { state = 'ACTIVE', changeCounter = 3, cardId = `card-${cards}` } = over
  insertCard(database, { issuerId: ISSUER, cardId, pan, panSequenceNumber: '01', state, changeCounter })
  return { pan, cardId, ...d1.card(ISSUER, cardId), path: at(ISSUER, cardId) }
}
type Card = ReturnType<typeof newCard>
/** A Set PIN for a new card. */
const putTo = (body: unknown, headers: Record<string, string> = {}, { path } = newCard()) => ({
  method: 'PUT',
  path,
  headers: { 'content-type': 'application/json', ...headers },
  body: typeof body === 'string' ? body : JSON.stringify(body),
})
const putJwe = (encryptedPinBlock: string, type = 'ISO0') => putTo({ type, encryptedPinBlock })
/** One whose JWE is right, for its card. */
const putPin = async (pin: string, more: object = {}) => {
  const card = newCard()
  return putTo({ type: 'ISO0', encryptedPinBlock: await isoJwe(card, pin), ...more }, {}, card)
}

const onDatabase = (sql: string, ...values: string[]) => {
  const db = new DatabaseSync(database)
  try {
    return db.prepare(sql).get(...values) as any
  } finally {
    db.close()
  }
}
const isoJwe = ({ pan }: Card, pin: string) => seal(iso0Payload(pin, pan), issuerKey)
const shared = () => {
  const value = (id: string) => service.setUp.keys.find((key) => key.id === id)!.value!
  return { seccosPin: value('seccos-pin'), prw: value('prw'), pinMac: value('pin-mac') }
}
const seccosJwe = ({ pan }: Card, pin: string, counter: string, transactionId: string) =>
  seal(seccosPayload({ pan, panSequenceNumber: '01', pin, counter, transactionId }, shared()), issuerKey)
const shown = async ({ pan, getPin }: Card) => {
  const { status, json } = await getPin()
  if (status !== 200) return status
  const { privateJwk } = service.setUp.recipients.find(({ kid }) => kid === 'd1-dev')!
  return openPin(json.encryptedPinBlock, privateJwk, pan)
}

beforeAll(async () => {
  folder = temporaryFolder()
  database = join(folder.path, 'cards.db')
  service = await startService(
    await makeSetUp(folder.path, (config) => {
      config.d1.profiles[0].counterOnce = true
    }),
  )
  const { cert, key } = service.setUp.clients.find(({ id }) => id === 'cms-adapter')!
  adapter = await runAdapter({ url: service.ready.url, ca: service.setUp.ca, cert, key }, database, SECRETS)
  d1 = d1Outbound(adapter.url, SECRETS.credentials)
  issuerKey = (await service.call('GET', '/v1/jwks')).json.keys.find(({ kid }: JWK) => kid === 'jwe-ec')
})
afterAll(async () => {
  await adapter?.close()
  await service?.stop()
  folder.dispose()
})

describe("D1's calls", () => {
  it('sets a PIN as ISO0 and gets it back, sealed for D1', async () => {
    const card = newCard()
    expect(await shown(card)).toBe(404)
    expect((await card.setPin('ISO0', await isoJwe(card, '4917'))).status).toBe(204)
    expect(await shown(card)).toBe('4917')
  })

  it('gives the counter and sets a PIN as 3DES_SECCOS with it; the next counter is one more', async () => {
    const card = newCard()
    const { json } = await card.getChangeCounter('21430919092023091909')
    expect(json).toEqual({ changeCounter: '0003', transactionId: '21430919092023091909' })
    const jwe = await seccosJwe(card, '805316', '0003', '21430919092023091909')
    expect((await card.setPin('3DES_SECCOS', jwe, '21430919092023091909')).status).toBe(204)
    expect(await shown(card)).toBe('805316')
    expect((await card.getChangeCounter('2')).json.changeCounter).toBe('0004')
  })

  it('makes the id of a PIN change where D1 sends none, and takes it back in Set PIN', async () => {
    const card = newCard()
    const { changeCounter, transactionId } = (await card.getChangeCounter()).json
    expect(transactionId).toMatch(/^[0-9]{20}$/)
    const jwe = await seccosJwe(card, '1379', changeCounter, transactionId)
    expect((await card.setPin('3DES_SECCOS', jwe, transactionId)).status).toBe(204)
    expect((await card.getChangeCounter()).json.transactionId).not.toBe(transactionId)
  })

  it('goes from 9999 to 0000', async () => {
    const card = newCard({ changeCounter: 9999 })
    expect((await card.getChangeCounter('7')).json.changeCounter).toBe('9999')
    expect((await card.setPin('3DES_SECCOS', await seccosJwe(card, '4917', '9999', '7'), '7')).status).toBe(204)
    expect((await card.getChangeCounter('8')).json.changeCounter).toBe('0000')
  })

  it("passes D1's correlation id on to pinbridge", async () => {
    const card = newCard()
    const id = `use-case.${Date.now()} 1_x`
    const body = JSON.stringify({ type: 'ISO0', encryptedPinBlock: await isoJwe(card, '4917') })
    const headers = { 'content-type': 'application/json', 'x-correlation-id': id }
    expect((await d1.send({ method: 'PUT', path: card.path, headers, body })).status).toBe(204)
    await expect.poll(() => service.output()).toContain(`"correlationId":"${id}"`)
  })

  it('keeps no PIN: a PIN block under the zone key, its PRW, and the versions of both keys', async () => {
    const card = newCard()
    await card.setPin('ISO0', await isoJwe(card, '4917'))
    const stored = adapter.store.findCard(ISSUER, card.cardId)
    expect(stored).toMatchObject({
      ...{ pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/), format: 'ISO-0', keyId: 'zpk-out', keyVersion: 1 },
      ...{ prw: expect.stringMatching(/^[0-9A-F]{16}$/), prwKeyId: 'prw', prwKeyVersion: 1, prwCounter: '0003' },
      ...{ encryptedPinBlock: null, requestHash: null, changeId: null },
    })
    const { prw, pinBlock, pan } = stored as any
    const verify = { prw, pinBlock, from: { key: 'zpk-out', format: 'ISO-0', version: 1 }, key: 'prw' }
    const of = { card: { pan, panSequenceNumber: '01' }, change: { counter: '0003' } }
    expect((await service.call('POST', '/v1/prw/verify', { ...verify, ...of })).json).toEqual({ verified: true })
  })
})

describe('every published pattern and code', () => {
  const longest = 'a-_Z09'.padEnd(48, 'x')
  const counterOf = (state: 'ACTIVE' | 'BLOCKED', transactionId?: string) => ({
    path: `${newCard({ state }).path}/changeCounter`,
    ...(transactionId !== undefined && { headers: { 'x-transaction-id': transactionId } }),
  })
  type Call = Partial<Parameters<D1Outbound['send']>[0]>
  const cases: [what: string, call: () => Call | Promise<Call>, status: number, errorCode?: string][] = [
    ['a cardId of 48 characters of each kind', () => ({ path: newCard({ cardId: longest }).path }), 404, 'NOT_FOUND'],
    ['its counter', () => ({ path: `${at(ISSUER, longest)}/changeCounter` }), 200],
    ['a cardId of one character', () => ({ path: at(ISSUER, 'Z') }), 404],
    ['a cardId of 49 characters', () => ({ path: at(ISSUER, 'x'.repeat(49)) }), 400, 'FIELD_INVALID_FORMAT'],
    ['a cardId of 1000 characters', () => ({ path: at(ISSUER, 'x'.repeat(1000)) }), 400],
    ['an empty cardId', () => ({ path: at(ISSUER, '') }), 400],
    ['a cardId with a dot', () => ({ path: at(ISSUER, 'card.1') }), 400],
    ['a cardId with a space', () => ({ path: at(ISSUER, 'card%201') }), 400],
    ['a cardId with a slash', () => ({ path: at(ISSUER, 'a%2Fb') }), 400],
    ['a cardId with a zero byte', () => ({ path: at(ISSUER, 'a%00') }), 400],
    ['a cardId with a newline behind it', () => ({ path: at(ISSUER, 'a%0A') }), 400],
    ['an escaped letter in a cardId, which is that letter', () => ({ path: at(ISSUER, '%5A') }), 404],
    ['an escape that is none', () => ({ path: at(ISSUER, 'a%ZZ') }), 400],
    ['an escape that is no UTF-8', () => ({ path: at(ISSUER, 'a%FF') }), 400],
    ['an unknown issuerId of 10 characters', () => ({ path: at('otherbank1', 'card-1') }), 404, 'NOT_FOUND'],
    ['an issuerId of 9 characters', () => ({ path: at('demobank0', 'card-1') }), 400],
    ['an issuerId of 11 characters', () => ({ path: at('demobank011', 'card-1') }), 400],
    ['dots in the path', () => ({ path: `/cms/api/v1/issuers/${ISSUER}/cards/x/../card-1/pin` }), 404],
    ['escaped dots in the path', () => ({ path: at(ISSUER, '%2e%2e') }), 400],
    ['a slash at the end', () => ({ path: `${at(ISSUER, 'card-1')}/` }), 404],
    ['two slashes', () => ({ path: `/${at(ISSUER, 'card-1')}` }), 404],
    ['another case', () => ({ path: at(ISSUER, 'card-1').replace('/pin', '/PIN') }), 404],
    ['another path', () => ({ path: '/cms/api/v2' }), 404],
    ['DELETE', () => ({ method: 'DELETE', path: newCard().path }), 404],
    ['POST', () => ({ ...putJwe('x'), method: 'POST' }), 404],
    ['a parameter that D1 may add one day', () => ({ path: `${newCard().path}/changeCounter?new=1` }), 200],
    ['a card that is not active yet', () => ({ path: newCard({ state: 'INACTIVE' }).path }), 403, 'CARD_NOT_ACTIVE'],
    ['a card that is blocked', () => ({ path: newCard({ state: 'BLOCKED' }).path }), 403],
    ['the counter of a blocked card', () => counterOf('BLOCKED'), 403],
    ['Set PIN of a blocked card', () => ({ ...putJwe('x'), path: newCard({ state: 'BLOCKED' }).path }), 403],
    ['the counter of no card', () => ({ path: `${at(ISSUER, 'card-none')}/changeCounter` }), 404],
    ['Set PIN of no card', () => ({ ...putJwe('x'), path: at(ISSUER, 'card-none') }), 404],
    ['a card without a PIN', () => ({ path: newCard().path }), 404],
    ['a correlation id of 64 characters', () => ({ headers: { 'x-correlation-id': 'x'.repeat(64) } }), 404],
    ['a correlation id of 65 characters', () => ({ headers: { 'x-correlation-id': 'x'.repeat(65) } }), 400],
    ['a correlation id with a colon', () => ({ headers: { 'x-correlation-id': 'a:b' } }), 400],
    ['an empty correlation id', () => ({ headers: { 'x-correlation-id': '' } }), 400],
    ['a transaction id of 20 digits', () => counterOf('ACTIVE', '9'.repeat(20)), 200],
    ['a transaction id of 21 digits', () => counterOf('ACTIVE', '9'.repeat(21)), 400],
    ['a transaction id with a letter', () => counterOf('ACTIVE', 'x1'), 400],
    ['Set PIN without a body', () => ({ method: 'PUT', path: newCard().path }), 400],
    ['Set PIN that is no JSON', () => putTo('{"type":'), 400, 'FIELD_INVALID_FORMAT'],
    ['Set PIN that is a list', () => putTo([]), 400],
    ['Set PIN as text', () => putTo('{}', { 'content-type': 'text/plain' }), 400],
    ['Set PIN as a form', () => putTo('type=ISO0', { 'content-type': 'application/x-www-form-urlencoded' }), 400],
    ['Set PIN without its JWE', () => putTo({ type: 'ISO0' }), 400],
    ['Set PIN with a number', () => putTo({ type: 'ISO0', encryptedPinBlock: 1 }), 400],
    ['Set PIN of an unknown type', () => putJwe('x', 'ISO1'), 400],
    ['Set PIN that would inherit', () => putTo('{"__proto__":{"type":"ISO0"},"encryptedPinBlock":"x"}'), 400],
    [
      'Set PIN with a type twice, of which the last counts',
      () => putTo('{"type":"ISO0","type":"ISO9","encryptedPinBlock":"x"}'),
      400,
    ],
    ['a JWE of 8192 characters that is none', () => putJwe('x'.repeat(8192)), 400, 'CRYPTO_ERROR'],
    ['a JWE of 8193 characters', () => putJwe('x'.repeat(8193)), 400, 'FIELD_INVALID_FORMAT'],
    ['a body of 20 kB', () => putJwe('x'.repeat(20_000)), 400],
    ['a JWE', () => putPin('4917'), 204],
    ['a member that D1 may add one day', () => putPin('4917', { new: { type: 1 } }), 204],
    ['a JWE to a key that nobody has', async () => putJwe(await sealed({}, 'none')), 400, 'CRYPTO_ERROR'],
    ['a JWE that was changed', async () => putJwe((await sealed({})).slice(0, -8) + 'AAAAAAAA'), 400, 'CRYPTO_ERROR'],
    ['a payload that is none', async () => putJwe(await sealed({ pin: '4917' })), 400, 'PARSING_ERROR'],
    [
      "another card's PIN",
      async () => putJwe(await sealed(iso0Payload('4917', '4000009999999999'))),
      400,
      'FIELD_INVALID_VALUE',
    ],
    ['Seccos without a transaction id', () => putJwe('x', '3DES_SECCOS'), 400],
    [
      'Seccos without a counter',
      () => putTo({ type: '3DES_SECCOS', encryptedPinBlock: 'x' }, { 'x-transaction-id': '1' }),
      403,
    ],
  ]
  const sealed = (payload: object, kid = issuerKey.kid) => seal(payload, { ...issuerKey, kid: kid! })

  it.each(cases)('%s', async (_what, make, status, errorCode) => {
    const answer = await d1.send({ method: 'GET', path: at(ISSUER, 'card-none'), ...(await make()) })
    expect(answer.status, JSON.stringify(answer.json)).toBe(status)
    if (errorCode) expect(answer.json.errorCode).toBe(errorCode)
  })

  it.each([
    ['no HTTP', 'HELO mail\r\n\r\n'],
    ['headers of 20 kB', `GET / HTTP/1.1\r\nhost: cms\r\nx-more: ${'x'.repeat(20_000)}\r\n\r\n`],
  ])('a 400 for %s', async (_what, bytes) => {
    const socket = connect(Number(new URL(adapter.url).port), '127.0.0.1')
    socket.write(bytes)
    const text = await readText(socket)
    expect(text).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
    expect(JSON.parse(text.split('\r\n\r\n')[1]!)).toMatchObject({ errorCode: 'FIELD_INVALID_FORMAT' })
  })

  it('500 is what the bank has to mend: a version of the zone key that is gone; the log leads to it', async () => {
    const card = newCard()
    await card.setPin('ISO0', await isoJwe(card, '4917'))
    onDatabase('UPDATE card SET keyVersion = 9 WHERE cardId = ?', card.cardId)
    const answer = await card.getPin()
    expect([answer.status, answer.json.errorCode]).toEqual([500, 'INTERNAL_ERROR'])
    expect(adapter.log.at(-1)).toMatchObject({
      ...{ correlationId: answer.headers['x-correlation-id'], method: 'GET', status: 500 },
      ...{ cause: 'ERR_KEY_USE_FORBIDDEN', requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    })
  })
})

it('answers what arrives while it closes, and never with 503', async () => {
  const { cert, key } = service.setUp.clients.find(({ id }) => id === 'cms-adapter')!
  const closing = await runAdapter({ url: service.ready.url, ca: service.setUp.ca, cert, key }, database, SECRETS)
  const there = d1Outbound(closing.url, SECRETS.credentials)
  const socket = connect(Number(new URL(closing.url).port), '127.0.0.1')
  await once(socket, 'connect')
  socket.write(
    `GET ${newCard().path}/changeCounter HTTP/1.1\r\nhost: cms\r\nauthorization: Bearer ${await there.token()}\r\n`,
  )
  // Whoever has answered two calls that came later has read what came before.
  for (const cardId of ['a', 'b']) expect((await there.card(ISSUER, cardId).getPin()).status).toBe(404)
  const closed = closing.close()
  socket.write('\r\n')
  expect(await readText(socket)).toMatch(/^HTTP\/1\.1 200 /)
  await closed
})

describe('the access token', () => {
  const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` })
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const grant = 'grant_type=client_credentials'
  const ask = (body: string | undefined, headers: Record<string, string>) =>
    exchange(adapter.url, { method: 'POST', path: '/oauth2/token', headers, body })

  it('is a Bearer token, for base64 and base64url, and is not cached', async () => {
    const base64url = { authorization: `basic ${Buffer.from(SECRETS.credentials).toString('base64url')}` }
    for (const credentials of [basic(SECRETS.credentials), base64url]) {
      const { status, json, headers } = await ask(`${grant}&scope=any&unknown=1`, { ...form, ...credentials })
      expect([status, headers['cache-control']]).toEqual([200, 'no-store'])
      expect(json).toEqual({ access_token: expect.any(String), token_type: 'Bearer', expires_in: 300 })
    }
  })

  const id = SECRETS.credentials.split(':')[0]!
  it.each([
    ['no credentials', grant, form, 401, 'invalid_client'],
    ['a wrong secret', grant, { ...form, ...basic(`${id}:wrong`) }, 401, 'invalid_client'],
    ['an unknown client', grant, { ...form, ...basic(`x${SECRETS.credentials}`) }, 401, 'invalid_client'],
    ['an empty secret', grant, { ...form, ...basic('') }, 401, 'invalid_client'],
    [
      'the secret as a Bearer token',
      grant,
      { ...form, authorization: `Bearer ${SECRETS.credentials}` },
      401,
      'invalid_client',
    ],
    ['the secret in the body', `${grant}&client_id=${id}&client_secret=x`, form, 401, 'invalid_client'],
    [
      'the secret in both places',
      `${grant}&client_secret=x`,
      { ...form, ...basic(SECRETS.credentials) },
      400,
      'invalid_request',
    ],
    ['no grant type', 'scope=x', { ...form, ...basic(SECRETS.credentials) }, 400, 'invalid_request'],
    ['an empty grant type', 'grant_type=', { ...form, ...basic(SECRETS.credentials) }, 400, 'invalid_request'],
    ['a grant type twice', `${grant}&${grant}`, { ...form, ...basic(SECRETS.credentials) }, 400, 'invalid_request'],
    [
      'another grant type',
      'grant_type=password',
      { ...form, ...basic(SECRETS.credentials) },
      400,
      'unsupported_grant_type',
    ],
    ['no body', undefined, basic(SECRETS.credentials), 400, 'invalid_request'],
    [
      'JSON',
      JSON.stringify({ grant_type: 'client_credentials' }),
      { 'content-type': 'application/json', ...basic(SECRETS.credentials) },
      400,
      'invalid_request',
    ],
    ['text', grant, { 'content-type': 'text/plain', ...basic(SECRETS.credentials) }, 400, 'invalid_request'],
    [
      'a form that is too large',
      `${grant}&x=${'x'.repeat(20_000)}`,
      { ...form, ...basic(SECRETS.credentials) },
      400,
      'invalid_request',
    ],
  ])('%s', async (_what, body, headers, status, error) => {
    const answer = await ask(body, headers)
    expect([answer.status, answer.json]).toEqual([status, { error }])
    expect(answer.headers['www-authenticate']).toBe(status === 401 ? 'Basic realm="cms"' : undefined)
  })

  it.each([
    ['GET', '/oauth2/token'],
    ['GET', at(ISSUER, 'card-none')],
    ['PUT', at(ISSUER, 'x'.repeat(49))],
    ['GET', `${at(ISSUER, 'card-none')}/changeCounter`],
    ['GET', '/'],
  ])('is wanted for %s %s, whatever else is wrong', async (method, path) => {
    for (const authorization of ['', 'Bearer', 'Bearer x', basic(SECRETS.credentials).authorization]) {
      const answer = await d1.send({ method, path, headers: { authorization } })
      expect([answer.status, answer.json.errorCode]).toEqual([401, 'AUTHORIZER_UNAUTHORIZED'])
    }
  })

  const token = (
    alg: string,
    key: Uint8Array,
    changes: { aud?: string; expired?: boolean; endless?: boolean } = {},
  ) => {
    const made = new SignJWT()
      .setProtectedHeader({ alg })
      .setIssuer('cms-adapter')
      .setAudience(changes.aud ?? 'cms-adapter')
    if (changes.endless) return made.sign(key)
    return made.setExpirationTime(Math.floor(Date.now() / 1000) + (changes.expired ? -1 : 60)).sign(key)
  }
  it.each([
    ['one that is right', () => token('HS256', SECRETS.tokenKey), 404],
    ['one that has expired', () => token('HS256', SECRETS.tokenKey, { expired: true }), 401],
    ['one that never expires', () => token('HS256', SECRETS.tokenKey, { endless: true }), 401],
    ["another one's", () => token('HS256', Buffer.alloc(32, 1)), 401],
    ['one for another audience', () => token('HS256', SECRETS.tokenKey, { aud: 'other' }), 401],
    ['one with another algorithm', () => token('HS512', Buffer.concat([SECRETS.tokenKey, SECRETS.tokenKey])), 401],
    [
      'one without a signature',
      () => Promise.resolve(`${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`),
      401,
    ],
  ])('%s', async (_what, make, status) => {
    const headers = { authorization: `Bearer ${await make()}` }
    expect((await d1.send({ method: 'GET', path: at(ISSUER, 'card-none'), headers })).status).toBe(status)
  })
})

describe('a PIN change is accepted once', () => {
  const counterOf = (card: Card) => adapter.store.findCard(ISSUER, card.cardId)!.changeCounter
  /** A card that D1 has the counter 0003 for, and its Set PIN. */
  const begun = async (transactionId: string, pin = '4917') => {
    const card = newCard()
    await card.getChangeCounter(transactionId)
    const jwe = await seccosJwe(card, pin, '0003', transactionId)
    return { card, jwe, set: () => card.setPin('3DES_SECCOS', jwe, transactionId) }
  }
  const access = () => {
    const { cert, key } = service.setUp.clients.find(({ id }) => id === 'cms-adapter')!
    return { url: service.ready.url, ca: service.setUp.ca, cert, key }
  }
  const through = (url: string, { cardId }: Card) => d1Outbound(url, SECRETS.credentials).card(ISSUER, cardId)

  it('answers the same request again, and raises nothing', async () => {
    const { card, set } = await begun('1')
    expect([(await set()).status, (await set()).status, (await set()).status]).toEqual([204, 204, 204])
    expect(counterOf(card)).toBe(4)
  })

  it('refuses another body under the same transaction id, and the counter for it', async () => {
    const { card, set } = await begun('1')
    await set()
    const other = await card.setPin('3DES_SECCOS', await seccosJwe(card, '0815', '0003', '1'), '1')
    expect([other.status, other.json.errorCode]).toEqual([403, 'PIN_CHANGE_CONFLICT'])
    expect((await card.getChangeCounter('1')).status).toBe(403)
    expect([counterOf(card), await shown(card)]).toEqual([4, '4917'])
  })

  it('raises once for the same request at once, on one node and on two', async () => {
    const { card, jwe, set } = await begun('1')
    const second = await runAdapter(access(), database, SECRETS)
    try {
      const there = through(second.url, card)
      const statuses = (await Promise.all([set(), set(), there.setPin('3DES_SECCOS', jwe, '1'), set()])).map(
        ({ status }) => status,
      )
      // Who waits for the first one too long is answered 500, and asks again.
      expect(statuses).toContain(204)
      expect(statuses.filter((status) => status !== 204 && status !== 500)).toEqual([])
      expect((await set()).status).toBe(204)
      expect([counterOf(card), await shown(card)]).toEqual([4, '4917'])
    } finally {
      await second.close()
    }
  })

  it('lets one of two requests win that come at once under one transaction id', async () => {
    const { card, set } = await begun('1')
    const other = await seccosJwe(card, '0815', '0003', '1')
    const [first, second] = await Promise.all([set(), card.setPin('3DES_SECCOS', other, '1')])
    expect([first.status, second.status].toSorted()).toEqual([204, 403])
    expect([counterOf(card), await shown(card)]).toEqual([4, first.status === 204 ? '4917' : '0815'])
  })

  it('forgets a PIN change when another one is begun', async () => {
    const { card, set } = await begun('1')
    expect((await card.getChangeCounter('2')).json.changeCounter).toBe('0003')
    expect((await set()).status).toBe(403)
    expect((await card.setPin('3DES_SECCOS', await seccosJwe(card, '0815', '0003', '2'), '2')).status).toBe(204)
    expect((await set()).status).toBe(403)
    expect([counterOf(card), await shown(card)]).toEqual([4, '0815'])
  })

  it('lets D1 mend what was refused', async () => {
    const { card, set } = await begun('1')
    expect((await card.setPin('3DES_SECCOS', await seccosJwe(card, '4917', '0002', '1'), '1')).status).toBe(400)
    expect([counterOf(card), (await set()).status, counterOf(card)]).toEqual([3, 204, 4])
  })

  it('knows an ISO0 request by its JWE: the same again raises nothing, under a transaction id it is a replay', async () => {
    const card = newCard()
    const jwe = await isoJwe(card, '4917')
    expect((await card.setPin('ISO0', jwe)).status).toBe(204)
    expect((await card.setPin('ISO0', await isoJwe(card, '0815'))).status).toBe(204)
    expect((await card.setPin('ISO0', jwe)).status).toBe(204)
    expect((await card.setPin('ISO0', jwe, '77')).status).toBe(403)
    expect([counterOf(card), await shown(card)]).toEqual([5, '0815'])
  })

  it('403 where pinbridge knows the counter as used: the data base is older than its cards', async () => {
    const { card, set } = await begun('1')
    await set()
    onDatabase('UPDATE card SET changeCounter = 3 WHERE cardId = ?', card.cardId)
    await card.getChangeCounter('2')
    expect((await card.setPin('3DES_SECCOS', await seccosJwe(card, '0815', '0003', '2'), '2')).status).toBe(403)
    expect(adapter.log.at(-1)).toMatchObject({ cause: 'ERR_COUNTER_REPLAYED', errorCode: 'PIN_CHANGE_CONFLICT' })
  })

  it('is not accepted with a counter that the card has no longer, and is not in the way of the next', async () => {
    const { card, jwe } = await begun('1')
    const overtaken = await runAdapter(access(), database, SECRETS, (client) => ({
      getPin: client.getPin,
      setPin: async (body, options) => {
        const answer = await client.setPin(body, options)
        onDatabase('UPDATE card SET changeCounter = 7 WHERE cardId = ?', card.cardId)
        return answer
      },
    }))
    const refused = await through(overtaken.url, card).setPin('3DES_SECCOS', jwe, '1')
    await overtaken.close()
    expect([refused.status, refused.json.errorCode, counterOf(card)]).toEqual([403, 'PIN_CHANGE_CONFLICT', 7])
    expect((await card.getChangeCounter('2')).json.changeCounter).toBe('0007')
    expect(await shown(card)).toBe(404)
  })

  describe('whose outcome was lost', () => {
    /** Pinbridge does it, and the adapter is not told. */
    const deaf = () =>
      runAdapter(access(), database, SECRETS, (client) => ({
        getPin: client.getPin,
        setPin: async (body, options) => {
          await client.setPin(body, options)
          throw new PinbridgeError({ code: 'NO_ANSWER', reason: 'TIMEOUT', correlationId: 'x', mayHaveHappened: true })
        },
      }))

    it('is done when D1 asks again', async () => {
      const { card, jwe, set } = await begun('1')
      const broken = await deaf()
      const lost = await through(broken.url, card).setPin('3DES_SECCOS', jwe, '1')
      await broken.close()
      expect([lost.status, lost.json.errorCode, counterOf(card)]).toEqual([500, 'INTERNAL_ERROR', 3])
      expect([(await set()).status, counterOf(card), await shown(card)]).toEqual([204, 4, '4917'])
    })

    it('is done when D1 begins another one, which gets the next counter', async () => {
      const { card, jwe, set } = await begun('1')
      const broken = await deaf()
      await through(broken.url, card).setPin('3DES_SECCOS', jwe, '1')
      // While it cannot be known, no counter is given.
      expect((await through(broken.url, card).getChangeCounter('2')).status).toBe(500)
      await broken.close()
      expect((await card.getChangeCounter('2')).json.changeCounter).toBe('0004')
      expect(await shown(card)).toBe('4917')
      expect((await card.setPin('3DES_SECCOS', await seccosJwe(card, '0815', '0004', '2'), '2')).status).toBe(204)
      expect([(await set()).status, counterOf(card), await shown(card)]).toEqual([204, 5, '0815'])
    })

    it('stays open while pinbridge refuses the adapter itself: that says nothing of the first try', async () => {
      const { card, jwe } = await begun('1')
      let tries = 0
      const refused = await runAdapter(access(), database, SECRETS, (client) => ({
        getPin: client.getPin,
        setPin: async (body, options) => {
          const facts = { correlationId: 'x', mayHaveHappened: false }
          if (tries++ > 0) throw new PinbridgeError({ ...facts, code: 'ERR_RATE_LIMITED', status: 429 })
          await client.setPin(body, options)
          throw new PinbridgeError({ ...facts, code: 'NO_ANSWER', reason: 'TIMEOUT', mayHaveHappened: true })
        },
      }))
      const there = through(refused.url, card)
      await there.setPin('3DES_SECCOS', jwe, '1')
      expect([(await there.setPin('3DES_SECCOS', jwe, '1')).status, counterOf(card)]).toEqual([500, 3])
      // Given now, the counter would be one that pinbridge has counted.
      expect((await there.getChangeCounter('2')).status).toBe(500)
      await refused.close()
      expect((await card.getChangeCounter('2')).json.changeCounter).toBe('0004')
      expect(await shown(card)).toBe('4917')
    })

    it('is no reason to keep a change that was refused at its first try', async () => {
      const { card, jwe } = await begun('1')
      const limited = await runAdapter(access(), database, SECRETS, (client) => ({
        getPin: client.getPin,
        setPin: () => {
          const facts = { correlationId: 'x', mayHaveHappened: false }
          throw new PinbridgeError({ ...facts, code: 'ERR_RATE_LIMITED', status: 429 })
        },
      }))
      expect((await through(limited.url, card).setPin('3DES_SECCOS', jwe, '1')).status).toBe(500)
      expect((await through(limited.url, card).getChangeCounter('2')).json.changeCounter).toBe('0003')
      await limited.close()
      expect(await shown(card)).toBe(404)
    })

    it('is done after a crash between the answer of pinbridge and the commit', async () => {
      const { card, jwe, set } = await begun('1')
      const { credentials, tokenKey } = SECRETS
      const made = { access: access(), file: database, credentials, tokenKey: tokenKey.toString('hex') }
      const program = new URL('../../d1/crashing-adapter.ts', import.meta.url).pathname
      const child = spawn(process.execPath, [program, JSON.stringify(made)], { stdio: ['ignore', 'pipe', 'inherit'] })
      const ended = once(child, 'exit')
      const [url] = (await once(child.stdout, 'data')) as [Buffer]
      await expect(through(url.toString().trim(), card).setPin('3DES_SECCOS', jwe, '1')).rejects.toThrow()
      expect(await ended).toEqual([null, 'SIGKILL'])
      expect([counterOf(card), await shown(card)]).toEqual([3, 404])
      expect([(await set()).status, counterOf(card), await shown(card)]).toEqual([204, 4, '4917'])
      expect([(await set()).status, counterOf(card)]).toEqual([204, 4])
    })
  })
})
