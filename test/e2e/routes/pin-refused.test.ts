/** Weak PINs: refused where a new PIN enters, after all that vouches for it, and nowhere else. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { retailMac } from '../../d1/macs.ts'
import { sealEc, sealTo } from '../../support/node-jwe.ts'
import { CHANGE, expectOneAnswer, expectProblem, iso0, newPan, openIssuer, TO, type Issuer } from './issuer.ts'

const FROM = { key: 'zpk-in', format: 'ISO-0' } as const
const LISTED = '847362915038'
const WEAK = ['1111', '00000', '999999999999', '1234', '0123456789', '4321', '98765', '2580', LISTED]
const GOOD = ['1112', '2468', '7890', '2109', '25801', '5802', '847362915039', '84736291503']
const WINDOW_MS = 6000
const PER_CARD = 3

function setIso0(issuer: Issuer, pin: string, pan: string, more: object = {}) {
  const encryptedPinBlock = sealTo(iso0(pin, pan), issuer.jwk('jwe-ec')).compact
  const card = { pan, panSequenceNumber: '01' }
  return issuer.post('/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card, to: TO, ...more })
}

function seccosPayload(issuer: Issuer, pin: string, pan: string) {
  return issuer.seccos({ pan, panSequenceNumber: '01', pin, ...CHANGE })
}

function setSeccos(issuer: Issuer, payload: object, pan: string, more: object = {}) {
  const encryptedPinBlock = sealEc(JSON.stringify(payload), issuer.jwk('jwe-ec')).compact
  const card = { pan, panSequenceNumber: '01' }
  return issuer.post('/v1/pin/set', { type: '3DES_SECCOS', encryptedPinBlock, card, change: CHANGE, to: TO, ...more })
}

describe('with a policy', () => {
  let issuer: Issuer
  beforeAll(async () => {
    issuer = await openIssuer((config) => {
      config.weakPins = { repeated: true, rising: true, falling: true, list: ['2580', LISTED] }
      config.limits.guesses = { windowMs: WINDOW_MS, perClient: 100_000, perCard: PER_CARD, perPinBlock: 1000 }
    })
  })
  afterAll(() => issuer.close())

  it('a weak PIN is refused with 422 ERR_PIN_REFUSED in both types, and every one with the same answer', async () => {
    const issue = { prw: 'prw', mac: 'pin-mac' }
    const answers = []
    for (const pin of WEAK) {
      const pan = newPan()
      answers.push(await setIso0(issuer, pin, pan))
      answers.push(await setIso0(issuer, pin, pan, { to: undefined, change: CHANGE, issue: { prw: 'prw' } }))
      answers.push(await setSeccos(issuer, seccosPayload(issuer, pin, pan), pan, { issue }))
    }
    for (const answer of answers) expectProblem(answer, 422, 'ERR_PIN_REFUSED')
    expectOneAnswer(answers, 422, 'ERR_PIN_REFUSED')
    expect(issuer.service.output()).not.toContain(LISTED)
  })

  it('a good PIN passes in both types', async () => {
    for (const pin of GOOD) {
      const pan = newPan()
      for (const answer of [
        await setIso0(issuer, pin, pan),
        await setSeccos(issuer, seccosPayload(issuer, pin, pan), pan),
      ]) {
        expect([pin, answer.status]).toEqual([pin, 200])
        expect(issuer.pinOf(TO.key, TO.format, answer.json.pinBlock, pan)).toBe(pin)
      }
    }
  })

  it('a weak PIN of a Seccos payload that does not verify is no oracle: 422 ERR_PIN_CHANGE_NOT_VERIFIED', async () => {
    for (const pin of WEAK) {
      const pan = newPan()
      const payload = seccosPayload(issuer, pin, pan)
      const wrongMac = { ...payload, mac: seccosPayload(issuer, '5802', pan).mac }
      expectProblem(await setSeccos(issuer, wrongMac, pan), 422, 'ERR_PIN_CHANGE_NOT_VERIFIED')
      // The MAC is right, and the PRW that it covers is another PIN's.
      const { prw } = seccosPayload(issuer, '5802', pan)
      const message = `${payload.pinBlock}${prw}${CHANGE.counter}${CHANGE.transactionId}`
      const wrongPrw = { ...payload, prw, mac: retailMac(issuer.shared.pinMac, message) }
      expectProblem(await setSeccos(issuer, wrongPrw, pan), 422, 'ERR_PIN_CHANGE_NOT_VERIFIED')
    }
  })

  it('a weak PIN that the issuer has already is translated, sealed and verified as any other', async () => {
    for (const pin of ['1111', '1234', '4321', LISTED]) {
      const pan = newPan()
      const card = { pan, panSequenceNumber: '01' }
      const pinBlock = issuer.block('zpk-in', 'ISO-0', pin, pan)
      const translated = await issuer.post('/v1/pin-blocks/translate', { pinBlock, from: FROM, to: TO, card })
      expect(translated.status).toBe(200)
      expect(issuer.pinOf(TO.key, TO.format, translated.json.pinBlock, pan)).toBe(pin)
      const recipient = issuer.recipient.kid
      expect((await issuer.post('/v1/pin/get', { pinBlock, from: FROM, card, recipient })).status).toBe(200)
      const asked = { pinBlock, from: FROM, card, change: CHANGE, key: 'prw' }
      const { prw } = (await issuer.post('/v1/prw/generate', asked)).json
      expect((await issuer.post('/v1/prw/verify', { ...asked, prw })).json).toEqual({ verified: true })
    }
  })

  it("a refusal spends the card's budget until the window ends, and no other card's", async () => {
    const pan = newPan()
    for (let i = 0; i < PER_CARD; i++) expectProblem(await setIso0(issuer, '1111', pan), 422, 'ERR_PIN_REFUSED')
    const limited = await setIso0(issuer, GOOD[0]!, pan)
    expectProblem(limited, 429, 'ERR_RATE_LIMITED')
    const waitS = Number(limited.headers['retry-after'])
    expect(waitS).toBeGreaterThan(0)
    expect(waitS).toBeLessThanOrEqual(WINDOW_MS / 1000)
    expect((await setIso0(issuer, GOOD[0]!, newPan())).status).toBe(200)
    await sleep(waitS * 1000)
    expect((await setIso0(issuer, GOOD[0]!, pan)).status).toBe(200)
  })
})

describe('without a policy', () => {
  let issuer: Issuer
  beforeAll(async () => {
    issuer = await openIssuer()
  })
  afterAll(() => issuer.close())

  it('no PIN is refused', async () => {
    for (const pin of WEAK) {
      const pan = newPan()
      expect([pin, (await setIso0(issuer, pin, pan)).status]).toEqual([pin, 200])
      const payload = seccosPayload(issuer, pin, pan)
      expect([pin, (await setSeccos(issuer, payload, pan)).status]).toEqual([pin, 200])
    }
  })
})
