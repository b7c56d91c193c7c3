/** A PIN block that does not decode: whatever the cause and whatever the route, one answer, and nothing released. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sealEc } from '../../support/node-jwe.ts'
import type { Answer } from '../../support/service.ts'
import {
  CHANGE,
  clearBlock,
  expectOneAnswer,
  expectSameProcesses,
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
const card = { pan: PAN, panSequenceNumber: '01', expiry: '3012' }
const GOOD = clearBlock('ISO-0', '1234', PAN)

/** The good block with one nibble replaced by its exclusive or with `mask`. */
function spoilt(nibble: number, mask: number): string {
  const value = (Number.parseInt(GOOD[nibble]!, 16) ^ mask).toString(16).toUpperCase()
  return GOOD.slice(0, nibble) + value + GOOD.slice(nibble + 1)
}
/** The nibble whose PIN field digit becomes A: the PAN is added to it. */
const withDigitA = (nibble: number) => spoilt(nibble, Number('1234'[nibble - 2]) ^ 0xa)

const CLEAR: Record<string, string> = {
  ...Object.fromEntries([1, 2, 3, 4, 8, 15].map((control) => [`control nibble ${control}`, spoilt(0, control)])),
  'length 0': spoilt(1, 4),
  'length 3': spoilt(1, 4 ^ 3),
  'length 13': spoilt(1, 4 ^ 13),
  'length 15': spoilt(1, 4 ^ 15),
  'length 5 with a filler as fifth digit': spoilt(1, 4 ^ 5),
  ...Object.fromEntries([2, 3, 4, 5].map((nibble) => [`digit ${nibble - 1} is A`, withDigitA(nibble)])),
  ...Object.fromEntries(
    [6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((nibble) => [`filler nibble ${nibble} flipped`, spoilt(nibble, 1)]),
  ),
  zeros: '0'.repeat(16),
  ones: 'F'.repeat(16),
  'another PAN': clearBlock('ISO-0', '1234', '4000001234567809'),
  'another PAN, of the account number a digit less': clearBlock('ISO-0', '1234', PAN.slice(0, 15)),
  'an ISO-1 block': clearBlock('ISO-1', '1234', PAN),
  'an ISO-3 block': clearBlock('ISO-3', '1234', PAN),
  'a SECCOS block': clearBlock('SECCOS', '1234', PAN),
}

describe('ERR_PIN_BLOCK_INVALID, 422', () => {
  const answers: Answer[] = []

  it.each(Object.keys(CLEAR))('%s', async (what) => {
    const clear = CLEAR[what]!
    expect(clear).not.toBe(GOOD)
    const pinBlock = issuer.encipher('zpk-in', clear)
    const from = { key: 'zpk-in', format: 'ISO-0' }
    const encryptedPinBlock = sealEc(JSON.stringify({ pinBlock: clear }), issuer.jwk('jwe-ec')).compact
    const change = CHANGE
    const got = [
      await issuer.post('/v1/pin/set', {
        type: 'ISO0',
        encryptedPinBlock,
        card,
        to: TO,
        change,
        issue: { prw: 'prw' },
      }),
      await issuer.post('/v1/pin/get', { pinBlock, from, card, recipient: issuer.recipient.kid }),
      await issuer.post('/v1/pin-blocks/translate', { pinBlock, from, to: TO, card }),
      await issuer.post('/v1/prw/generate', { pinBlock, from, card, change, key: 'prw' }),
      await issuer.post('/v1/prw/verify', { pinBlock, from, card, change, key: 'prw', prw: '00'.repeat(8) }),
    ]
    for (const answer of got)
      expect({ status: answer.status, code: answer.json.code }).toEqual({ status: 422, code: 'ERR_PIN_BLOCK_INVALID' })
    answers.push(...got)
  })

  it('is one answer, byte for byte, for every cause and on every route', () => {
    expect(answers).toHaveLength(5 * Object.keys(CLEAR).length)
    expectOneAnswer(answers, 422, 'ERR_PIN_BLOCK_INVALID')
  })

  it('the good block, which these differ from by one thing each, is served', async () => {
    const from = { key: 'zpk-in', format: 'ISO-0' }
    const answer = await issuer.post('/v1/pin-blocks/translate', {
      pinBlock: issuer.encipher('zpk-in', GOOD),
      from,
      to: TO,
      card,
    })
    expect(answer.status).toBe(200)
    expect(issuer.pinOf('zpk-out', 'ISO-0', answer.json.pinBlock, PAN)).toBe('1234')
    expectSameProcesses(issuer.service)
  })

  it('checks the filler of ISO-3 and the control of ISO-1 too', async () => {
    const causes = [
      ['ISO-3', clearBlock('ISO-0', '1234', PAN)],
      ['ISO-3', clearBlock('ISO-1', '1234', PAN)],
      ['ISO-3', clearBlock('ISO-3', '1234', '4000001234567809')],
      ['ISO-1', clearBlock('ISO-0', '1234', PAN)],
      ['ISO-1', '131234FFFFFFFFFF'],
      ['ISO-1', '1D1234FFFFFFFFFF'],
      ['ISO-1', '1412A4FFFFFFFFFF'],
    ] as const
    const got = []
    for (const [format, clear] of causes) {
      // The fillers of ISO-3 may survive another PAN; a digit that falls below A does not, so that one is set.
      const from = { key: 'zpk-in', format }
      const sent = format === 'ISO-3' && clear.startsWith('3') ? iso3WithFiller(9) : clear
      got.push(
        await issuer.post('/v1/pin-blocks/translate', {
          pinBlock: issuer.encipher('zpk-in', sent),
          from,
          to: TO,
          card,
        }),
      )
    }
    expectOneAnswer(got, 422, 'ERR_PIN_BLOCK_INVALID')
  })

  /** An ISO-3 block whose last filler nibble is below A. */
  function iso3WithFiller(filler: number): string {
    const panField = BigInt(`0x${PAN.slice(3, 15)}`)
    return (BigInt(`0x341234AAAAAAAAA${filler}`) ^ panField).toString(16).toUpperCase()
  }
})
