/** Credential keys of each token: what signs, what wraps, and a pair that leaves once, wrapped. */
import { createCipheriv, createDecipheriv, createPrivateKey, createPublicKey, randomBytes, verify } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, inject, it, type TestContext } from 'vitest'
import type { KeyEntry } from '../../src/config/schema.ts'
import type { PublicKey } from '../../src/hsm/hsm.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { findHandles } from '../../src/hsm/pkcs11/find-key.ts'
import { countObjects } from '../../src/hsm/pkcs11/key-objects.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken, type Token } from '../../src/hsm/pkcs11/module.ts'
import { readKeyObjects } from '../../src/hsm/pkcs11/read-key-objects.ts'
import { objectId } from '../../src/hsm/pkcs11/templates.ts'
import { checkKey, computeCheck, computeKcv } from '../../src/hsm/self-test.ts'
import { publicKeyKcv } from '../../src/key-block/kcv.ts'
import { skipOn } from '../support/skip-on.ts'
import { makeTestToken, type TestToken } from '../support/tokens.ts'

const WRAPPING_KEY = Buffer.from('c0ffee00112233445566778899aabbccddeeff0102030405060708090a0b0c0d', 'hex')
const KNOWN_KEY = Buffer.from('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', 'hex')
const RFC_5649_IV = Buffer.from('a65959a6', 'hex')

let testToken: TestToken
let token: Token
let maker: KeyMaker
let made = 0

beforeAll(async () => {
  testToken = await makeTestToken(inject('token'))
  Object.assign(process.env, testToken.members.environment)
  token = openToken(testToken.members, testToken.pin)
  maker = await KeyMaker.open(token, 'production')
})
afterAll(async () => {
  token.close()
  await testToken.dispose()
})

type Kind = Pick<KeyEntry, 'purpose' | 'algorithm'> & Partial<KeyEntry>

/** An entry of the catalogue before its key is made; the test is skipped if the token cannot serve it. */
function planned(context: TestContext, kind: Kind): KeyEntry {
  const key: KeyEntry = {
    ...{ id: `credential-${++made}`, version: 1, state: 'active', kcv: '', origin: 'generated' },
    ...kind,
  }
  const reason = maker.whyUnavailable(key, undefined)
  if (reason !== undefined) skipOn(testToken.kind, context, reason)
  return key
}

const find = (key: KeyEntry) => maker.find([key], new KeyCatalogue([key], []))
const flagsOf = (key: KeyEntry) => readKeyObjects(token, key).find(({ kind }) => kind !== 'public')!.flags

