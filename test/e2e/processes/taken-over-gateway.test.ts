import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeJwt, type JWK } from 'jose'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { iso0Block, iso0Payload, openPin, seal, seccosPayload, type PinChange } from '../../d1/simulator.ts'
import { agreed } from '../../support/oracles.ts'
import { makeSetUp, pinbridge, temporaryFolder } from '../../support/service.ts'
import { startVaultPeer, type VaultPeer } from '../../support/vault-peer.ts'
import { cardAndPin, tdea } from './traffic.ts'

const PAN = '4123456789012345'
const PIN = '4711'
const CHANGE: PinChange = {
  pan: PAN,
  panSequenceNumber: '01',
  pin: PIN,
  counter: '0003',
  transactionId: '21430919092023091909',
}
const ISO_0_IN = { key: 'zpk-in', format: 'ISO-0' }
const ISO_0_OUT = { key: 'zpk-out', format: 'ISO-0' }

/** PIN blocks and their PANs as bytes: PANs of 20 digits in BCD, filled with 0 to the left, then the blocks. */
function pack(items: readonly { pan: string; block: string }[]): Buffer {
  const pans = items.map(({ pan }) => pan.padStart(20, '0'))
  return Buffer.from([...pans, ...items.map(({ block }) => block)].join(''), 'hex')
}

const asciiHex = (text: string): string => Buffer.from(text, 'ascii').toString('hex')

/** A frame of the bridge: its length, the JSON's length, JSON, packed bytes. */
function frame(json: string, packed: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(8)
  head.writeUInt32BE(4 + Buffer.byteLength(json) + packed.length)
  head.writeUInt32BE(Buffer.byteLength(json), 4)
  return Buffer.concat([head, Buffer.from(json), packed])
}

const folder = temporaryFolder()
let setUp: DevelopmentSetUp
const value = (id: string) => setUp.keys.find((key) => key.id === id)!.value!

beforeAll(async () => {
  setUp = await makeSetUp(folder.path, (config) => {
    config.logLevel = 'error'
    config.d1.profiles.push({ id: 'iso0-only', types: { ISO0: 'ISO0' } })
    for (const key of config.keys) {
      if (key.id === 'jwe-rsa') key.d1Profile = 'iso0-only'
      // The token's objects are the same for every use of a composed MAC, so that only the catalogue tells them apart.
      if (key.id === 'pin-mac') key.use = ['verify']
      if (key.id === 'prw-aes') key.state = 'retired'
      if (key.id === 'pin-mac-aes') key.state = 'pending'
    }
  })
})
afterAll(() => folder.dispose())

