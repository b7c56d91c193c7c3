import { createPublicKey, randomBytes, verify } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, inject, it, type TestContext } from 'vitest'
import type { KeyEntry } from '../../src/config/schema.ts'
import type { PublicKey } from '../../src/hsm/hsm.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { findHandles } from '../../src/hsm/pkcs11/find-key.ts'
import { countObjects } from '../../src/hsm/pkcs11/key-objects.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { ECDSA, RSA_PKCS1 } from '../../src/hsm/pkcs11/mechanisms.ts'
import { openToken, type Token } from '../../src/hsm/pkcs11/module.ts'
import { openHsm } from '../../src/hsm/pkcs11/open-hsm.ts'
import { objectId } from '../../src/hsm/pkcs11/templates.ts'
import { checkKey } from '../../src/hsm/self-test.ts'
import { publicKeyKcv } from '../../src/key-block/kcv.ts'
import { skipOn } from '../support/skip-on.ts'
import { makeTestToken, type TestToken } from '../support/tokens.ts'

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

type Pair = Pick<KeyEntry, 'purpose' | 'algorithm'>

/** An entry of the catalogue before its key is made; the test is skipped if the token cannot serve it. */
function planned(context: TestContext, pair: Pair): KeyEntry {
  const key: KeyEntry = { ...pair, id: `pair-${++made}`, version: 1, state: 'active', kcv: '', origin: 'generated' }
  const reason = maker.whyUnavailable(key, undefined)
  if (reason !== undefined) skipOn(testToken.kind, context, reason)
  return key
}

const find = (key: KeyEntry) => maker.find([key], new KeyCatalogue([key], []))