function isSignature(publicKey: PublicKey, message: Buffer, signature: Buffer): boolean {
  const key = createPublicKey({ key: { ...publicKey }, format: 'jwk' })
  const hash = publicKey.kty === 'OKP' ? null : 'sha256'
  return verify(hash, message, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** A key that wraps, of a known value. */
function importWrapper(context: TestContext): KeyEntry {
  const key = planned(context, { purpose: 'credential-wrap', algorithm: 'AES-256', origin: 'imported' })
  maker.importSecretKey(key, undefined, WRAPPING_KEY)
  return key
}

function unwrap(wrapped: Buffer): Buffer {
  const decipher = createDecipheriv('id-aes256-wrap-pad', WRAPPING_KEY, RFC_5649_IV)
  return Buffer.concat([decipher.update(wrapped), decipher.final()])
}

describe('a credential-sign key', () => {
  it.for<[KeyEntry['algorithm']]>([['EC-P256'], ['Ed25519']])(
    'of %s is made in the token, found, and signs messages of any length',
    async ([algorithm], context) => {
      const key = planned(context, { purpose: 'credential-sign', algorithm })
      const publicKey = await maker.generateKeyPair(key)
      const entry = { ...key, kcv: publicKeyKcv(publicKey) }
      const hsm = await find(entry)
      expect(await checkKey(hsm, entry, undefined, publicKey)).toBe(true)
      expect(flagsOf(entry)).toMatchObject({
        ...{ CKA_SIGN: true, CKA_DECRYPT: false, CKA_UNWRAP: false, CKA_DERIVE: false },
        ...{ CKA_SENSITIVE: true, CKA_EXTRACTABLE: false, CKA_MODIFIABLE: false },
      })
      for (const length of [1, 32, 300, 100_000]) {
        const message = randomBytes(length)
        const signature = await hsm.sign(entry, message)
        expect(signature.length).toBe(64)
        expect(isSignature(publicKey, message, signature)).toBe(true)
        expect(isSignature(publicKey, Buffer.concat([message, Buffer.of(0)]), signature)).toBe(false)
      }
      // By its label it is for this, and for nothing else that signs.
      const repurposed = { ...entry, purpose: 'transcript-sign' } as const
      await expect(find(repurposed)).rejects.toThrow('its CKA_LABEL does not name this purpose')
    },
  )

  it('is another one if its public half is', async (context) => {
    const kind = { purpose: 'credential-sign', algorithm: 'Ed25519' } as const
    const [one, other] = [planned(context, kind), planned(context, kind)]
    await maker.generateKeyPair(one)
    const publicKey = await maker.generateKeyPair(other)
    await expect(find({ ...one, kcv: publicKeyKcv(publicKey) })).rejects.toThrow("its KCV is not the catalogue's")
  })
})

describe('a credential-wrap key', () => {
  it('wraps as RFC 5649 says, which is its known answer, and does nothing else', async (context) => {
    const key = importWrapper(context)
    const cipher = createCipheriv('id-aes256-wrap-pad', WRAPPING_KEY, RFC_5649_IV)
    const expected = Buffer.concat([cipher.update(KNOWN_KEY), cipher.final()])
    const hsm = await find(key)
    expect(await hsm.wrapKnownKey(key)).toEqual(expected)
    const check = await computeCheck(hsm, key, undefined)
    expect(check).toBe(expected.subarray(0, 16).toString('hex').toUpperCase())
    expect(await computeKcv(hsm, key, undefined)).toBeUndefined()
    expect(await checkKey(hsm, { ...key, check: check! }, undefined, undefined)).toBe(false)
    const entry = { ...key, check: check! }
    expect(await checkKey(await find(entry), entry, undefined, undefined)).toBe(true)
    const wrong = { ...key, check: check!.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')) }
    expect(await checkKey(await find(wrong), wrong, undefined, undefined)).toBe(false)
    expect(flagsOf(key)).toMatchObject({
      ...{ CKA_WRAP: true, CKA_UNWRAP: false, CKA_ENCRYPT: false, CKA_DECRYPT: false, CKA_SIGN: false },
      ...{ CKA_DERIVE: false, CKA_SENSITIVE: true, CKA_EXTRACTABLE: false, CKA_MODIFIABLE: false },
    })
  })

  it('is generated with a KCV though it can encipher nothing afterwards', async (context) => {
    const key = planned(context, { purpose: 'credential-wrap', algorithm: 'AES-256', exportable: true })
    const { kcv } = await maker.generateSecretKey(key, undefined)
    expect(kcv).toMatch(/^[0-9A-F]{10}$/)
    expect(flagsOf(key)).toMatchObject({ CKA_WRAP: true, CKA_ENCRYPT: false, CKA_EXTRACTABLE: true })
  })
})

describe('a pair that can be recovered', () => {
  const KIND = { purpose: 'credential-sign', algorithm: 'EC-P256', origin: 'imported' } as const

  it('leaves once, under the key that wraps, and is stored unable to', async (context) => {
    const wrapper = importWrapper(context)
    const key = planned(context, KIND)
    let wrapped: Buffer = Buffer.alloc(0)
    const message = randomBytes(40)
    const publicKey = await maker.generateRecoverablePair(key, wrapper, async (lent, sign, bytes) => {
      wrapped = bytes
      expect(isSignature(lent, message, await sign(message))).toBe(true)
    })
    const privateKey = createPrivateKey({ key: unwrap(wrapped), format: 'der', type: 'pkcs8' })
    expect(createPublicKey(privateKey).export({ format: 'jwk' })).toEqual(publicKey)
    const entry = { ...key, kcv: publicKeyKcv(publicKey) }
    expect(countObjects(token, entry)).toBe(2)
    expect(await maker.proves(entry, new KeyCatalogue([entry], []))).toBe(true)
    expect(flagsOf(entry)).toMatchObject({ CKA_SIGN: true, CKA_EXTRACTABLE: false, CKA_MODIFIABLE: false })
    // A key that has been outside is none that never was.
    const claimed = { ...entry, origin: 'generated' } as const
    await expect(find(claimed)).rejects.toThrow(/must be true|does not tell a key made in it/)
    const { lib, anchor } = token
    const [handle] = findHandles(anchor, pkcs11.CKO_PRIVATE_KEY, objectId(key, 'private'))
    expect(() =>
      lib.C_SetAttributeValue(anchor.handle, handle!, [{ type: pkcs11.CKA_EXTRACTABLE, value: true }]),
    ).toThrow()
    if (testToken.kind === 'nss') return
    // NSS wraps what may not leave as well.
    const [wrapping] = findHandles(anchor, pkcs11.CKO_SECRET_KEY, objectId(wrapper, 'secret'))
    expect(() =>
      lib.C_WrapKey(anchor.handle, { mechanism: pkcs11.CKM_AES_KEY_WRAP_PAD }, wrapping!, handle!, Buffer.alloc(1024)),
    ).toThrow('CKR_KEY_UNEXTRACTABLE')
  })

  it('is not there if what it is lent to fails, or if the token does not wrap it', async (context) => {
    const wrapper = importWrapper(context)
    const key = planned(context, KIND)
    const failing = maker.generateRecoverablePair(key, wrapper, () => Promise.reject(new Error('no registration')))
    await expect(failing).rejects.toThrow('no registration')
    expect(countObjects(token, key)).toBe(0)
    const edwards: KeyEntry = { ...key, algorithm: 'Ed25519' }
    if (maker.whyUnavailable(edwards, undefined) !== undefined) return
    // SoftHSM signs with such a key, and does not wrap it.
    const unwrapped = maker.generateRecoverablePair(edwards, wrapper, () => Promise.resolve())
    await expect(unwrapped).rejects.toThrow('CKR_KEY_NOT_WRAPPABLE')
    expect(countObjects(token, edwards)).toBe(0)
  })
})