describe('a vault under a gateway that was taken over', () => {
  let vault: VaultPeer
  let ec: JWK
  let rsa: JWK
  let block: string

  beforeAll(async () => {
    vault = await startVaultPeer(setUp.config)
    ec = vault.hello.publicKeys.find(({ kid }) => kid === 'jwe-ec') as JWK
    rsa = vault.hello.publicKeys.find(({ kid }) => kid === 'jwe-rsa') as JWK
    block = tdea(value('zpk-in'), iso0Block(PIN, PAN))
  })
  afterAll(async () => {
    await vault.end()
  })

  const translate = (over: object = {}) => ({ from: ISO_0_IN, to: ISO_0_OUT, items: 1, ...over })
  const ask = (operation: unknown, body: unknown, packed = operation === 'translatePinBlocks' ? one() : undefined) =>
    vault.ask(operation, body, packed)
  /** The bytes of `translate()`. */
  const one = () => pack([{ pan: PAN, block }])
  const prw = (over: object = {}) => ({
    pinBlock: block,
    from: ISO_0_IN,
    card: { pan: PAN, panSequenceNumber: '01' },
    change: { counter: '0003' },
    key: 'prw',
    ...over,
  })
  const mac = (over: object = {}) => ({
    key: 'pin-mac',
    pinBlock: block,
    prw: '0011223344556677',
    change: { counter: '0003', transactionId: '21430919092023091909' },
    ...over,
  })
  const get = (over: object = {}) => ({
    pinBlock: block,
    from: ISO_0_IN,
    card: { pan: PAN },
    recipient: 'd1-dev',
    ...over,
  })
  const everyKey = () => setUp.keys.map(({ id }) => id)
  const set = async (over: object = {}, payload: object = iso0Payload(PIN, PAN), key = ec) => ({
    type: 'ISO0',
    encryptedPinBlock: await seal(payload, key),
    card: { pan: PAN, panSequenceNumber: '01' },
    to: ISO_0_OUT,
    jweKeys: everyKey(),
    ...over,
  })
  const seccos = () =>
    seccosPayload(CHANGE, { seccosPin: value('seccos-pin'), prw: value('prw'), pinMac: value('pin-mac') })
  const setSeccos = (over: object = {}, payload: object = seccos(), key = ec) =>
    set(
      {
        type: '3DES_SECCOS',
        change: { counter: CHANGE.counter, transactionId: CHANGE.transactionId },
        ...over,
      },
      payload,
      key,
    )

  /** A refusal is an id and a code: it releases nothing. */
  async function expectRefusal(operation: unknown, body: unknown, code: string, packed?: Buffer): Promise<void> {
    const reply = await ask(operation, body, packed)
    const { id, detail, ...rest } = reply
    expect(typeof id).toBe('number')
    expect(detail).toBeUndefined()
    expect(rest).toEqual({ code, packed: '' })
  }

  describe('does what its configuration allows', () => {
    it('translates, makes and checks PRWs, opens and seals', async () => {
      const translated = await ask('translatePinBlocks', translate())
      expect(translated.packed).toBe(tdea(value('zpk-out'), iso0Block(PIN, PAN)))
      expect(Object.keys(translated.answer).sort()).toEqual(['format', 'key', 'rejected', 'usedKeys'])
      const made = await vault.ask('generatePrw', prw())
      expect((await vault.ask('verifyPrw', prw({ prw: made.answer.prw }))).answer).toMatchObject({ verified: true })
      expect((await vault.ask('openSetPin', await set())).answer.pinBlock).toBe(translated.packed)
      expect((await vault.ask('openSetPin', await setSeccos())).answer.verified).toEqual({ prw: true, mac: true })
      const sealed = (await vault.ask('sealGetPin', get())).answer.encryptedPinBlock
      expect(await openPin(sealed, setUp.recipients[0]!.privateJwk as JWK, PAN)).toBe(PIN)
    })

    it('connects once, with the secret it was given, and tells its supervisor only that it is open', () => {
      expect(vault.connections()).toBe(1)
      expect(Object.keys(vault.hello).sort()).toEqual(['publicKeys', 'secret', 'vault'])
      expect(vault.hello.secret).toBe(vault.secret)
      expect(
        vault.hello.publicKeys.flatMap((key) => Object.keys(key)).filter((name) => /^(d|p|q|dp|dq|qi|k)$/.test(name)),
      ).toEqual([])
      expect(vault.reports).toEqual([{ type: 'opened' }])
    })
  })

  it('seals a digest with the time of its own clock, as two oracles do', async () => {
    const digest = randomBytes(32).toString('hex').toUpperCase()
    const askedMs = Date.now()
    const { answer } = await vault.ask('sealAudit', { key: 'audit-mac', digest })
    const { mac, sealedAtMs, key } = answer
    expect(key).toEqual({ id: 'audit-mac', version: 1, kcv: setUp.keys.find(({ id }) => id === 'audit-mac')!.kcv })
    expect(sealedAtMs - askedMs).toBeGreaterThanOrEqual(0)
    const message = `${asciiHex('pinbridge audit seal, version 01')}${digest}${sealedAtMs.toString(16).padStart(16, '0')}`
    expect(mac.toLowerCase()).toBe(agreed((oracle) => oracle.cmac('AES', value('audit-mac'), message)))
  })

  it("derives the limits' hash key by SP 800-108 in counter mode, as two oracles do, and the same each time", async () => {
    const block = (i: number) => `0000000${i}${asciiHex('pinbridge limit hash')}0000000100`
    const expected = [1, 2].map((i) => agreed((oracle) => oracle.cmac('AES', value('limit-hash'), block(i)))).join('')
    for (let i = 0; i < 2; i++) {
      const { packed, answer } = await vault.ask('deriveHashKey', {})
      expect(packed.toLowerCase()).toBe(expected)
      expect(answer.key.id).toBe('limit-hash')
    }
  })

  describe('refuses a key that is not for this', () => {
    const FORBIDDEN = 'ERR_KEY_USE_FORBIDDEN'
    const zone = (key: string, format = 'ISO-0') => ({ key, format })

    it.each([
      ['zpk-in, which only comes in, as output', { to: zone('zpk-in') }],
      ['a PRW key as zone key in', { from: zone('prw') }],
      ['a PRW key as zone key out', { to: zone('prw') }],
      ['a MAC key as zone key in', { from: zone('pin-mac') }],
      ['a MAC key as zone key out', { to: zone('pin-mac') }],
      ['a JWE key as zone key', { from: zone('jwe-rsa') }],
      ['the second object of a MAC key', { to: zone('pin-mac.cbc') }],
      ['the SECCOS key for ISO-0 in', { from: zone('seccos-pin') }],
      ['the SECCOS key for ISO-0 out', { to: zone('seccos-pin') }],
      ['a zone key for SECCOS in', { from: zone('zpk-in', 'SECCOS') }],
      ['a zone key for SECCOS out', { to: zone('zpk-out', 'SECCOS') }],
      ['an AES key for ISO-0', { to: zone('zpk-aes') }],
      ['a TDEA key for ISO-4', { from: zone('zpk-in', 'ISO-4') }],
      ['a key that does not exist', { from: zone('zpk-none') }],
      ['a name that every object has', { from: zone('constructor') }],
      ['a name that every object has', { from: zone('__proto__') }],
      ['a version that there is not', { from: { ...zone('zpk-in'), version: 2 } }],
      ['a version that there is not, to go out', { to: { ...zone('zpk-out'), version: 2 } }],
    ])('in a translation: %s', async (_name, over) => {
      await expectRefusal('translatePinBlocks', translate(over), FORBIDDEN)
    })

    it.each(['generatePrw', 'verifyPrw'])('in %s', async (operation) => {
      const rest = operation === 'verifyPrw' ? { prw: '0011223344556677' } : {}
      for (const key of ['pin-mac', 'zpk-out', 'zpk-in', 'seccos-pin', 'jwe-ec', 'prw-aes', 'nobody']) {
        await expectRefusal(operation, prw({ key, ...rest }), FORBIDDEN)
      }
      for (const from of [
        zone('prw'),
        zone('pin-mac'),
        zone('zpk-in', 'SECCOS'),
        zone('zpk-aes'),
        zone('seccos-pin'),
      ]) {
        await expectRefusal(operation, prw({ from, ...rest }), FORBIDDEN)
      }
    })

    it.each(['generateMac', 'verifyMac'])('in %s', async (operation) => {
      const rest = operation === 'verifyMac' ? { mac: '0011223344556677' } : {}
      // One that is pending verifies already, what others have made under it.
      const pending = operation === 'generateMac' ? ['pin-mac-aes'] : []
      for (const key of ['prw', 'zpk-out', 'zpk-in', 'seccos-pin', 'jwe-rsa', 'pin-mac.cbc', ...pending]) {
        await expectRefusal(operation, mac({ key, ...rest }), FORBIDDEN)
      }
    })

    it("the service's own keys for a caller's work, and each other's", async () => {
      for (const key of ['audit-mac', 'limit-hash']) {
        await expectRefusal('translatePinBlocks', translate({ to: zone(key) }), FORBIDDEN)
        await expectRefusal('translatePinBlocks', translate({ from: zone(key, 'ISO-4') }), FORBIDDEN)
        await expectRefusal('generatePrw', prw({ key }), FORBIDDEN)
        await expectRefusal('generateMac', mac({ key }), FORBIDDEN)
        await expectRefusal('verifyMac', mac({ key, mac: '00112233' }), FORBIDDEN)
      }
      for (const key of ['limit-hash', 'pin-mac', 'zpk-out', 'prw', 'jwe-ec', 'nobody']) {
        await expectRefusal('sealAudit', { key, digest: '0'.repeat(64) }, FORBIDDEN)
      }
      for (const body of [
        { key: 'audit-mac', digest: '0'.repeat(62) },
        { key: 'audit-mac', digest: 'z'.repeat(64) },
      ]) {
        await expectRefusal('sealAudit', body, 'ERR_REQUEST_INVALID')
      }
      await expectRefusal('deriveHashKey', { key: 'audit-mac' }, 'ERR_REQUEST_INVALID')
    })

    it('a verify-only MAC key to generate, alone and in a pin/set', async () => {
      await expectRefusal('generateMac', mac(), FORBIDDEN)
      await expectRefusal('openSetPin', await set({ issue: { mac: 'pin-mac' } }), FORBIDDEN)
      expect((await vault.ask('verifyMac', mac({ mac: '0011223344556677' }))).answer).toMatchObject({ verified: false })
    })

    it('in a pin/set', async () => {
      for (const key of ['zpk-in', 'prw', 'pin-mac', 'seccos-pin', 'jwe-ec', 'zpk-aes', 'nobody']) {
        await expectRefusal('openSetPin', await set({ to: zone(key) }), FORBIDDEN)
      }
      for (const key of ['pin-mac', 'zpk-out', 'prw-aes', 'jwe-ec']) {
        await expectRefusal('openSetPin', await set({ issue: { prw: key } }), FORBIDDEN)
      }
    })

    it('in a pin/get', async () => {
      for (const from of [zone('prw'), zone('pin-mac'), zone('seccos-pin'), zone('zpk-in', 'ISO-4'), zone('nobody')]) {
        await expectRefusal('sealGetPin', get({ from }), FORBIDDEN)
      }
      for (const recipient of ['nobody', 'jwe-ec', '__proto__']) {
        await expectRefusal('sealGetPin', get({ recipient }), FORBIDDEN)
      }
    })
  })

  describe('refuses, for D1 registration,', () => {
    const FORBIDDEN = 'ERR_KEY_USE_FORBIDDEN'
    const payload = { pan: PAN, exp: '1231' }

    it('to sign with any other key, for anybody else, or for longer than D1 takes', async () => {
      const { answer } = await ask('makeD1Assertion', { key: 'assertion' })
      expect(decodeJwt(answer.assertion)).toMatchObject({ iss: 'pinbridge1', sub: 'pinbridge1' })
      for (const { id } of setUp.keys) {
        if (id !== 'assertion') await expectRefusal('makeD1Assertion', { key: id }, FORBIDDEN)
      }
      for (const more of [{ lifetimeS: 901 }, { lifetimeS: 0 }, { iss: 'other00001' }, { kid: 'x' }, { claims: {} }]) {
        await expectRefusal('makeD1Assertion', { key: 'assertion', ...more }, 'ERR_REQUEST_INVALID')
      }
    })

    it('to seal data to whoever is sent PINs, PINs to whoever is sent data, and a PIN block as data', async () => {
      expect((await ask('sealData', { recipient: 'd1-data-dev', payload })).answer.jwe).toMatch(/^eyJ/)
      for (const recipient of ['d1-dev', 'jwe-open', 'nobody', '__proto__']) {
        await expectRefusal('sealData', { recipient, payload }, FORBIDDEN)
      }
      await expectRefusal('sealGetPin', get({ recipient: 'd1-data-dev' }), FORBIDDEN)
      for (const wrong of [{ pinBlock: block }, { ...payload, pinBlock: block }, { pan: block, exp: '1231' }, block]) {
        await expectRefusal('sealData', { recipient: 'd1-data-dev', payload: wrong }, 'ERR_REQUEST_INVALID')
      }
    })

    it('to open a PIN as data, and data as a PIN, whatever keys are said to be allowed', async () => {
      const open = async (sealed: object, key: JWK) => ({ jwe: await seal(sealed, key), openKeys: everyKey() }) as const
      await expectRefusal('openData', await open(iso0Payload(PIN, PAN), ec), 'ERR_JWE_INVALID')
      await expectRefusal('openData', await open(payload, rsa), 'ERR_JWE_INVALID')
      const openJwk = await publicJwk('jwe-open')
      const refused = await open(iso0Payload(PIN, PAN), openJwk)
      await expectRefusal('openData', refused, 'ERR_JWE_PAYLOAD_INVALID')
      await expectRefusal('openSetPin', await set({}, iso0Payload(PIN, PAN), openJwk), 'ERR_JWE_INVALID')
      await expectRefusal('openData', { ...(await open(payload, openJwk)), openKeys: [] }, 'ERR_JWE_INVALID')
      const { packed, answer } = await ask('openData', await open(payload, openJwk))
      expect([Buffer.from(packed, 'hex').toString(), answer.key.id]).toEqual([JSON.stringify(payload), 'jwe-open'])
    })

    it('to say the public key of anything but what PINs are encrypted to', () => {
      expect(vault.hello.publicKeys.map(({ kid }) => kid).sort()).toEqual(['jwe-ec', 'jwe-rsa'])
    })

    async function publicJwk(id: string): Promise<JWK> {
      return JSON.parse((await pinbridge(['keys', 'public', id, '--config', setUp.config])).stdout) as JWK
    }
  })

  describe('refuses what the policy forbids', () => {
    it.each([
      ['ISO-0', 'ISO-1'],
      ['ISO-3', 'ISO-1'],
    ])('a translation from %s to %s', async (from, to) => {
      const body = translate({ from: { key: 'zpk-in', format: from }, to: { key: 'zpk-out', format: to } })
      await expectRefusal('translatePinBlocks', body, 'ERR_TRANSLATION_FORBIDDEN')
    })

    it('SECCOS to ISO-1, SECCOS to a recipient, and SECCOS out of a pin/set', async () => {
      const from = { key: 'seccos-pin', format: 'SECCOS' }
      await expectRefusal(
        'translatePinBlocks',
        translate({ from, to: { key: 'zpk-out', format: 'ISO-1' } }),
        'ERR_TRANSLATION_FORBIDDEN',
      )
      await expectRefusal('sealGetPin', get({ from }), 'ERR_TRANSLATION_FORBIDDEN')
      await expectRefusal('openSetPin', await set({ to: from }), 'ERR_TRANSLATION_FORBIDDEN')
    })

    it('a pin/set from ISO-0 to ISO-1', async () => {
      await expectRefusal(
        'openSetPin',
        await set({ to: { key: 'zpk-out', format: 'ISO-1' } }),
        'ERR_TRANSLATION_FORBIDDEN',
      )
    })
  })

  describe("keeps its D1 profile's rules", () => {
    it('opens nothing with a type that the profile of the JWE key does not accept', async () => {
      for (const type of ['ISO-0', 'iso0', 'SECCOS', '3DES_SECCOS ', 'toString']) {
        await expectRefusal('openSetPin', await set({ type }), 'ERR_KEY_USE_FORBIDDEN')
      }
      expect((await vault.ask('openSetPin', await set({}, iso0Payload(PIN, PAN), rsa))).answer.format).toBe('ISO-0')
      await expectRefusal('openSetPin', await setSeccos({}, seccos(), rsa), 'ERR_KEY_USE_FORBIDDEN')
    })

    it('takes no SECCOS payload without its change', async () => {
      await expectRefusal('openSetPin', await setSeccos({ change: undefined }), 'ERR_REQUEST_INVALID')
      await expectRefusal('openSetPin', await setSeccos({ change: { counter: '0003' } }), 'ERR_REQUEST_INVALID')
    })

    it('verifies the change: counter, transaction id, card, PRW, MAC and block', async () => {
      const change = { counter: CHANGE.counter, transactionId: CHANGE.transactionId }
      const good = seccos()
      const flipped = (hex: string) => `${hex.slice(0, -1)}${hex.endsWith('0') ? '1' : '0'}`
      for (const body of [
        await setSeccos({ change: { ...change, counter: '0004' } }),
        await setSeccos({ change: { ...change, transactionId: '21430919092023091908' } }),
        await setSeccos({ card: { pan: '4123456789012337', panSequenceNumber: '01' } }),
        await setSeccos({ card: { pan: PAN, panSequenceNumber: '02' } }),
        await setSeccos({}, { ...good, mac: flipped(good.mac) }),
        await setSeccos({}, { ...good, prw: flipped(good.prw) }),
        await setSeccos({}, { ...good, pinBlock: flipped(good.pinBlock) }),
      ]) {
        await expectRefusal('openSetPin', body, 'ERR_PIN_CHANGE_NOT_VERIFIED')
      }
    })

    it('takes no payload under another label: SECCOS as ISO0, or stripped of its PRW or MAC', async () => {
      const { pinBlock, prw: prwValue, mac: macValue } = seccos()
      const invalid = 'ERR_JWE_PAYLOAD_INVALID'
      await expectRefusal('openSetPin', await set({}, seccos()), invalid)
      await expectRefusal('openSetPin', await set({}, { pinBlock, prw: prwValue }), invalid)
      await expectRefusal('openSetPin', await set({}, { pinBlock, mac: macValue }), invalid)
      await expectRefusal('openSetPin', await setSeccos({}, { pinBlock }), invalid)
      await expectRefusal('openSetPin', await setSeccos({}, { pinBlock, prw: prwValue }), invalid)
      await expectRefusal('openSetPin', await setSeccos({}, { pinBlock, mac: macValue }), invalid)
      // The SECCOS block alone, under the label ISO0, is no ISO-0 block.
      await expectRefusal('openSetPin', await set({}, { pinBlock }), 'ERR_PIN_BLOCK_INVALID')
    })

    it('asks for something to come of a pin/set', async () => {
      for (const over of [
        { to: undefined },
        { to: undefined, issue: {} },
        { to: undefined, issue: { prw: 'prw', mac: 'pin-mac' } },
      ]) {
        await expectRefusal('openSetPin', await set(over), 'ERR_REQUEST_INVALID')
      }
    })
  })

  describe('does not believe what a list of JWE keys says', () => {
    it('opens with a key of the list only, and answers another like an unknown one', async () => {
      await expectRefusal('openSetPin', await set({ jweKeys: [] }), 'ERR_JWE_INVALID')
      await expectRefusal('openSetPin', await set({ jweKeys: ['jwe-rsa'] }), 'ERR_JWE_INVALID')
    })

    it('opens no JWE that names a key of another purpose, whatever the list grants', async () => {
      for (const kid of ['prw', 'zpk-out', 'pin-mac', 'nobody', '__proto__']) {
        await expectRefusal('openSetPin', await set({}, iso0Payload(PIN, PAN), { ...ec, kid }), 'ERR_JWE_INVALID')
      }
    })

    it('opens no JWE that names the other JWE key, which it was not made for', async () => {
      await expectRefusal(
        'openSetPin',
        await set({}, iso0Payload(PIN, PAN), { ...ec, kid: 'jwe-rsa' }),
        'ERR_ALG_NOT_ALLOWED',
      )
      await expectRefusal(
        'openSetPin',
        await set({}, iso0Payload(PIN, PAN), { ...rsa, kid: 'jwe-ec' }),
        'ERR_ALG_NOT_ALLOWED',
      )
    })
  })

  describe('checks every request against the contract', () => {
    const INVALID = 'ERR_REQUEST_INVALID'

    it('knows no operation but its own', async () => {
      for (const operation of [
        '',
        'openSetpin',
        'toString',
        'constructor',
        '__proto__',
        'hasOwnProperty',
        'getKey',
        'C_GetAttributeValue',
      ]) {
        await expectRefusal(operation, translate(), INVALID)
      }
    })

    it('takes no body of another operation', async () => {
      await expectRefusal('generatePrw', translate(), INVALID)
      await expectRefusal('translatePinBlocks', prw(), INVALID)
      await expectRefusal('verifyPrw', prw(), INVALID)
      await expectRefusal('openSetPin', get(), INVALID)
    })

    it('takes no missing, unknown or mistyped member', async () => {
      for (const body of [undefined, null, 7, 'x', [], {}, [translate()]]) {
        await expectRefusal('translatePinBlocks', body, INVALID)
      }
      for (const items of [0, -1, 1.5, '1', [1]]) {
        await expectRefusal('translatePinBlocks', translate({ items }), INVALID)
      }
      for (const member of Object.keys(translate())) {
        await expectRefusal('translatePinBlocks', translate({ [member]: undefined }), INVALID)
        for (const wrong of [null, 7, true, {}, { length: 1 }]) {
          await expectRefusal('translatePinBlocks', translate({ [member]: wrong }), INVALID)
        }
      }
      await expectRefusal('translatePinBlocks', translate({ more: 1 }), INVALID)
      await expectRefusal('translatePinBlocks', translate({ from: { ...ISO_0_IN, more: 1 } }), INVALID)
      await expectRefusal('generatePrw', prw({ card: { pan: PAN, name: 'x' } }), INVALID)
      await expectRefusal('generatePrw', prw({ card: { pan: Number(PAN) } }), INVALID)
      await expectRefusal('generatePrw', prw({ card: { pan: `${PAN}\n` } }), INVALID)
      await expectRefusal('generateMac', mac({ pinBlock: `${block}00` }), INVALID)
      await expectRefusal('openSetPin', await set({ encryptedPinBlock: 'A'.repeat(8193) }), INVALID)
      await expectRefusal('openSetPin', await set({ jweKeys: Array(257).fill('jwe-ec') }), INVALID)
      await expectRefusal('openSetPin', await set({ jweKeys: 'jwe-ec' }), INVALID)
    })

    it('takes no member that is called __proto__', async () => {
      const text = JSON.stringify(translate()).replace('{', '{"__proto__":{"from":{"key":"zpk-in","format":"ISO-0"}},')
      for (const [id, body] of [
        [900_001, text],
        [900_002, '{"__proto__":{}}'],
      ] as const) {
        vault.write(frame(`{"id":${id},"operation":"translatePinBlocks","body":${body}}`, one()))
        await expect
          .poll(() => vault.replies.find((reply) => reply.id === id))
          .toEqual({ id, code: INVALID, packed: '' })
      }
    })

    it('takes at most 10 000 PIN blocks', async () => {
      const many = (items: number) => pack(Array<{ pan: string; block: string }>(items).fill({ pan: PAN, block }))
      await expectRefusal('translatePinBlocks', translate({ items: 10_001 }), INVALID, many(10_001))
      const { answer, packed } = await ask('translatePinBlocks', translate({ items: 10_000 }), many(10_000))
      expect(packed).toBe(tdea(value('zpk-out'), iso0Block(PIN, PAN)).repeat(10_000))
      expect(answer.rejected).toEqual([])
    })

    it('takes the bytes of its items, no fewer and no more', async () => {
      const [pan, whole] = [one().subarray(0, 10), one()]
      const two = pack(Array(2).fill({ pan: PAN, block }))
      const wide = pack([{ pan: PAN, block: block + block }])
      for (const [items, packed] of [
        [1, Buffer.alloc(0)],
        [1, pan],
        [1, whole.subarray(0, -1)],
        [1, whole.subarray(1)],
        [1, Buffer.concat([whole, Buffer.alloc(1)])],
        [1, two],
        [1, wide],
        [2, whole],
        [2, Buffer.concat([pan, pan, Buffer.from(block, 'hex')])],
        [2, two.subarray(0, -1)],
        [2, Buffer.concat([two, pan])],
        [2, wide],
        [10_000, whole],
      ] as const) {
        await expectRefusal('translatePinBlocks', translate({ items }), INVALID, packed)
        await expectRefusal('translatePinBlocks', translate({ items, checkOnly: true }), INVALID, packed)
      }
      await expectRefusal('translatePinBlocks', translate({ packed: whole.toString('hex') }), INVALID, Buffer.alloc(0))
      await expectRefusal('translatePinBlocks', translate({ pinBlocks: block, pans: [PAN] }), INVALID)
      const aes = { from: { key: 'zpk-aes', format: 'ISO-4' } }
      for (const packed of [whole, two]) await expectRefusal('translatePinBlocks', translate(aes), INVALID, packed)
    })

    it('takes PANs of 12 to 19 decimal digits, all of them or none of the batch', async () => {
      const good = { pan: PAN, block }
      for (const pan of [
        '',
        '41234567890',
        '41234567890123456789',
        '99999999999999999999',
        ...['A', 'B', 'C', 'D', 'E', 'F'].map((nibble) => `41234567890123${nibble}5`),
        'A123456789012345',
        'F'.repeat(20),
        `F000${PAN}`,
        `${PAN.slice(0, -1)}F`,
      ]) {
        const bad = { pan, block }
        await expectRefusal('translatePinBlocks', translate(), INVALID, pack([bad]))
        await expectRefusal('translatePinBlocks', translate({ checkOnly: true }), INVALID, pack([bad]))
        for (const items of [
          [bad, good, good],
          [good, bad, good],
          [good, good, bad],
        ]) {
          await expectRefusal('translatePinBlocks', translate({ items: 3 }), INVALID, pack(items))
        }
      }
      for (const pan of ['412345678901', '4123456789012345678']) {
        const clear = iso0Block(PIN, pan)
        const packed = pack([{ pan, block: tdea(value('zpk-in'), clear) }])
        expect((await ask('translatePinBlocks', translate(), packed)).packed).toBe(tdea(value('zpk-out'), clear))
      }
    })

    it('gives nothing of a block that does not decode, in a batch or alone', async () => {
      const bad = [
        { pan: PAN, block: '00'.repeat(8) },
        { pan: '4123456789099999', block },
      ]
      for (const [i, wrong] of bad.entries()) {
        const packed = pack([{ pan: PAN, block }, wrong, { pan: PAN, block }])
        const { answer, packed: blocks } = await ask('translatePinBlocks', translate({ items: 3 }), packed)
        expect([i, answer.rejected]).toEqual([i, [1]])
        const right = tdea(value('zpk-out'), iso0Block(PIN, PAN))
        expect(blocks).toBe(`${right}${'0'.repeat(16)}${right}`)
        const alone = await ask('translatePinBlocks', translate(), pack([wrong]))
        expect([alone.answer.rejected, alone.packed]).toEqual([[0], '0'.repeat(16)])
      }
      await expectRefusal('generatePrw', prw({ card: { pan: '4123456789099999' } }), 'ERR_PIN_BLOCK_INVALID')
      await expectRefusal('sealGetPin', get({ pinBlock: randomBytes(8).toString('hex') }), 'ERR_PIN_BLOCK_INVALID')
    })

    it('checks blocks by the same rules, and gives no block for it', async () => {
      const items = [
        { pan: PAN, block },
        { pan: PAN, block: '00'.repeat(8) },
      ]
      const reply = await ask('translatePinBlocks', translate({ items: 2, checkOnly: true }), pack(items))
      expect(reply.answer).toMatchObject({ format: 'ISO-0', key: { id: 'zpk-out' }, rejected: [1] })
      expect(reply.packed).toBe('0'.repeat(32))
      for (const over of [{ from: { key: 'prw', format: 'ISO-0' } }, { to: { key: 'zpk-in', format: 'ISO-0' } }]) {
        await expectRefusal('translatePinBlocks', translate({ ...over, checkOnly: true }), 'ERR_KEY_USE_FORBIDDEN')
      }
      const toIso1 = translate({ to: { key: 'zpk-out', format: 'ISO-1' }, checkOnly: true })
      await expectRefusal('translatePinBlocks', toIso1, 'ERR_TRANSLATION_FORBIDDEN')
    })

    it('makes PRWs beside blocks of a batch, for as many cards as items, by a key for it', async () => {
      const card = { panSequenceNumber: '01', counter: '0003' }
      const issued = (cards: unknown, over: object = {}) => translate({ items: 2, prw: { key: 'prw', cards, ...over } })
      const packed = pack(Array(2).fill({ pan: PAN, block }))
      for (const cards of [[], [card], [card, card, card], [card, null], [card, { ...card, more: 1 }], {}, undefined]) {
        await expectRefusal('translatePinBlocks', issued(cards), INVALID, packed)
      }
      await expectRefusal('translatePinBlocks', issued([card, card], { more: 1 }), INVALID, packed)
      for (const key of ['pin-mac', 'zpk-out', 'zpk-in', 'jwe-ec', 'prw-aes', 'nobody', '__proto__']) {
        await expectRefusal('translatePinBlocks', issued([card, card], { key }), 'ERR_KEY_USE_FORBIDDEN', packed)
      }
      const made = (await ask('generatePrw', prw())).answer.prw as string
      // The second lacks the counter, which this profile needs.
      const reply = await ask('translatePinBlocks', issued([card, { panSequenceNumber: '01' }]), packed)
      expect(reply.answer.prws).toEqual([{ value: made }, null])
      expect(reply.packed).toBe(tdea(value('zpk-out'), iso0Block(PIN, PAN)).repeat(2))
    })
  })

  it('answers each request under its own id, however many are under way and whatever the ids are', async () => {
    const asked = Array.from({ length: 500 }, (_, n) => {
      const { pan, pin } = cardAndPin(n)
      const clear = iso0Block(pin, pan)
      const packed = pack([{ pan, block: tdea(value('zpk-in'), clear) }])
      return ask('translatePinBlocks', translate(), packed).then((reply) => [
        reply.packed,
        tdea(value('zpk-out'), clear),
      ])
    })
    for (const [given, expected] of await Promise.all(asked)) expect(given).toBe(expected)
    for (const id of [-1, 0.5, 9e15, 0]) {
      vault.send({ id, operation: 'translatePinBlocks', body: translate() }, one())
      await expect.poll(() => vault.replies.find((reply) => reply.id === id)?.answer?.format).toBe('ISO-0')
    }
  })

  it('has said no PIN, no clear block and no key in all of this', () => {
    const said = JSON.stringify(vault.replies).toUpperCase()
    expect(said).not.toContain(iso0Block(PIN, PAN))
    expect(said).not.toContain('24' + PIN)
    for (const { value: secret } of setUp.keys) if (secret) expect(said).not.toContain(secret.slice(0, 16))
    expect(vault.connections()).toBe(1)
    expect(vault.process.exitCode).toBe(null)
  })
})

