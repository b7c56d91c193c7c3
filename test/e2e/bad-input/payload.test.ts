/** What stands inside a JWE that opens: JSON, members, a relabelled or stripped PIN change, another change, another card. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { retailMac, tdeaCmac } from '../../d1/macs.ts'
import { sealTo } from '../../support/node-jwe.ts'
import type { Answer } from '../../support/service.ts'
import {
  CHANGE,
  clearBlock,
  expectOneAnswer,
  expectProblem,
  expectSameProcesses,
  iso0,
  newPan,
  openIssuer,
  TO,
  type Issuer,
} from '../routes/issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const PAN = '4000001234567899'
const BLOCK = clearBlock('ISO-0', '1234', PAN)

function set(type: string, payload: string | Buffer, more: object = {}) {
  const encryptedPinBlock = sealTo(payload, issuer.jwk('jwe-ec')).compact
  const card = { pan: PAN, panSequenceNumber: '01', expiry: '3012' }
  return issuer.post('/v1/pin/set', { type, encryptedPinBlock, card, to: TO, ...more })
}

const signed = (pan = PAN) => issuer.seccos({ pan, panSequenceNumber: '01', pin: '1234', ...CHANGE })
const setSeccos = (payload: object, more: object = {}) =>
  set('3DES_SECCOS', JSON.stringify(payload), { change: CHANGE, ...more })

describe('a payload of type ISO0 is refused with 422 ERR_JWE_PAYLOAD_INVALID when', () => {
  const PAYLOADS: Record<string, string | Buffer> = {
    'it is no JSON': 'pinBlock',
    'it is cut': `{"pinBlock":"${BLOCK}"`,
    'something stands behind it': `{"pinBlock":"${BLOCK}"}}`,
    'two values stand in it': `{"pinBlock":"${BLOCK}"}{}`,
    'it is a list': `[{"pinBlock":"${BLOCK}"}]`,
    'it is a string': `"${BLOCK}"`,
    'it is null': 'null',
    'it is one space': ' ',
    'it has a byte order mark': `\ufeff{"pinBlock":"${BLOCK}"}`,
    'it is not UTF-8': Buffer.concat([
      Buffer.from(`{"pinBlock":"${BLOCK}","x":"`),
      Buffer.of(0xc3, 0x28),
      Buffer.from('"}'),
    ]),
    'it is UTF-16': Buffer.from(`{"pinBlock":"${BLOCK}"}`, 'utf16le'),
    'it ends in a zero byte': `{"pinBlock":"${BLOCK}"}\0`,
    'it is single-quoted': `{'pinBlock':'${BLOCK}'}`,
    'it holds a comment': `{"pinBlock":"${BLOCK}"/**/}`,
    'a comma is too many': `{"pinBlock":"${BLOCK}",}`,
    'it is nested too deep': `{"pinBlock":"${BLOCK}","x":${'['.repeat(64)}${']'.repeat(64)}}`,
    'the block stands in it twice': `{"pinBlock":"${BLOCK}","pinBlock":"${BLOCK}"}`,
    'the block stands in it twice, once with an escaped name': `{"pinBlock":"${BLOCK}","pin\\u0042lock":"${BLOCK}"}`,
    'another member stands in it twice': `{"pinBlock":"${BLOCK}","a":1,"a":1}`,
    'an inner member stands in it twice': `{"pinBlock":"${BLOCK}","a":{"b":1,"b":1}}`,
    'it has no block': '{}',
    'the name is in another case': `{"pinblock":"${BLOCK}"}`,
    'the block is inside another member': `{"a":{"pinBlock":"${BLOCK}"}}`,
    'the block is a number': '{"pinBlock":412342400000123}',
    'the block is null': '{"pinBlock":null}',
    'the block is a list': `{"pinBlock":["${BLOCK}"]}`,
    'the block is empty': '{"pinBlock":""}',
    'the block is not hex': `{"pinBlock":"${BLOCK.slice(0, 15)}G"}`,
    'the block has 15 digits': `{"pinBlock":"${BLOCK.slice(1)}"}`,
    'the block has 14 digits': `{"pinBlock":"${BLOCK.slice(2)}"}`,
    'the block has 18 digits': `{"pinBlock":"${BLOCK}FF"}`,
    'the block has 32 digits': `{"pinBlock":"${BLOCK}${BLOCK}"}`,
    'the block has a space': `{"pinBlock":"${BLOCK} "}`,
    'the block has 0x before it': `{"pinBlock":"0x${BLOCK}"}`,
    'the block is escaped': `{"pinBlock":"\\u0030${BLOCK.slice(1)}"}`,
    'it carries a prw, so it was relabelled': `{"pinBlock":"${BLOCK}","prw":"0000000000000000"}`,
    'it carries a mac, so it was relabelled': `{"pinBlock":"${BLOCK}","mac":"0000000000000000"}`,
    'it carries a prw that is null': `{"pinBlock":"${BLOCK}","prw":null}`,
    'its counter is a number': `{"pinBlock":"${BLOCK}","counter":3}`,
    'its counter is escaped': `{"pinBlock":"${BLOCK}","counter":"000\\u0033"}`,
    'its transaction id is a list': `{"pinBlock":"${BLOCK}","transactionId":["${CHANGE.transactionId}"]}`,
  }
  const answers: Answer[] = []

  it.each(Object.keys(PAYLOADS))('%s', async (what) => {
    const answer = await set('ISO0', PAYLOADS[what]!, { change: CHANGE })
    expectProblem(answer, 422, 'ERR_JWE_PAYLOAD_INVALID')
    answers.push(answer)
  })

  it('and all of these are one answer', () => {
    expect(answers.length).toBe(Object.keys(PAYLOADS).length)
    expectOneAnswer(answers, 422, 'ERR_JWE_PAYLOAD_INVALID')
  })
})

describe('a payload of type 3DES_SECCOS', () => {
  it('relabelled ISO0 is refused with 422 ERR_JWE_PAYLOAD_INVALID', async () => {
    expectProblem(await set('ISO0', JSON.stringify(signed()), { change: CHANGE }), 422, 'ERR_JWE_PAYLOAD_INVALID')
    expectProblem(await set('ISO0', JSON.stringify(signed())), 422, 'ERR_JWE_PAYLOAD_INVALID')
  })

  it('relabelled ISO0 and stripped of prw and mac releases nothing: its block is no clear ISO-0 block', async () => {
    const { pinBlock } = signed()
    expectProblem(await set('ISO0', JSON.stringify({ pinBlock })), 422, 'ERR_PIN_BLOCK_INVALID')
  })

  it.each<[string, (payload: any) => object]>([
    ['without prw', ({ pinBlock, mac }) => ({ pinBlock, mac })],
    ['without mac', ({ pinBlock, prw }) => ({ pinBlock, prw })],
    ['without both', ({ pinBlock }) => ({ pinBlock })],
    ['without block', ({ prw, mac }) => ({ prw, mac })],
    ['with a prw cut short', (payload) => ({ ...payload, prw: payload.prw.slice(0, 14) })],
    ['with a mac cut short', (payload) => ({ ...payload, mac: payload.mac.slice(0, 8) })],
    ['with an empty mac', (payload) => ({ ...payload, mac: '' })],
    ['with a prw that is null', (payload) => ({ ...payload, prw: null })],
    ['with a mac that is no hex', (payload) => ({ ...payload, mac: 'Z'.repeat(16) })],
    ['with a mac longer than its 8 bytes', (payload) => ({ ...payload, mac: `${payload.mac}00` })],
  ])('%s is refused with 422 ERR_JWE_PAYLOAD_INVALID', async (_what, change) => {
    expectProblem(await setSeccos(change(signed())), 422, 'ERR_JWE_PAYLOAD_INVALID')
  })

  it('that an ISO0 payload was relabelled to is refused with 422 ERR_JWE_PAYLOAD_INVALID', async () => {
    expectProblem(await set('3DES_SECCOS', iso0('1234', PAN), { change: CHANGE }), 422, 'ERR_JWE_PAYLOAD_INVALID')
  })

  it.each<[string, object | undefined]>([
    ['without change', undefined],
    ['without transactionId', { counter: '0003' }],
    ['without counter', { transactionId: CHANGE.transactionId }],
    ['with a counter of three digits', { ...CHANGE, counter: '003' }],
    ['with a counter that is a number', { ...CHANGE, counter: 3 }],
    ['with an empty transactionId', { ...CHANGE, transactionId: '' }],
    ['with a transactionId of 65 characters', { ...CHANGE, transactionId: '1'.repeat(65) }],
    ['with a transactionId that the MAC has no room for', { ...CHANGE, transactionId: '1'.repeat(21) }],
    ['with an unknown member of change', { ...CHANGE, again: true }],
  ])('%s is refused with 400 ERR_REQUEST_INVALID', async (_what, change) => {
    expectProblem(await setSeccos(signed(), { change }), 400, 'ERR_REQUEST_INVALID')
  })

  it('is refused with 400 ERR_REQUEST_INVALID without the sequence number that its PRW needs', async () => {
    const pan = newPan()
    expectProblem(await setSeccos(signed(pan), { card: { pan } }), 400, 'ERR_REQUEST_INVALID')
  })
})

describe('a PIN change that does not verify', () => {
  /** Signed by D1's own keys over an enciphered block of our choice. */
  function resigned(pinBlock: string, prw: string): object {
    const message = `${pinBlock}${prw}${CHANGE.counter}${CHANGE.transactionId}`.toLowerCase()
    return { pinBlock, prw, mac: retailMac(issuer.shared.pinMac, message) }
  }
  const prwOf = (pin: string) =>
    tdeaCmac(issuer.shared.prw, `0000${PAN}010${pin.length.toString(16)}${pin.padEnd(12, 'f')}${CHANGE.counter}`)

  it('is refused with one 422 ERR_PIN_CHANGE_NOT_VERIFIED whatever is wrong', async () => {
    const good = signed()
    const flip = (hex: string) => (hex.startsWith('0') ? '1' : '0') + hex.slice(1)
    const card = { pan: PAN, panSequenceNumber: '01' }
    const answers = [
      await setSeccos(good, { change: { ...CHANGE, counter: '0004' } }),
      await setSeccos(good, { change: { ...CHANGE, transactionId: '21430919092023091908' } }),
      await setSeccos(good, { card: { ...card, pan: '4000001234567898' } }),
      await setSeccos(good, { card: { ...card, panSequenceNumber: '02' } }),
      await setSeccos({ ...good, mac: flip(good.mac) }),
      await setSeccos({ ...good, prw: flip(good.prw) }),
      await setSeccos({ ...good, pinBlock: flip(good.pinBlock) }),
      await setSeccos({ ...good, mac: '0'.repeat(16) }),
      await setSeccos({ ...good, prw: good.mac, mac: good.prw }),
      // The MAC is right and the PRW is not: over another PIN, and made up.
      await setSeccos(resigned(good.pinBlock, prwOf('1235'))),
      await setSeccos(resigned(good.pinBlock, '0'.repeat(16))),
      await setSeccos(resigned(issuer.encipher('seccos-pin', '241235FFFFFFFFFF'), prwOf('1234'))),
      // What the payload says of the change differs from what the request says.
      await setSeccos({ ...good, counter: '0004' }),
      await setSeccos({ ...good, transactionId: '1' }),
      await setSeccos({ ...good, counter: '' }),
      await set('ISO0', JSON.stringify({ pinBlock: BLOCK, counter: '0004' }), { change: CHANGE }),
      await set('ISO0', JSON.stringify({ pinBlock: BLOCK, counter: '0003' })),
      await set('ISO0', JSON.stringify({ pinBlock: BLOCK, transactionId: CHANGE.transactionId })),
    ]
    expectOneAnswer(answers, 422, 'ERR_PIN_CHANGE_NOT_VERIFIED')
    expect((await setSeccos(good)).status).toBe(200)
    expect((await setSeccos(resigned(good.pinBlock, prwOf('1234')))).status).toBe(200)
  })

  it('releases neither block nor PRW nor MAC, whatever was asked for', async () => {
    const good = signed()
    const more = { issue: { prw: 'prw', mac: 'pin-mac' }, change: { ...CHANGE, counter: '0004' } }
    expectProblem(await setSeccos(good, more), 422, 'ERR_PIN_CHANGE_NOT_VERIFIED')
  })

  it('whose MAC is right and whose block does not decode is 422 ERR_PIN_BLOCK_INVALID', async () => {
    const answers = []
    for (const clear of [
      '341234FFFFFFFFFF',
      '231234FFFFFFFFFF',
      '2D1234FFFFFFFFFF',
      '24123AFFFFFFFFFF',
      '241234FFFFFFFFF0',
      '0'.repeat(16),
    ]) {
      answers.push(await setSeccos(resigned(issuer.encipher('seccos-pin', clear), prwOf('1234'))))
    }
    expectOneAnswer(answers, 422, 'ERR_PIN_BLOCK_INVALID')
  })
})

describe('after all of it', () => {
  it('the service answers a good request, and no process was replaced', async () => {
    expect((await set('ISO0', iso0('1234', PAN))).status).toBe(200)
    expectSameProcesses(issuer.service)
  })
})
