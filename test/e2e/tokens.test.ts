/** The whole service on each token: every route once, held against the oracles, and what doctor and readyz say of it. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest'
import { jwtVerify } from 'jose'
import { openPin } from '../d1/simulator.ts'
import { bytesCanary, findCanaries, textCanary } from '../support/canaries.ts'
import { bytesNeedles, pinNeedles, scanMemory, summary, type Needle } from '../support/memory.ts'
import { flipBit, openEc, sealTo } from '../support/node-jwe.ts'
import { agreed } from '../support/oracles.ts'
import { pinbridge } from '../support/service.ts'
import { skipOn } from '../support/skip-on.ts'
import { makeTestToken, TOKEN_KINDS, type TestToken } from '../support/tokens.ts'
import { oracleDecipher, oracleDecode } from '../unit/pin/pin-block-oracle.ts'
import { CHANGE, clearBlock, iso0, newPan, newPin, openIssuer, TO, type Issuer } from './routes/issuer.ts'

const LEAK_ROUNDS = 6
const IDLE_MS = 500
const IN = { key: 'zpk-in', format: 'ISO-0' } as const

describe.each(TOKEN_KINDS)('the service on %s', (kind) => {
  let token: TestToken
  let issuer: Issuer
  beforeAll(async () => {
    token = await makeTestToken(kind)
    issuer = await openIssuer((config) => {
      config.hsm.vaults = 2
    }, token)
  })
  afterAll(async () => {
    await issuer.close()
    await token.dispose()
  })

  const kcvOf = (id: string) => issuer.service.setUp.keys.find((key) => key.id === id)!.kcv
  const keyRef = (id: string) => ({ id, version: 1, kcv: kcvOf(id) })
  const ok = async (answer: ReturnType<Issuer['post']>) => {
    const { status, json } = await answer
    expect([status, json?.code]).toEqual([200, undefined])
    return json
  }
  /** Skips a test where `init` has left a key out. */
  const needs = (context: TestContext, id: string) => {
    if (!issuer.service.setUp.keys.some((key) => key.id === id)) skipOn(kind, context, `it cannot hold ${id}`)
  }
  const aCard = () => ({ pan: newPan(), panSequenceNumber: '04', expiry: '3106' })
  /** The other party's cipher under zpk-aes. */
  const aes = (create: typeof createCipheriv | typeof createDecipheriv) => (blockHex: string) => {
    const cipher = create('aes-256-ecb', Buffer.from(issuer.keys['zpk-aes']!, 'hex'), null).setAutoPadding(false)
    return cipher.update(blockHex, 'hex', 'hex') + cipher.final('hex')
  }

  it('is ready, with every vault', async () => {
    const { status, json } = await issuer.service.manage('/readyz')
    expect([status, json.ready, json.vaults.length]).toEqual([200, true, 2])
  })

  it('has the keys that init made, and publishes the public ones', async () => {
    const { keys } = (await issuer.service.call('GET', '/v1/keys')).json
    const made = issuer.service.setUp.keys
    expect(keys.map(({ id, kcv }: any) => [id, kcv])).toEqual(made.map(({ id, kcv }) => [id, kcv]))
    const jwks = (await issuer.service.call('GET', '/v1/jwks')).json.keys
    const jweKeys = made.filter(({ purpose }) => purpose === 'jwe-decrypt')
    expect(jwks.map(({ kid }: any) => kid).sort()).toEqual(jweKeys.map(({ id }) => id).sort())
  })

  it.for(['jwe-ec', 'jwe-rsa'] as const)('opens a PIN that is set with a JWE for %s', async (kid, context) => {
    needs(context, kid)
    const [pin, card] = [newPin(6), aCard()]
    const { compact } = sealTo(iso0(pin, card.pan), issuer.jwk(kid))
    const set = { type: 'ISO0', card, to: TO }
    const json = await ok(issuer.post('/v1/pin/set', { ...set, encryptedPinBlock: compact }))
    expect(json).toMatchObject({ format: 'ISO-0', key: keyRef('zpk-out') })
    expect(issuer.pinOf('zpk-out', 'ISO-0', json.pinBlock, card.pan)).toBe(pin)
    const tampered = flipBit(compact, 4)
    const refused = await issuer.post('/v1/pin/set', { ...set, encryptedPinBlock: tampered })
    expect([refused.status, refused.json.code]).toEqual([422, 'ERR_JWE_DECRYPTION_FAILED'])
  })

  it('verifies MAC and PRW of a SECCOS change, and refuses one of another counter', async (context) => {
    for (const id of ['seccos-pin', 'prw', 'pin-mac']) needs(context, id)
    const kid = issuer.service.setUp.keys.some(({ id }) => id === 'jwe-ec') ? 'jwe-ec' : 'jwe-rsa'
    const [pin, pan] = [newPin(5), newPan()]
    const payload = issuer.seccos({ pan, panSequenceNumber: '01', pin, ...CHANGE })
    const body = {
      type: '3DES_SECCOS',
      encryptedPinBlock: sealTo(JSON.stringify(payload), issuer.jwk(kid)).compact,
      card: { pan, panSequenceNumber: '01' },
      change: CHANGE,
      to: TO,
      issue: { prw: 'prw', mac: 'pin-mac' },
    }
    const wrong = await issuer.post('/v1/pin/set', { ...body, change: { ...CHANGE, counter: '0004' } })
    expect([wrong.status, wrong.json.code]).toEqual([422, 'ERR_PIN_CHANGE_NOT_VERIFIED'])
    const json = await ok(issuer.post('/v1/pin/set', body))
    expect(issuer.pinOf('zpk-out', 'ISO-0', json.pinBlock, pan)).toBe(pin)
    expect(json).toMatchObject({ verified: { prw: true, mac: true }, prw: { value: payload.prw } })
    const message = `${json.pinBlock}${json.prw.value}0003${CHANGE.transactionId}`.toLowerCase()
    expect(json.mac.value).toBe(agreed((oracle) => oracle.retailMac(issuer.keys['pin-mac']!, message, 2)).toUpperCase())
  })

  it('signs an assertion that jose verifies with the public half', async (context) => {
    needs(context, 'assertion')
    const { stdout } = await pinbridge(['keys', 'public', 'assertion', '--config', issuer.service.setUp.config])
    const { assertion, key } = await ok(issuer.post('/v1/d1/assertion', { key: 'assertion' }))
    expect(key).toEqual(keyRef('assertion'))
    const options = { issuer: 'pinbridge1', subject: 'pinbridge1', algorithms: ['ES256'] }
    expect((await jwtVerify(assertion, JSON.parse(stdout), options)).protectedHeader.kid).toBe('assertion')
  })

  it('opens data of D1, and refuses what was tampered with', async (context) => {
    needs(context, 'jwe-open')
    const { stdout } = await pinbridge(['keys', 'public', 'jwe-open', '--config', issuer.service.setUp.config])
    const { compact } = sealTo('{"pan":"4000001234567899","exp":"1231"}', JSON.parse(stdout))
    const opened = await ok(issuer.post('/v1/jwe/open', { jwe: compact }))
    expect(opened).toEqual({ payload: { pan: '4000001234567899', exp: '1231' }, key: keyRef('jwe-open') })
    const refused = await issuer.post('/v1/jwe/open', { jwe: flipBit(compact, 4) })
    expect([refused.status, refused.json.code]).toEqual([422, 'ERR_JWE_DECRYPTION_FAILED'])
  })

  it('seals a PIN for a recipient', async () => {
    const [pin, pan] = [newPin(7), newPan()]
    const pinBlock = issuer.block('zpk-in', 'ISO-0', pin, pan)
    const body = { pinBlock, from: IN, card: { pan }, recipient: issuer.recipient.kid }
    const { encryptedPinBlock } = await ok(issuer.post('/v1/pin/get', body))
    expect(await openPin(encryptedPinBlock, issuer.recipient.privateJwk, pan)).toBe(pin)
  })

  it('translates a PIN block to TDEA and to AES and back, and refuses one of another PAN', async () => {
    const [pin, pan] = [newPin(8), newPan()]
    const pinBlock = issuer.block('zpk-in', 'ISO-0', pin, pan)
    const translate = (body: object) => issuer.post('/v1/pin-blocks/translate', { card: { pan }, ...body })
    const iso3 = await ok(translate({ pinBlock, from: IN, to: { key: 'zpk-out', format: 'ISO-3' } }))
    expect(iso3).toMatchObject({ format: 'ISO-3', key: keyRef('zpk-out') })
    expect(issuer.pinOf('zpk-out', 'ISO-3', iso3.pinBlock, pan)).toBe(pin)
    const iso4 = await ok(translate({ pinBlock, from: IN, to: { key: 'zpk-aes', format: 'ISO-4' } }))
    const clear = oracleDecipher('ISO-4', aes(createDecipheriv), iso4.pinBlock, pan)
    expect(oracleDecode('ISO-4', clear, pan)).toBe(pin)
    const back = await ok(translate({ pinBlock: iso4.pinBlock, from: { key: 'zpk-aes', format: 'ISO-4' }, to: TO }))
    expect(issuer.pinOf('zpk-out', 'ISO-0', back.pinBlock, pan)).toBe(pin)
    const refused = await translate({ pinBlock, from: IN, to: TO, card: { pan: newPan() } })
    expect([refused.status, refused.json.code]).toEqual([422, 'ERR_PIN_BLOCK_INVALID'])
  })

  it('translates a batch', async () => {
    const rows = Array.from({ length: 300 }, (_, n) => ({ id: String(n), pin: newPin(), pan: newPan() }))
    const items = rows.map(({ id, pin, pan }) => ({
      id,
      pinBlock: n13(id) ? issuer.encipher('zpk-in', `F${newPin(15)}`) : issuer.block('zpk-in', 'ISO-0', pin, pan),
      card: { pan },
    }))
    const json = await ok(issuer.post('/v1/pin-blocks/translate-batch', { from: IN, to: TO, items }))
    const pins = json.items.map(({ pinBlock, code }: any, i: number) =>
      code === undefined ? issuer.pinOf('zpk-out', 'ISO-0', pinBlock, rows[i]!.pan) : code,
    )
    expect(pins).toEqual(rows.map(({ id, pin }) => (n13(id) ? 'ERR_PIN_BLOCK_INVALID' : pin)))
  })

  it.for(['prw', 'prw-aes'])('makes and verifies a PRW with %s', async (key, context) => {
    needs(context, key)
    const [pin, card] = [newPin(5), aCard()]
    const pinBlock = issuer.block('zpk-in', 'ISO-0', pin, card.pan)
    const change = key === 'prw' ? { change: { counter: '0003' } } : {}
    const body = { pinBlock, from: IN, card, key, ...change }
    const { prw, randomNumber } = await ok(issuer.post('/v1/prw/generate', body))
    const pinField = `05${pin.padEnd(12, 'f')}`
    const message = `${card.pan.padStart(20, '0')}04${key === 'prw' ? `${pinField}0003` : `3106${pinField}${randomNumber}`}`
    const cipher = key === 'prw' ? 'TDEA' : 'AES'
    expect(prw).toBe(agreed((oracle) => oracle.cmac(cipher, issuer.keys[key]!, message.toLowerCase())).toUpperCase())
    const check = { ...body, prw, ...(key === 'prw-aes' && { randomNumber }) }
    expect(await ok(issuer.post('/v1/prw/verify', check))).toEqual({ verified: true })
    const otherPin = `${pin.slice(0, 4)}${pin.endsWith('0') ? 1 : 0}`
    const other = issuer.block('zpk-in', 'ISO-0', otherPin, card.pan)
    expect(await ok(issuer.post('/v1/prw/verify', { ...check, pinBlock: other }))).toEqual({ verified: false })
  })

  it.for(['pin-mac', 'pin-mac-aes'])('makes and verifies a MAC with %s', async (key, context) => {
    needs(context, key)
    const seccos = { pinBlock: '0123456789ABCDEF', prw: '922E58D245FCDBB5', change: CHANGE }
    const dk = { pinBlock: '00112233445566778899AABBCCDDEEFF', card: { pan: newPan(), panSequenceNumber: '01' } }
    const body = { key, ...(key === 'pin-mac' ? seccos : dk) }
    const { mac } = await ok(issuer.post('/v1/mac/generate', body))
    const value = issuer.keys[key]!
    const expected =
      key === 'pin-mac'
        ? agreed(({ retailMac }) =>
            retailMac(value, `${seccos.pinBlock}${seccos.prw}0003${CHANGE.transactionId}`.toLowerCase(), 2),
          )
        : agreed(({ cmac }) => cmac('AES', value, `${dk.pinBlock}01`.toLowerCase())).slice(0, 16)
    expect(mac).toBe(expected.toUpperCase())
    expect(await ok(issuer.post('/v1/mac/verify', { ...body, mac }))).toEqual({ verified: true })
    const wrong = `${mac.startsWith('0') ? '1' : '0'}${mac.slice(1)}`
    expect(await ok(issuer.post('/v1/mac/verify', { ...body, mac: wrong }))).toEqual({ verified: false })
  })

  it('leaves no secret in its log, in the gateway, or in a vault that is idle', async () => {
    const canaries = [textCanary('HSM PIN', token.pin)]
    const needles: Needle[] = [{ what: 'HSM PIN', bytes: Buffer.from(token.pin) }]
    for (const [id, value] of Object.entries(issuer.keys)) {
      canaries.push(bytesCanary(id, Buffer.from(value, 'hex')))
      needles.push(...bytesNeedles(id, Buffer.from(value, 'hex')))
    }
    const ofKeys = needles.length
    const note = (what: string, bytes: Buffer) => {
      canaries.push(bytesCanary(what, bytes))
      needles.push(...bytesNeedles(what, bytes))
    }
    const kids = (['jwe-ec', 'jwe-rsa'] as const).filter((id) => issuer.service.setUp.keys.some((key) => key.id === id))
    for (let n = 0; n < LEAK_ROUNDS; n++) {
      const [pin, card, kid] = [newPin(12), aCard(), kids[n % kids.length]!]
      const block = clearBlock('ISO-0', pin, card.pan)
      const made = sealTo(JSON.stringify({ pinBlock: block }), issuer.jwk(kid))
      const set = { type: 'ISO0', encryptedPinBlock: made.compact, card, to: TO }
      const { pinBlock } = await ok(issuer.post('/v1/pin/set', set))
      const get = { pinBlock, from: TO, card, recipient: issuer.recipient.kid }
      const { encryptedPinBlock } = await ok(issuer.post('/v1/pin/get', get))
      const to = { key: 'zpk-aes', format: 'ISO-4' }
      await ok(issuer.post('/v1/pin-blocks/translate', { pinBlock, from: TO, to, card }))
      note('clear block', Buffer.from(block, 'hex'))
      for (const cek of [made.cek, openEc(encryptedPinBlock, issuer.recipient.privateJwk).cek]) note('CEK', cek)
      needles.push(...pinNeedles('PIN', pin))
    }
    await sleep(IDLE_MS)
    expect(findCanaries(issuer.service.output(), canaries)).toEqual([])
    const { gateway, vaults } = issuer.service.ready
    expect(summary(scanMemory(gateway, needles).findings)).toEqual({})
    // Of the keys, a token in software holds the values in the vault's memory.
    for (const vault of vaults) expect(summary(scanMemory(vault, needles.slice(ofKeys)).findings)).toEqual({})
  })

  it('is found right by doctor, beside the vaults that run', async () => {
    const { code, stdout } = await pinbridge(['doctor', '--config', issuer.service.setUp.config])
    const lines = stdout.trimEnd().split('\n')
    expect([code, lines.filter((line) => line.startsWith('wrong'))]).toEqual([0, []])
    for (const { id } of issuer.service.setUp.keys) {
      expect(lines.filter((line) => new RegExp(`^ok +(?:key )?${id} `).test(line))).toHaveLength(1)
    }
  })

  it('was served by the vaults that it started with', async () => {
    const { json } = await issuer.service.manage('/readyz')
    expect(json.vaults).toHaveLength(2)
    for (const pid of issuer.service.ready.vaults) expect(() => process.kill(pid, 0)).not.toThrow()
  })
})

/** Every 13th row of the batch is no PIN block. */
function n13(id: string): boolean {
  return Number(id) % 13 === 0
}
