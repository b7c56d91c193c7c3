import { compactDecrypt, decodeProtectedHeader, importJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openPin, pinOfIso0Block } from '../../d1/simulator.ts'
import { openEc } from '../../support/node-jwe.ts'
import { clearBlock, expectOneAnswer, expectProblem, newPan, newPin, openIssuer, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

function get(pinBlock: string, pan: string, more: object = {}) {
  const from = { key: 'zpk-in', format: 'ISO-0' }
  return issuer.post('/v1/pin/get', { pinBlock, from, card: { pan }, recipient: issuer.recipient.kid, ...more })
}

describe('pin/get', () => {
  it('seals the clear ISO-0 block to the recipient; jose and node:crypto open it', async () => {
    const pan = newPan()
    const answer = await get(issuer.block('zpk-in', 'ISO-0', '493827', pan), pan)
    expect(answer.status).toBe(200)
    expect(Object.keys(answer.json)).toEqual(['encryptedPinBlock'])
    const { privateJwk } = issuer.recipient
    const { plaintext } = await compactDecrypt(answer.json.encryptedPinBlock, await importJWK(privateJwk, 'ECDH-ES'))
    const payload = Buffer.from(plaintext).toString()
    expect(payload).toBe(JSON.stringify({ pinBlock: clearBlock('ISO-0', '493827', pan) }))
    expect(openEc(answer.json.encryptedPinBlock, privateJwk).payload.toString()).toBe(payload)
  })

  it('has a header of exactly alg, enc, kid and epk', async () => {
    const pan = newPan()
    const { json } = await get(issuer.block('zpk-in', 'ISO-0', '1234', pan), pan)
    const header = decodeProtectedHeader(json.encryptedPinBlock) as any
    expect(Object.keys(header).sort()).toEqual(['alg', 'enc', 'epk', 'kid'])
    expect(header).toMatchObject({ alg: 'ECDH-ES', enc: 'A256GCM', kid: issuer.recipient.kid })
    expect(Object.keys(header.epk).sort()).toEqual(['crv', 'kty', 'x', 'y'])
    expect(header.epk).toMatchObject({ kty: 'EC', crv: 'P-256' })
    const [, encryptedKey, iv, , tag] = json.encryptedPinBlock
      .split('.')
      .map((part: string) => Buffer.from(part, 'base64url'))
    expect([encryptedKey.length, iv.length, tag.length]).toEqual([0, 12, 16])
  })

  it('takes a fresh ephemeral key and a fresh IV for every answer', async () => {
    const pan = newPan()
    const pinBlock = issuer.block('zpk-in', 'ISO-0', '1234', pan)
    const answers = await Promise.all(Array.from({ length: 8 }, () => get(pinBlock, pan)))
    const jwes = answers.map((answer) => answer.json.encryptedPinBlock as string)
    expect(new Set(jwes.map((jwe) => jwe.split('.')[2])).size).toBe(8)
    expect(new Set(jwes.map((jwe) => (decodeProtectedHeader(jwe) as any).epk.x)).size).toBe(8)
  })

  it('keeps every PIN of 4 to 12 digits with every PAN of 12 to 19', async () => {
    for (let pinDigits = 4; pinDigits <= 12; pinDigits++) {
      for (let panDigits = 12; panDigits <= 19; panDigits++) {
        const [pin, pan] = [newPin(pinDigits), newPan(panDigits)]
        const { json } = await get(issuer.block('zpk-in', 'ISO-0', pin, pan), pan)
        expect(await openPin(json.encryptedPinBlock, issuer.recipient.privateJwk, pan)).toBe(pin)
      }
    }
  })

  it('translates formats 1 and 3 to 0, from either zone key, in upper- or lower-case hex', async () => {
    for (const format of ['ISO-0', 'ISO-1', 'ISO-3'] as const) {
      for (const key of ['zpk-in', 'zpk-out']) {
        const [pin, pan] = [newPin(6), newPan()]
        const pinBlock = issuer.block(key, format, pin, pan)
        for (const text of [pinBlock, pinBlock.toLowerCase()]) {
          const { json } = await get(text, pan, { from: { key, format } })
          const { payload } = openEc(json.encryptedPinBlock, issuer.recipient.privateJwk)
          expect(pinOfIso0Block(JSON.parse(payload.toString()).pinBlock, pan)).toBe(pin)
        }
      }
    }
  })

  it('refuses an unknown recipient and every unfit key with one 403 ERR_KEY_USE_FORBIDDEN', async () => {
    const pan = newPan()
    const pinBlock = issuer.block('zpk-in', 'ISO-0', '1234', pan)
    const from = (key: string, format = 'ISO-0') => get(pinBlock, pan, { from: { key, format } })
    expectOneAnswer(
      [
        await get(pinBlock, pan, { recipient: 'd1-other' }),
        await get(pinBlock, pan, { recipient: 'jwe-ec' }),
        await from('zpk-none'),
        await from('seccos-pin'),
        await from('prw'),
        await from('pin-mac'),
        await from('jwe-ec'),
        await from('zpk-aes'),
        await issuer.post('/v1/pin/get', {}, { client: 'auditor' }),
      ],
      403,
      'ERR_KEY_USE_FORBIDDEN',
    )
  })

  it('refuses a SECCOS block, which carries no PAN, with 403 ERR_TRANSLATION_FORBIDDEN', async () => {
    const pan = newPan()
    const pinBlock = issuer.block('seccos-pin', 'SECCOS', '1234', pan)
    const answer = await get(pinBlock, pan, { from: { key: 'seccos-pin', format: 'SECCOS' } })
    expectProblem(answer, 403, 'ERR_TRANSLATION_FORBIDDEN')
  })

  it('refuses a block of another PAN, of another key and of no PIN with one 422 ERR_PIN_BLOCK_INVALID', async () => {
    const pan = '4000001234567899'
    expectOneAnswer(
      [
        await get(issuer.block('zpk-in', 'ISO-0', '1234', '4999999999999999'), pan),
        await get(issuer.block('zpk-out', 'ISO-0', '1234', pan), pan),
        await get(issuer.encipher('zpk-in', 'FFFFFFFFFFFFFFFF'), pan),
        await get(issuer.block('zpk-in', 'ISO-1', '1234', pan), pan),
      ],
      422,
      'ERR_PIN_BLOCK_INVALID',
    )
  })
})
