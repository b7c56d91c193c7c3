import { randomBytes, randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { agreed } from '../../support/oracles.ts'
import { oracleDecipher, oracleDecode, oracleEncipher, oracleEncode } from '../../unit/pin/pin-block-oracle.ts'
import { expectOneAnswer, expectProblem, newPan, newPin, openIssuer, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const ZONE_FORMATS = ['ISO-0', 'ISO-1', 'ISO-3'] as const

const ISO_4 = { key: 'zpk-aes', format: 'ISO-4' } as const

function translate(pinBlock: string, from: object, to: object, pan: string) {
  return issuer.post('/v1/pin-blocks/translate', { pinBlock, from, to, card: { pan } })
}

/** A block of format 4 under zpk-aes; `filler` is what stands behind the PIN. */
function block4(pin: string, pan: string, filler = 'A'.repeat(14 - pin.length) + randomBytes(8).toString('hex')) {
  const encipher = (blockHex: string) => agreed(({ ecb }) => ecb('AES', issuer.keys['zpk-aes']!, blockHex))
  return oracleEncipher('ISO-4', encipher, oracleEncode('ISO-4', pin, pan, filler), pan)
}

/** The PIN in a block of format 4 under zpk-aes. */
function pinOf4(pinBlock: string, pan: string) {
  const decipher = (blockHex: string) =>
    agreed(({ decipherEcb }) => decipherEcb('AES', issuer.keys['zpk-aes']!, blockHex))
  return oracleDecode('ISO-4', oracleDecipher('ISO-4', decipher, pinBlock, pan), pan)
}

describe('pin-blocks/translate', () => {
  for (const from of ZONE_FORMATS) {
    for (const to of ZONE_FORMATS.filter((format) => format !== 'ISO-1' || from === 'ISO-1')) {
      it(`keeps PIN and PAN from ${from} to ${to}, from zpk-in and from zpk-out to itself`, async () => {
        for (const key of ['zpk-in', 'zpk-out']) {
          const [pin, pan] = [newPin(randomInt(4, 13)), newPan(randomInt(12, 20))]
          const pinBlock = issuer.block(key, from, pin, pan)
          for (const text of [pinBlock, pinBlock.toLowerCase()]) {
            const answer = await translate(text, { key, format: from }, { key: 'zpk-out', format: to }, pan)
            expect(answer.status).toBe(200)
            const { kcv } = issuer.service.setUp.keys.find(({ id }) => id === 'zpk-out')!
            expect(answer.json).toEqual({
              pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/),
              format: to,
              key: { id: 'zpk-out', version: 1, kcv },
            })
            expect(issuer.pinOf('zpk-out', to, answer.json.pinBlock, pan)).toBe(pin)
          }
        }
      })
    }
  }

  it.each(ZONE_FORMATS)('takes %s to format 4, every length of PIN and PAN', async (format) => {
    const { kcv } = issuer.service.setUp.keys.find(({ id }) => id === 'zpk-aes')!
    for (const [pin, pan] of cards()) {
      const pinBlock = issuer.block('zpk-in', format, pin, pan)
      const answer = await translate(pinBlock, { key: 'zpk-in', format }, ISO_4, pan)
      expect(answer.status).toBe(200)
      expect(answer.json).toEqual({
        pinBlock: expect.stringMatching(/^[0-9A-F]{32}$/),
        format: 'ISO-4',
        key: { id: 'zpk-aes', version: 1, kcv },
      })
      expect(pinOf4(answer.json.pinBlock, pan)).toBe(pin)
      expect(pinOf4(answer.json.pinBlock, newPan(pan.length))).toBeUndefined()
    }
  })

  it.each(['ISO-0', 'ISO-3'] as const)('takes format 4 to %s, every length of PIN and PAN', async (format) => {
    for (const [pin, pan] of cards()) {
      for (const text of [block4(pin, pan), block4(pin, pan).toLowerCase()]) {
        const answer = await translate(text, ISO_4, { key: 'zpk-out', format }, pan)
        expect(answer.status).toBe(200)
        expect(answer.json).toMatchObject({ pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/), format })
        expect(issuer.pinOf('zpk-out', format, answer.json.pinBlock, pan)).toBe(pin)
      }
    }
  })

  it('takes format 4 to itself with another random half', async () => {
    for (const [pin, pan] of cards()) {
      const pinBlock = block4(pin, pan)
      const answer = await translate(pinBlock, ISO_4, ISO_4, pan)
      expect(answer.status).toBe(200)
      expect(answer.json.pinBlock).not.toBe(pinBlock)
      expect(pinOf4(answer.json.pinBlock, pan)).toBe(pin)
    }
  })

  it('answers every block of format 4 that is wrong with one 422 ERR_PIN_BLOCK_INVALID', async () => {
    const pan = newPan()
    const to = { key: 'zpk-out', format: 'ISO-0' }
    const random = randomBytes(8).toString('hex')
    expectOneAnswer(
      [
        await translate(block4('1234', newPan()), ISO_4, to, pan),
        await translate(block4('1234', `${pan.slice(0, -1)}${(Number(pan.at(-1)) + 1) % 10}`), ISO_4, to, pan),
        await translate(block4('123', pan), ISO_4, to, pan),
        await translate(block4('1234567890123', pan), ISO_4, to, pan),
        await translate(block4('1234', pan, `${'A'.repeat(9)}F${random}`), ISO_4, to, pan),
        await translate(block4('1234', pan, `F${'A'.repeat(9)}${random}`), ISO_4, to, pan),
        await translate(randomBytes(16).toString('hex'), ISO_4, to, pan),
        await translate('00'.repeat(16), ISO_4, to, pan),
      ],
      422,
      'ERR_PIN_BLOCK_INVALID',
    )
  })

  it('draws fresh filler for formats 1, 3 and 4', async () => {
    for (const format of ['ISO-1', 'ISO-3', 'ISO-4']) {
      const pan = newPan()
      const pinBlock = issuer.block('zpk-in', 'ISO-1', '1234', pan)
      const key = format === 'ISO-4' ? 'zpk-aes' : 'zpk-out'
      const again = () => translate(pinBlock, { key: 'zpk-in', format: 'ISO-1' }, { key, format }, pan)
      const blocks = [await again(), await again(), await again()].map((answer) => answer.json.pinBlock)
      expect(new Set(blocks).size).toBe(3)
    }
  })

  it('takes a SECCOS block to format 4 and back, for a client that holds that grant', async () => {
    const [pin, pan] = ['271828', newPan()]
    const seccos = { key: 'seccos-pin', format: 'SECCOS' }
    const out = await translate(issuer.block('seccos-pin', 'SECCOS', pin, pan), seccos, ISO_4, pan)
    expect(pinOf4(out.json.pinBlock, pan)).toBe(pin)
    const back = await translate(out.json.pinBlock, ISO_4, seccos, pan)
    expect(issuer.pinOf('seccos-pin', 'SECCOS', back.json.pinBlock, pan)).toBe(pin)
  })

  it('takes a SECCOS block to formats 0 and 3 and back, for a client that holds that grant', async () => {
    const [pin, pan] = ['271828', newPan()]
    const seccos = { key: 'seccos-pin', format: 'SECCOS' }
    for (const format of ['ISO-0', 'ISO-3'] as const) {
      const zone = { key: 'zpk-out', format }
      const out = await translate(issuer.block('seccos-pin', 'SECCOS', pin, pan), seccos, zone, pan)
      expect(issuer.pinOf('zpk-out', format, out.json.pinBlock, pan)).toBe(pin)
      const back = await translate(out.json.pinBlock, zone, seccos, pan)
      expect(issuer.pinOf('seccos-pin', 'SECCOS', back.json.pinBlock, pan)).toBe(pin)
    }
  })

  it('refuses every way to format 1 from a format that binds a PAN, and from SECCOS: 403 ERR_TRANSLATION_FORBIDDEN', async () => {
    const pan = newPan()
    const to = { key: 'zpk-out', format: 'ISO-1' }
    const answers = [
      await translate(issuer.block('zpk-in', 'ISO-0', '1234', pan), { key: 'zpk-in', format: 'ISO-0' }, to, pan),
      await translate(issuer.block('zpk-in', 'ISO-3', '1234', pan), { key: 'zpk-in', format: 'ISO-3' }, to, pan),
      await translate(
        issuer.block('seccos-pin', 'SECCOS', '1234', pan),
        { key: 'seccos-pin', format: 'SECCOS' },
        to,
        pan,
      ),
      await translate(block4('1234', pan), ISO_4, to, pan),
    ]
    expectOneAnswer(answers, 403, 'ERR_TRANSLATION_FORBIDDEN')
  })

  it('refuses a wrong direction, an unlisted format, another purpose and an unknown key with one 403 ERR_KEY_USE_FORBIDDEN', async () => {
    const pan = newPan()
    const pinBlock = issuer.block('zpk-in', 'ISO-0', '1234', pan)
    const zpkIn = { key: 'zpk-in', format: 'ISO-0' }
    const zpkOut = { key: 'zpk-out', format: 'ISO-0' }
    const from = (key: string, format = 'ISO-0') => translate(pinBlock, { key, format }, zpkOut, pan)
    const to = (key: string, format = 'ISO-0') => translate(pinBlock, zpkIn, { key, format }, pan)
    expectOneAnswer(
      [
        await to('zpk-in'),
        await to('zpk-aes'),
        await to('zpk-out', 'ISO-4'),
        await to('zpk-none'),
        await to('prw'),
        await to('pin-mac'),
        await to('prw-aes'),
        await to('jwe-rsa'),
        await to('seccos-pin'),
        await to('zpk-out', 'SECCOS'),
        await from('zpk-none'),
        await from('zpk-aes'),
        await from('seccos-pin'),
        await from('zpk-in', 'SECCOS'),
        await translate(block4('1234', pan), { key: 'zpk-in', format: 'ISO-4' }, zpkOut, pan),
        await translate(block4('1234', pan), ISO_4, { key: 'zpk-in', format: 'ISO-0' }, pan),
        await translate(block4('1234', pan), ISO_4, { key: 'zpk-out', format: 'ISO-4' }, pan),
        await from('pin-mac-aes'),
        await from('jwe-ec'),
      ],
      403,
      'ERR_KEY_USE_FORBIDDEN',
    )
  })

  it.each([
    ['16 bytes in format 0', { pinBlock: '00'.repeat(16) }],
    ['8 bytes in format 4', { from: ISO_4 }],
    ['an odd number of hex digits', { pinBlock: '0'.repeat(15) }],
    ['no hex', { pinBlock: '0'.repeat(15) + 'G' }],
    ['a PAN of 11 digits', { card: { pan: '40000012345' } }],
    ['a PAN of 20 digits', { card: { pan: '40000012345678991234' } }],
    ['a PAN that begins with 0', { card: { pan: '0000001234567899' } }],
    ['a PAN that is a number', { card: { pan: 4000001234567899 } }],
    ['a format that does not exist', { to: { key: 'zpk-out', format: 'ISO-2' } }],
    ['a format in another case', { to: { key: 'zpk-out', format: 'iso-0' } }],
    ['an unknown member', { force: true }],
    ['an unknown member of a zone', { to: { key: 'zpk-out', format: 'ISO-0', kcv: 'C072C3' } }],
    ['no target', { to: undefined }],
  ])('refuses %s with 400 ERR_REQUEST_INVALID', async (_what, more) => {
    const pan = newPan()
    const zone = { key: 'zpk-out', format: 'ISO-0' }
    const body = {
      pinBlock: issuer.block('zpk-out', 'ISO-0', '1234', pan),
      from: zone,
      to: zone,
      card: { pan },
      ...more,
    }
    expectProblem(await issuer.post('/v1/pin-blocks/translate', body), 400, 'ERR_REQUEST_INVALID')
  })
})

/** Cards of every length of PAN, with PINs of every length. */
function cards(): [pin: string, pan: string][] {
  return Array.from({ length: 9 }, (_, i) => [newPin(4 + i), newPan(12 + (i % 8))])
}
