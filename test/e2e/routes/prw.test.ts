import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tdeaCmac } from '../../d1/macs.ts'
import { agreed } from '../../support/oracles.ts'
import { expectOneAnswer, expectProblem, newPan, newPin, openIssuer, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const FROM = { key: 'zpk-in', format: 'ISO-0' } as const
const CHANGE = { counter: '0003' }

/** A request for the PRW of a PIN, with a card of its own. */
function request(pin: string, more: object = {}, panDigits = 16) {
  const card = { pan: newPan(panDigits), panSequenceNumber: '04', expiry: '3106' }
  return {
    pinBlock: issuer.block('zpk-in', 'ISO-0', pin, card.pan),
    from: FROM,
    card,
    change: CHANGE,
    key: 'prw',
    ...more,
  }
}

const generate = (body: object) => issuer.post('/v1/prw/generate', body)
const verify = (body: object) => issuer.post('/v1/prw/verify', body)

function seccosPrw(pan: string, pin: string): string {
  const message = `${pan.padStart(20, '0')}04${pin.length.toString(16).padStart(2, '0')}${pin.padEnd(12, 'f')}0003`
  const value = tdeaCmac(issuer.keys['prw']!, message)
  expect(agreed((oracle) => oracle.cmac('TDEA', issuer.keys['prw']!, message))).toBe(value)
  return value.toUpperCase()
}

describe('prw/generate', () => {
  it('computes the seccos-3des PRW of every PIN length and PAN length', async () => {
    for (let digits = 4; digits <= 12; digits++) {
      const pin = newPin(digits)
      const body = request(pin, {}, 8 + digits > 19 ? 19 : 8 + digits)
      const answer = await generate(body)
      expect(answer.status).toBe(200)
      const { kcv } = issuer.service.setUp.keys.find(({ id }) => id === 'prw')!
      expect(answer.json).toEqual({
        prw: seccosPrw(body.card.pan, pin),
        profile: 'seccos-3des',
        key: { id: 'prw', version: 1, kcv },
        counter: '0003',
      })
    }
  })

  it('gives one PRW for one PIN, whatever the format it comes in', async () => {
    const body = request('86420')
    const { pan } = body.card
    for (const format of ['ISO-1', 'ISO-3'] as const) {
      const pinBlock = issuer.block('zpk-out', format, '86420', pan)
      const answer = await generate({ ...body, pinBlock, from: { key: 'zpk-out', format } })
      expect(answer.json.prw).toBe(seccosPrw(pan, '86420'))
    }
    const seccos = issuer.block('seccos-pin', 'SECCOS', '86420', pan)
    const answer = await generate({ ...body, pinBlock: seccos, from: { key: 'seccos-pin', format: 'SECCOS' } })
    expect(answer.json.prw).toBe(seccosPrw(pan, '86420'))
  })

  it('computes the dk-aes PRW and returns its random number', async () => {
    const body = request('1234567', { key: 'prw-aes' })
    const { json } = await generate(body)
    expect(Object.keys(json).sort()).toEqual(['key', 'profile', 'prw', 'randomNumber'])
    const message = `${body.card.pan.padStart(20, '0')}043106071234567fffff${json.randomNumber}`.toLowerCase()
    expect(agreed((oracle) => oracle.cmac('AES', issuer.keys['prw-aes']!, message)).toUpperCase()).toBe(json.prw)
    const check = { ...body, prw: json.prw }
    expect((await verify({ ...check, randomNumber: json.randomNumber })).json).toEqual({ verified: true })
    expect((await verify({ ...check, randomNumber: 'ABCDEF01' })).json).toEqual({ verified: false })
    expectProblem(await verify(check), 400, 'ERR_REQUEST_INVALID')
  })

  it('refuses a field that the profile needs and the request lacks with 400 ERR_REQUEST_INVALID', async () => {
    const seccos = request('1234')
    const aes = request('1234', { key: 'prw-aes' })
    const { pan, panSequenceNumber, expiry } = aes.card
    const bodies = [
      { ...seccos, change: undefined },
      { ...seccos, change: { counter: '3' } },
      { ...seccos, card: { pan: seccos.card.pan } },
      { ...aes, card: { pan, panSequenceNumber } },
      { ...aes, card: { pan, expiry } },
      { ...aes, card: { pan, panSequenceNumber, expiry: '3113' } },
    ]
    for (const body of bodies) expectProblem(await generate(body), 400, 'ERR_REQUEST_INVALID')
  })

  it('refuses unfit keys with one 403 ERR_KEY_USE_FORBIDDEN', async () => {
    const bodies = [
      { key: 'pin-mac' },
      { key: 'zpk-out' },
      { key: 'prw-none' },
      { key: 'jwe-ec' },
      { from: { key: 'prw', format: 'ISO-0' } },
      { from: { key: 'zpk-none', format: 'ISO-0' } },
      { from: { key: 'zpk-in', format: 'SECCOS' } },
      { from: { key: 'seccos-pin', format: 'ISO-0' } },
      { from: { key: 'zpk-aes', format: 'ISO-0' } },
    ]
    const answers = []
    for (const more of bodies) answers.push(await generate(request('1234', more)))
    for (const more of bodies) answers.push(await verify({ ...request('1234', more), prw: '00'.repeat(8) }))
    expectOneAnswer(answers, 403, 'ERR_KEY_USE_FORBIDDEN')
  })

  it('refuses blocks that do not decode with one 422 ERR_PIN_BLOCK_INVALID', async () => {
    const bodies = [
      { pinBlock: issuer.encipher('zpk-in', '0'.repeat(16)) },
      { from: { key: 'zpk-in', format: 'ISO-3' } },
    ]
    const answers = []
    for (const more of bodies) answers.push(await generate(request('1234', more)))
    for (const more of bodies) answers.push(await verify({ ...request('1234', more), prw: '00'.repeat(8) }))
    expectOneAnswer(answers, 422, 'ERR_PIN_BLOCK_INVALID')
  })
})

describe('prw/verify', () => {
  it('says true of the right PRW, in either case, and false of every single wrong input', async () => {
    const body = request('192837')
    const prw = seccosPrw(body.card.pan, '192837')
    expect((await verify({ ...body, prw })).json).toEqual({ verified: true })
    expect((await verify({ ...body, prw: prw.toLowerCase() })).json).toEqual({ verified: true })
    const otherPin = issuer.block('zpk-in', 'ISO-0', '192838', body.card.pan)
    const flipped = (prw.startsWith('0') ? '1' : '0') + prw.slice(1)
    for (const more of [
      { prw: flipped },
      { prw: '0'.repeat(16) },
      { pinBlock: otherPin },
      { change: { counter: '0004' } },
      { card: { ...body.card, panSequenceNumber: '05' } },
    ]) {
      const answer = await verify({ ...body, prw, ...more })
      expect({ status: answer.status, json: answer.json }).toEqual({ status: 200, json: { verified: false } })
    }
  })

  it('refuses a PRW cut short or made longer with 400 ERR_REQUEST_INVALID, never taking it for an easier one', async () => {
    const body = request('192837')
    const prw = seccosPrw(body.card.pan, '192837')
    for (const wrong of [
      prw.slice(0, 14),
      prw.slice(0, 8),
      '',
      `${prw}00`,
      prw + prw,
      `${prw}0`,
      prw.slice(0, 15) + 'X',
    ]) {
      expectProblem(await verify({ ...body, prw: wrong }), 400, 'ERR_REQUEST_INVALID')
    }
    const aes = request('1234', { key: 'prw-aes' })
    const made = (await generate(aes)).json
    for (const bytes of [8, 12, 15]) {
      const cut = { ...aes, prw: made.prw.slice(0, 2 * bytes), randomNumber: made.randomNumber }
      expectProblem(await verify(cut), 400, 'ERR_REQUEST_INVALID')
    }
  })
})
