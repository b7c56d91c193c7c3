import { CompactEncrypt, importJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tdeaCmac, retailMac } from '../../d1/macs.ts'
import { seal } from '../../d1/simulator.ts'
import { ephemeralWithLeadingZero, sealEc, sealTo } from '../../support/node-jwe.ts'
import { agreed } from '../../support/oracles.ts'
import { CHANGE, expectProblem, iso0, newPan, newPin, openIssuer, TO, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const KIDS = ['jwe-ec', 'jwe-rsa'] as const
const kcvOf = (id: string) => issuer.service.setUp.keys.find((key) => key.id === id)!.kcv
const keyRef = (id: string) => ({ id, version: 1, kcv: kcvOf(id) })

function setIso0(compact: string, pan: string, more: object = {}) {
  const card = { pan, panSequenceNumber: '01' }
  return issuer.post('/v1/pin/set', { type: 'ISO0', encryptedPinBlock: compact, card, to: TO, ...more })
}

function setSeccos(payload: object, pan: string, more: object = {}) {
  const encryptedPinBlock = sealTo(JSON.stringify(payload), issuer.jwk('jwe-ec')).compact
  const card = { pan, panSequenceNumber: '01' }
  return issuer.post('/v1/pin/set', { type: '3DES_SECCOS', encryptedPinBlock, card, change: CHANGE, to: TO, ...more })
}

/** The message of the shipped PRW profile for Seccos, as README prints it. */
function prwMessage(pan: string, pin: string, counter: string): string {
  const length = pin.length.toString(16).padStart(2, '0')
  return `${pan.padStart(20, '0')}01${length}${pin.padEnd(12, 'f')}${counter}`
}

describe('pin/set of type ISO0', () => {
  for (const kid of KIDS) {
    it(`gives the PIN under the zone key, from a JWE that jose made for ${kid}`, async () => {
      const pan = newPan()
      const answer = await setIso0(await seal(JSON.parse(iso0('1234', pan)), issuer.jwk(kid)), pan)
      expect(answer.status).toBe(200)
      expect(answer.json).toEqual({
        pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/),
        format: 'ISO-0',
        key: keyRef('zpk-out'),
      })
      expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe('1234')
    })

    it(`gives the PIN under the zone key, from a JWE that node:crypto made for ${kid}`, async () => {
      const pan = newPan()
      const answer = await setIso0(sealTo(iso0('98765', pan), issuer.jwk(kid)).compact, pan)
      expect(answer.status).toBe(200)
      expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe('98765')
    })
  }

  it('derives the key with apu and apv, from node:crypto and from jose', async () => {
    const pan = newPan()
    const apu = Buffer.from('Thales D1')
    const apv = Buffer.from([0, 255, 1, 254])
    const jwk = issuer.jwk('jwe-ec')
    const byNode = [
      sealEc(iso0('2468', pan), jwk, { apu, apv }),
      sealEc(iso0('2468', pan), jwk, { apu }),
      sealEc(iso0('2468', pan), jwk, { apv }),
      sealEc(iso0('2468', pan), jwk, { apu: Buffer.alloc(0), apv: Buffer.alloc(0) }),
    ]
    const byJose = await new CompactEncrypt(Buffer.from(iso0('2468', pan)))
      .setProtectedHeader({ alg: 'ECDH-ES', enc: 'A256GCM', kid: jwk.kid })
      .setKeyManagementParameters({ apu, apv })
      .encrypt(await importJWK(jwk, 'ECDH-ES'))
    for (const compact of [...byNode.map((made) => made.compact), byJose]) {
      const answer = await setIso0(compact, pan)
      expect(answer.status).toBe(200)
      expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe('2468')
    }
  })

  it('opens a JWE whose Z begins with a zero byte', async () => {
    const jwk = issuer.jwk('jwe-ec')
    for (let i = 0; i < 3; i++) {
      const pan = newPan()
      const made = sealEc(iso0('1357', pan), jwk, { ephemeral: ephemeralWithLeadingZero(jwk) })
      expect(made.z[0]).toBe(0)
      const answer = await setIso0(made.compact, pan)
      expect(answer.status).toBe(200)
      expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe('1357')
    }
  })

  it('keeps every PIN of 4 to 12 digits with every PAN of 12 to 19', async () => {
    for (let pinDigits = 4; pinDigits <= 12; pinDigits++) {
      for (let panDigits = 12; panDigits <= 19; panDigits++) {
        const [pin, pan] = [newPin(pinDigits), newPan(panDigits)]
        const answer = await setIso0(sealEc(iso0(pin, pan), issuer.jwk('jwe-ec')).compact, pan)
        const clear = answer.status === 200 && issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)
        expect({ pinDigits, panDigits, status: answer.status, clear }).toEqual({
          pinDigits,
          panDigits,
          status: 200,
          clear: pin,
        })
      }
    }
  })

  it('reads a payload in lower-case hex, with space and with members it does not know', async () => {
    const pan = newPan()
    const pinBlock = JSON.parse(iso0('1234', pan)).pinBlock.toLowerCase()
    const payload = ` {"version":{"a":[1,null]}, "pinBlock" : "${pinBlock}",\n"note":"\\u00e9"} `
    const answer = await setIso0(sealEc(payload, issuer.jwk('jwe-ec')).compact, pan)
    expect(answer.status).toBe(200)
    expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe('1234')
  })

  it('gives formats 0 and 3 and never format 1, which binds no PAN: 403 ERR_TRANSLATION_FORBIDDEN', async () => {
    const pan = newPan()
    const compact = () => sealEc(iso0('4321', pan), issuer.jwk('jwe-ec')).compact
    const iso3 = await setIso0(compact(), pan, { to: { key: 'zpk-out', format: 'ISO-3' } })
    expect(iso3.json.format).toBe('ISO-3')
    expect(issuer.pinOf('zpk-out', 'ISO-3', iso3.json.pinBlock, pan)).toBe('4321')
    for (const to of [
      { key: 'zpk-out', format: 'ISO-1' },
      { key: 'seccos-pin', format: 'SECCOS' },
    ]) {
      expectProblem(await setIso0(compact(), pan, { to }), 403, 'ERR_TRANSLATION_FORBIDDEN')
    }
  })

  it.each([
    ['a key that only comes in', { key: 'zpk-in', format: 'ISO-0' }],
    ['a key that does not exist', { key: 'zpk-none', format: 'ISO-0' }],
    ['a PRW key', { key: 'prw', format: 'ISO-0' }],
    ['the SECCOS PIN key', { key: 'seccos-pin', format: 'ISO-0' }],
    ['the JWE key', { key: 'jwe-ec', format: 'ISO-0' }],
    ['a format the key does not list', { key: 'zpk-aes', format: 'ISO-0' }],
  ])('refuses %s as target with 403 ERR_KEY_USE_FORBIDDEN', async (_what, to) => {
    const pan = newPan()
    const { compact } = sealEc(iso0('4321', pan), issuer.jwk('jwe-ec'))
    expectProblem(await setIso0(compact, pan, { to }), 403, 'ERR_KEY_USE_FORBIDDEN')
  })

  it('returns the correlation id and the traceparent', async () => {
    const pan = newPan()
    const headers = {
      'x-correlation-id': 'D1 call_7-b.2',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    }
    const body = {
      type: 'ISO0',
      encryptedPinBlock: sealEc(iso0('1234', pan), issuer.jwk('jwe-ec')).compact,
      card: { pan },
      to: TO,
    }
    const good = await issuer.post('/v1/pin/set', body, { headers })
    const bad = await issuer.post('/v1/pin/set', { ...body, type: 'ISO9' }, { headers })
    expect([good.status, bad.status]).toEqual([200, 400])
    for (const answer of [good, bad]) expect(answer.headers).toMatchObject({ ...headers, 'cache-control': 'no-store' })
    expectProblem(
      await issuer.post('/v1/pin/set', body, { headers: { 'x-correlation-id': 'a;b' } }),
      400,
      'ERR_REQUEST_INVALID',
    )
  })
})