/** Verifies by node:crypto. */
function isSignature(publicKey: PublicKey, message: Buffer, signature: Buffer): boolean {
  const key = createPublicKey({ key: { ...publicKey }, format: 'jwk' })
  return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

/** What the stored private key may do, as the token has it. */
function flagsOf(key: KeyEntry): Record<string, boolean> {
  const { lib, anchor } = token
  const [handle] = findHandles(anchor, pkcs11.CKO_PRIVATE_KEY, objectId(key, 'private'))
  const names = [
    'SIGN',
    'SIGN_RECOVER',
    'DECRYPT',
    'UNWRAP',
    'DERIVE',
    'SENSITIVE',
    'EXTRACTABLE',
    'MODIFIABLE',
  ] as const
  return Object.fromEntries(
    names.map((name) => {
      const [attribute] = lib.C_GetAttributeValue(anchor.handle, handle!, [{ type: pkcs11[`CKA_${name}`] }])
      return [name, attribute!.value[0] === 1]
    }),
  )
}

/** Whether the stored private key signs, asked of the token itself. */
function signs(key: KeyEntry): boolean {
  const { lib, anchor } = token
  const session = token.openSession()
  const [handle] = findHandles(anchor, pkcs11.CKO_PRIVATE_KEY, objectId(key, 'private'))
  try {
    lib.C_SignInit(session, key.algorithm === 'EC-P256' ? ECDSA : RSA_PKCS1, handle!)
    lib.C_Sign(session, randomBytes(32), Buffer.alloc(512))
    return true
  } catch {
    return false
  } finally {
    lib.C_CloseSession(session)
  }
}

describe('a key that signs', () => {
  it.for<[Pair['purpose'], Pair['algorithm'], number]>([
    ['transcript-sign', 'EC-P256', 64],
    ['assertion-sign', 'EC-P256', 64],
    ['tls-sign', 'EC-P256', 64],
    ['tls-sign', 'RSA-2048', 256],
  ])('for %s of %s is made, found, and signs messages of any length', async ([purpose, algorithm, bytes], context) => {
    const key = planned(context, { purpose, algorithm })
    const publicKey = await maker.generateKeyPair(key)
    const entry = { ...key, kcv: publicKeyKcv(publicKey) }
    const hsm = await find(entry)
    expect(await checkKey(hsm, entry, undefined, publicKey)).toBe(true)
    expect(flagsOf(entry)).toEqual({
      ...{ SIGN: true, SIGN_RECOVER: false, DECRYPT: false, UNWRAP: false, DERIVE: false },
      ...{ SENSITIVE: true, EXTRACTABLE: false, MODIFIABLE: false },
    })
    for (const length of [0, 1, 32, 100_000]) {
      const message = randomBytes(length)
      const signature = await hsm.sign(entry, message)
      expect(signature.length).toBe(bytes)
      expect(isSignature(publicKey, message, signature)).toBe(true)
      expect(isSignature(publicKey, Buffer.concat([message, Buffer.of(0)]), signature)).toBe(false)
    }
  })

  it('is wrong if its public half is not the one that belongs to it', async (context) => {
    const [one, other] = [{ purpose: 'tls-sign', algorithm: 'RSA-2048' } as const].flatMap((pair) => [
      planned(context, pair),
      planned(context, pair),
    ])
    const publicKey = await maker.generateKeyPair(other!)
    await maker.generateKeyPair(one!)
    const entry = { ...one!, kcv: publicKeyKcv(publicKey) }
    await expect(find(entry)).rejects.toThrow(`key ${entry.id}: its KCV is not the catalogue's`)
    // A public object that was exchanged: what is signed then is not given out.
    const { lib, anchor } = token
    for (const key of [one!, other!]) {
      const [handle] = findHandles(anchor, pkcs11.CKO_PUBLIC_KEY, objectId(key, 'private'))
      if (key === one) lib.C_DestroyObject(anchor.handle, handle!)
      else lib.C_SetAttributeValue(anchor.handle, handle!, [{ type: pkcs11.CKA_ID, value: objectId(one!, 'private') }])
    }
    const hsm = await find(entry)
    await expect(hsm.sign(entry, randomBytes(8))).rejects.toMatchObject({ detail: { reason: 'wrong-answer' } })
    expect(await checkKey(hsm, entry, undefined, publicKey)).toBe(false)
  })

  it('signs nothing if it is for something else, and does nothing else if it signs', async (context) => {
    const jwe = planned(context, { purpose: 'jwe-decrypt', algorithm: 'RSA-2048' })
    const publicKey = await maker.generateKeyPair(jwe)
    const entry = { ...jwe, kcv: publicKeyKcv(publicKey) }
    await expect((await find(entry)).sign(entry, randomBytes(8))).rejects.toMatchObject({ code: 'ERR_INTERNAL' })
    expect(signs(entry)).toBe(false)
    // By its label a key has one purpose, whatever the catalogue says.
    const repurposed = { ...entry, purpose: 'tls-sign' } as const
    await expect(find(repurposed)).rejects.toThrow('its CKA_LABEL does not name this purpose')
  })
})

describe('a key that opens data', () => {
  it.for<[Pair['algorithm']]>([['EC-P256'], ['RSA-2048']])(
    'of %s is made as one for PINs is, and is no other by its label',
    async ([algorithm], context) => {
      const key = planned(context, { purpose: 'jwe-open', algorithm })
      const alg = algorithm === 'EC-P256' ? 'ECDH-ES' : 'RSA-OAEP-256'
      const entry: KeyEntry = { ...key, alg, enc: 'A256GCM', kcv: publicKeyKcv(await maker.generateKeyPair(key)) }
      expect(await maker.proves(entry, new KeyCatalogue([entry], []))).toBe(true)
      expect(signs(entry)).toBe(false)
      expect(flagsOf(entry)).toMatchObject({ SIGN: false, SENSITIVE: true, EXTRACTABLE: false })
      for (const purpose of ['jwe-decrypt', 'assertion-sign'] as const) {
        await expect(find({ ...entry, purpose })).rejects.toThrow('its CKA_LABEL does not name this purpose')
      }
    },
  )
})

describe('a JWE key that proves its possession when it is made', () => {
  it.for<[Pair['algorithm']]>([['EC-P256'], ['RSA-2048']])(
    'of %s signs once and is stored unable to',
    async ([algorithm], context) => {
      const key = planned(context, { purpose: 'jwe-decrypt', algorithm })
      const message = randomBytes(100)
      let signature: Buffer = Buffer.alloc(0)
      const generated = maker.generateProvenKeyPair(key, async (publicKey, sign) => {
        signature = await sign(message)
        expect(isSignature(publicKey, message, signature)).toBe(true)
      })
      if (testToken.kind === 'nss') {
        // Its copies lose what marks a key that was made in it: such a key is not left there.
        await expect(generated).rejects.toThrow('must be true')
        expect(signature.length).toBeGreaterThan(0)
        expect(countObjects(token, key)).toBe(0)
        return
      }
      const publicKey = await generated
      expect(isSignature(publicKey, message, signature)).toBe(true)
      const entry = { ...key, kcv: publicKeyKcv(publicKey) }
      expect(countObjects(token, entry)).toBe(2)
      expect(signs(entry)).toBe(false)
      const [handle] = findHandles(token.anchor, pkcs11.CKO_PRIVATE_KEY, objectId(key, 'private'))
      expect(() =>
        token.lib.C_SetAttributeValue(token.anchor.handle, handle!, [{ type: pkcs11.CKA_SIGN, value: true }]),
      ).toThrow()
      await find(entry)
      await expect(maker.generateProvenKeyPair(key, () => Promise.resolve())).rejects.toThrow('in the token already')
      expect(countObjects(token, entry)).toBe(2)
    },
  )

  it('is not there if the proof fails', async (context) => {
    const key = planned(context, { purpose: 'jwe-decrypt', algorithm: 'RSA-2048' })
    const failing = maker.generateProvenKeyPair(key, () => Promise.reject(new Error('no proof')))
    await expect(failing).rejects.toThrow('no proof')
    expect(countObjects(token, key)).toBe(0)
  })
})

it('a vault is opened with keys that sign beside others, and knows which it cannot serve', async () => {
  const entry = (algorithm: KeyEntry['algorithm']): KeyEntry => ({
    ...{
      id: `pair-${++made}`,
      version: 1,
      state: 'active',
      purpose: 'tls-sign',
      algorithm,
      kcv: '',
      origin: 'generated',
    },
  })
  const [ec, rsa] = [entry('EC-P256'), entry('RSA-2048')]
  for (const key of [ec, rsa]) {
    if (maker.whyUnavailable(key, undefined) === undefined) key.kcv = publicKeyKcv(await maker.generateKeyPair(key))
    else key.kcv = '0000000000'
  }
  token.close()
  const settings = {
    sessions: 1,
    environment: 'production',
    keys: [ec, rsa],
    catalogue: new KeyCatalogue([ec, rsa], []),
  } as const
  const open = await openHsm({ address: testToken.members, ...settings }, testToken.pin)
  const hasEc = testToken.kind !== 'opencryptoki'
  expect(open.keys).toEqual(hasEc ? [ec, rsa] : [rsa])
  expect([...open.unavailable]).toEqual(
    hasEc ? [] : [[ec, { reason: 'the token has no CKM_ECDSA and no CKM_ECDSA_SHA256' }]],
  )
  const message = randomBytes(20)
  expect(isSignature(open.publicKeys.get(rsa)!, message, await open.hsm.sign(rsa, message))).toBe(true)
  open.close()
})
