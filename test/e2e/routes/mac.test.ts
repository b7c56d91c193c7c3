import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { retailMac } from '../../d1/macs.ts'
import { agreed } from '../../support/oracles.ts'
import { CHANGE, expectOneAnswer, expectProblem, newPan, openIssuer, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const PRW = '922E58D245FCDBB5'
const generate = (body: object) => issuer.post('/v1/mac/generate', body)
const verify = (body: object) => issuer.post('/v1/mac/verify', body)

/** A request for the Seccos MAC; the block is under a key that this service does not know, which it need not. */
const request = (more: object = {}) => ({
  key: 'pin-mac',
  pinBlock: '0123456789ABCDEF',
  prw: PRW,
  change: CHANGE,
  ...more,
})

function seccosMac(transactionId: string, counter = '0003'): string {
  const message = `0123456789abcdef${PRW.toLowerCase()}${counter}${transactionId.padStart(20, '0')}`
  const value = retailMac(issuer.keys['pin-mac']!, message)
  expect(agreed((oracle) => oracle.retailMac(issuer.keys['pin-mac']!, message, 2))).toBe(value)
  return value.toUpperCase()
}

describe('mac/generate', () => {
  it('computes the retail MAC over the block as given, with transaction ids of 1 to 20 digits', async () => {
    for (const transactionId of [CHANGE.transactionId, '7', '123456789']) {
      const answer = await generate(request({ change: { counter: '0003', transactionId } }))
      expect(answer.status).toBe(200)
      const { kcv } = issuer.service.setUp.keys.find(({ id }) => id === 'pin-mac')!
      expect(answer.json).toEqual({
        mac: seccosMac(transactionId),
        profile: 'seccos-3des',
        key: { id: 'pin-mac', version: 1, kcv },
      })
    }
  })

  it('reads lower-case hex and writes upper-case', async () => {
    const { json } = await generate(request({ pinBlock: '0123456789abcdef', prw: PRW.toLowerCase() }))
    expect(json.mac).toBe(seccosMac(CHANGE.transactionId))
  })

  it('computes the dk-aes MAC over 16 bytes', async () => {
    const pinBlock = '00112233445566778899AABBCCDDEEFF'
    const { json } = await generate({ key: 'pin-mac-aes', pinBlock, card: { pan: newPan(), panSequenceNumber: '01' } })
    const whole = agreed((oracle) => oracle.cmac('AES', issuer.keys['pin-mac-aes']!, `${pinBlock.toLowerCase()}01`))
    expect(json).toMatchObject({ mac: whole.slice(0, 16).toUpperCase(), profile: 'dk-aes' })
  })

  it('refuses what the profile needs and the request lacks or gives in another length with 400 ERR_REQUEST_INVALID', async () => {
    for (const more of [
      { prw: undefined },
      { change: undefined },
      { change: { counter: '0003' } },
      { change: { counter: '0003', transactionId: 'abc' } },
      { change: { counter: '0003', transactionId: '1'.repeat(21) } },
      { pinBlock: '00'.repeat(16) },
      { prw: '00'.repeat(9) },
      { key: 'pin-mac-aes', card: { pan: newPan(), panSequenceNumber: '01' } },
      { key: 'pin-mac-aes', pinBlock: '00'.repeat(16) },
    ]) {
      expectProblem(await generate(request(more)), 400, 'ERR_REQUEST_INVALID')
      expectProblem(await verify(request({ ...more, mac: '00'.repeat(8) })), 400, 'ERR_REQUEST_INVALID')
    }
  })

  it('refuses unfit keys with one 403 ERR_KEY_USE_FORBIDDEN', async () => {
    const answers = []
    for (const key of ['prw', 'zpk-out', 'jwe-ec', 'mac-none', 'pin-mac.cbc', 'seccos-pin']) {
      answers.push(await generate(request({ key })), await verify(request({ key, mac: '00'.repeat(8) })))
    }
    expectOneAnswer(answers, 403, 'ERR_KEY_USE_FORBIDDEN')
  })
})

describe('mac/verify', () => {
  it('says true of the right MAC, in either case, and false of every single wrong input', async () => {
    const mac = seccosMac(CHANGE.transactionId)
    expect((await verify(request({ mac }))).json).toEqual({ verified: true })
    expect((await verify(request({ mac: mac.toLowerCase() }))).json).toEqual({ verified: true })
    const wrongs: object[] = [
      { mac: (mac.startsWith('0') ? '1' : '0') + mac.slice(1) },
      { mac: mac.slice(0, 15) + (mac.endsWith('0') ? '1' : '0') },
      { pinBlock: '0123456789ABCDEE' },
      { prw: '922E58D245FCDBB4' },
      { change: { ...CHANGE, counter: '0004' } },
      { change: { ...CHANGE, transactionId: '21430919092023091908' } },
    ]
    for (const more of wrongs) {
      const answer = await verify(request({ mac, ...more }))
      expect({ status: answer.status, json: answer.json }).toEqual({ status: 200, json: { verified: false } })
    }
  })

  it('refuses a MAC cut short or made longer with 400 ERR_REQUEST_INVALID, never taking it for an easier one', async () => {
    const mac = seccosMac(CHANGE.transactionId)
    for (const wrong of [mac.slice(0, 14), mac.slice(0, 8), mac.slice(0, 2), '', `${mac}00`, mac + mac, `${mac}0`]) {
      expectProblem(await verify(request({ mac: wrong })), 400, 'ERR_REQUEST_INVALID')
    }
  })

  it('verifies the MAC of a whole pin/set, and of nothing else', async () => {
    const pan = newPan()
    const payload = issuer.seccos({ pan, panSequenceNumber: '01', pin: '1234', ...CHANGE })
    const body = { key: 'pin-mac', pinBlock: payload.pinBlock, prw: payload.prw, change: CHANGE, mac: payload.mac }
    expect((await verify(body)).json).toEqual({ verified: true })
    expect((await verify({ ...body, prw: payload.mac })).json).toEqual({ verified: false })
  })
})