describe('pin/set of type 3DES_SECCOS', () => {
  it('verifies MAC and PRW, then gives the PIN under the zone key', async () => {
    for (const pin of ['1234', '90817', '123456789012']) {
      const pan = newPan()
      const payload = issuer.seccos({ pan, panSequenceNumber: '01', pin, ...CHANGE })
      const answer = await setSeccos(payload, pan)
      expect(answer.status).toBe(200)
      expect(answer.json).toEqual({
        pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/),
        format: 'ISO-0',
        key: keyRef('zpk-out'),
        verified: { prw: true, mac: true },
      })
      expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe(pin)
    }
  })

  it('takes a JWE under the RSA key, every PAN length, and counter and transactionId that equal the change', async () => {
    for (let digits = 12; digits <= 19; digits++) {
      const pan = newPan(digits)
      const payload = { ...issuer.seccos({ pan, panSequenceNumber: '01', pin: '4711', ...CHANGE }), ...CHANGE }
      const encryptedPinBlock = sealTo(JSON.stringify(payload), issuer.jwk('jwe-rsa')).compact
      const answer = await setSeccos({}, pan, { encryptedPinBlock })
      expect(answer.status).toBe(200)
      expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, pan)).toBe('4711')
    }
  })

  it('reads a payload in lower-case hex', async () => {
    const pan = newPan()
    const payload = issuer.seccos({ pan, panSequenceNumber: '01', pin: '1234', ...CHANGE })
    const lower = Object.fromEntries(Object.entries(payload).map(([name, hex]) => [name, hex.toLowerCase()]))
    expect((await setSeccos(lower, pan)).status).toBe(200)
  })

  it('gives format 3 as well, and neither format 1 nor SECCOS: 403 ERR_TRANSLATION_FORBIDDEN', async () => {
    const pan = newPan()
    const payload = issuer.seccos({ pan, panSequenceNumber: '01', pin: '1234', ...CHANGE })
    const iso3 = await setSeccos(payload, pan, { to: { key: 'zpk-out', format: 'ISO-3' } })
    expect(issuer.pinOf('zpk-out', 'ISO-3', iso3.json.pinBlock, pan)).toBe('1234')
    for (const to of [
      { key: 'zpk-out', format: 'ISO-1' },
      { key: 'seccos-pin', format: 'SECCOS' },
    ]) {
      expectProblem(await setSeccos(payload, pan, { to }), 403, 'ERR_TRANSLATION_FORBIDDEN')
    }
  })
})