describe('a vault whose gateway talks nonsense', () => {
  it.each([
    ['a frame that is no JSON', frame('hello')],
    ['a frame of no bytes', Buffer.alloc(4)],
    ['a frame without JSON', frame('', Buffer.from('hello'))],
    ['JSON that ends behind its frame', Buffer.from('\0\0\0\x06\0\0\0\x03{}', 'latin1')],
    ['a frame of 2 MiB and a byte', Buffer.from('00200001', 'hex')],
    ['a frame of 4 GiB', Buffer.from('ffffffff7b7d', 'hex')],
    ['the start of an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['null', frame('null')],
    ['a message without an id', frame('{"operation":"generateMac"}')],
    ['a message without an id, and bytes behind it', frame('{"operation":"translatePinBlocks"}', randomBytes(18))],
  ])('exits and does not come back: %s', async (_name, bytes) => {
    const vault = await startVaultPeer(setUp.config)
    try {
      vault.write(bytes)
      expect(await vault.exited).toEqual({ code: 0, signal: null })
      expect(vault.replies).toEqual([])
      expect(vault.connections()).toBe(1)
    } finally {
      await vault.end()
    }
  })

  it('exits when the connection ends, in the middle of a frame too', async () => {
    const vault = await startVaultPeer(setUp.config)
    try {
      vault.write(frame('{"id":1,"operation":"generateMac"}', Buffer.alloc(100)).subarray(0, -1))
      vault.hangUp()
      expect(await vault.exited).toEqual({ code: 0, signal: null })
      expect(vault.connections()).toBe(1)
    } finally {
      await vault.end()
    }
  })

  it('exits when its supervisor is gone', async () => {
    const vault = await startVaultPeer(setUp.config)
    try {
      vault.process.disconnect()
      expect(await vault.exited).toEqual({ code: 0, signal: null })
    } finally {
      await vault.end()
    }
  })
})