describe("the issuer's own PRW and MAC", () => {
  it('makes the PRW alone, without a PIN block', async () => {
    const [pan, pin] = [newPan(), '80531']
    const { compact } = sealEc(iso0(pin, pan), issuer.jwk('jwe-ec'))
    const answer = await setIso0(compact, pan, { to: undefined, change: { counter: '0009' }, issue: { prw: 'prw' } })
    expect(answer.status).toBe(200)
    const value = tdeaCmac(issuer.shared.prw, prwMessage(pan, pin, '0009')).toUpperCase()
    expect(answer.json).toEqual({ prw: { value, profile: 'seccos-3des', key: keyRef('prw'), counter: '0009' } })
    expect(agreed((oracle) => oracle.cmac('TDEA', issuer.shared.prw, prwMessage(pan, pin, '0009')))).toBe(
      value.toLowerCase(),
    )
  })

  it('makes PRW and MAC, the MAC over the outgoing block', async () => {
    const [pan, pin] = [newPan(19), '123456789012']
    const payload = issuer.seccos({ pan, panSequenceNumber: '01', pin, ...CHANGE })
    const answer = await setSeccos(payload, pan, { issue: { prw: 'prw', mac: 'pin-mac' } })
    expect(answer.status).toBe(200)
    const { pinBlock, prw, mac } = answer.json
    expect(Object.keys(answer.json).sort()).toEqual(['format', 'key', 'mac', 'pinBlock', 'prw', 'verified'])
    expect(issuer.pinOf('zpk-out', 'ISO-0', pinBlock, pan)).toBe(pin)
    expect(prw.value).toBe(tdeaCmac(issuer.shared.prw, prwMessage(pan, pin, CHANGE.counter)).toUpperCase())
    const macMessage = `${pinBlock}${prw.value}${CHANGE.counter}${CHANGE.transactionId.padStart(20, '0')}`.toLowerCase()
    expect(mac).toEqual({
      value: retailMac(issuer.shared.pinMac, macMessage).toUpperCase(),
      profile: 'seccos-3des',
      key: keyRef('pin-mac'),
    })
    expect(agreed((oracle) => oracle.retailMac(issuer.shared.pinMac, macMessage, 2)).toUpperCase()).toBe(mac.value)
  })

  it('makes a dk-aes PRW, whose random number is returned and is needed again to verify it', async () => {
    const [pan, pin] = [newPan(), '314159']
    const card = { pan, panSequenceNumber: '07', expiry: '3006' }
    const { compact } = sealEc(iso0(pin, pan), issuer.jwk('jwe-ec'))
    const answer = await setIso0(compact, pan, { card, issue: { prw: 'prw-aes' } })
    expect(answer.status).toBe(200)
    const { value, randomNumber, ...rest } = answer.json.prw
    expect(rest).toEqual({ profile: 'dk-aes', key: keyRef('prw-aes') })
    expect(randomNumber).toMatch(/^[0-9A-F]{8}$/)
    const message = `${pan.padStart(20, '0')}07300606${pin.padEnd(12, 'f')}${randomNumber}`.toLowerCase()
    expect(agreed((oracle) => oracle.cmac('AES', issuer.keys['prw-aes']!, message)).toUpperCase()).toBe(value)

    const { pinBlock } = answer.json
    const verify = (more: object) =>
      issuer.post('/v1/prw/verify', { pinBlock, from: TO, card, key: 'prw-aes', prw: value, ...more })
    expect((await verify({ randomNumber })).json).toEqual({ verified: true })
    expect((await verify({ randomNumber: randomNumber.toLowerCase() })).json).toEqual({ verified: true })
    expect((await verify({ randomNumber: '00000000' })).json).toEqual({ verified: false })
    expectProblem(await verify({}), 400, 'ERR_REQUEST_INVALID')
    expectProblem(await verify({ randomNumber: `${randomNumber}00` }), 400, 'ERR_REQUEST_INVALID')
  })

  it('draws another random number each time', async () => {
    const card = { pan: newPan(), panSequenceNumber: '07', expiry: '3006' }
    const once = () =>
      setIso0(sealEc(iso0('1234', card.pan), issuer.jwk('jwe-ec')).compact, card.pan, {
        card,
        issue: { prw: 'prw-aes' },
      })
    const numbers = await Promise.all([once(), once(), once()])
    expect(new Set(numbers.map((answer) => answer.json.prw.randomNumber)).size).toBe(3)
  })

  it.each<[string, object]>([
    ['neither a target nor a PRW', { to: undefined }],
    ['an empty issue', { issue: {} }],
    ['a MAC without a block to stand over', { to: undefined, issue: { mac: 'pin-mac' } }],
    ['a PRW and a MAC without a block', { to: undefined, issue: { prw: 'prw', mac: 'pin-mac' } }],
    ['a PRW that needs a counter that is not there', { issue: { prw: 'prw' } }],
    [
      'a PRW that needs a sequence number that is not there',
      { card: { pan: '400000123457' }, issue: { prw: 'prw' }, change: CHANGE },
    ],
    ['a PRW that needs an expiry that is not there', { issue: { prw: 'prw-aes' } }],
    ['a MAC that needs a PRW that is not issued', { issue: { mac: 'pin-mac' }, change: CHANGE }],
    [
      'a MAC that needs a transaction id that is not there',
      { issue: { prw: 'prw', mac: 'pin-mac' }, change: { counter: '0003' } },
    ],
    [
      'a MAC over a transaction id that is not decimal',
      { issue: { prw: 'prw', mac: 'pin-mac' }, change: { counter: '0003', transactionId: 'A1' } },
    ],
    [
      'a MAC over a transaction id that is too long',
      { issue: { prw: 'prw', mac: 'pin-mac' }, change: { counter: '0003', transactionId: '1'.repeat(21) } },
    ],
    ['a MAC of AES, which needs blocks of 16 bytes', { issue: { mac: 'pin-mac-aes' }, change: CHANGE }],
  ])('refuses %s with 400 ERR_REQUEST_INVALID', async (_what, more) => {
    const pan = (more as any).card?.pan ?? newPan()
    const { compact } = sealEc(iso0('1234', pan), issuer.jwk('jwe-ec'))
    expectProblem(await setIso0(compact, pan, more), 400, 'ERR_REQUEST_INVALID')
  })

  it.each<[string, object]>([
    ['a PRW key for the MAC', { prw: 'prw', mac: 'prw' }],
    ['a MAC key for the PRW', { prw: 'pin-mac' }],
    ['a zone key for the PRW', { prw: 'zpk-out' }],
    ['a key that does not exist', { prw: 'prw-none' }],
    ['the second half of a retail MAC key', { prw: 'prw', mac: 'pin-mac.cbc' }],
  ])('refuses %s with 403 ERR_KEY_USE_FORBIDDEN', async (_what, issue) => {
    const pan = newPan()
    const { compact } = sealEc(iso0('1234', pan), issuer.jwk('jwe-ec'))
    expectProblem(await setIso0(compact, pan, { change: CHANGE, issue }), 403, 'ERR_KEY_USE_FORBIDDEN')
  })
})
