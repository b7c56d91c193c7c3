import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import pkcs11 from 'pkcs11js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig, profilesOf } from '../../src/config/config.ts'
import type { Config, KeyEntry } from '../../src/config/schema.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { Calls } from '../../src/hsm/pkcs11/calls.ts'
import { keepsCek } from '../../src/hsm/pkcs11/cek-in-token.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { RSA_OAEP_256 } from '../../src/hsm/pkcs11/mechanisms.ts'
import { openToken } from '../../src/hsm/pkcs11/module.ts'
import { openHsm, type OpenHsm } from '../../src/hsm/pkcs11/open-hsm.ts'
import { SessionPool } from '../../src/hsm/pkcs11/session-pool.ts'
import { UNWRAPPED_CEK_TEMPLATE } from '../../src/hsm/pkcs11/templates.ts'
import { opensOwnJwe, wrapCek } from '../../src/hsm/self-test.ts'
import { SHIPPED_PROFILES } from '../../src/pin-change/shipped-profiles.ts'
import { SecretScope } from '../../src/secret.ts'
import { agreed } from '../support/oracles.ts'
import { makeSetUp, temporaryFolder } from '../support/service.ts'
import { Shim, SHIM_RETAIL_MAC } from '../support/shim.ts'
import { makeTestToken, TOKEN_KINDS, type TestToken, type TokenKind } from '../support/tokens.ts'

interface Made {
  readonly token: TestToken
  readonly config: Config
  readonly value: (id: string) => string
  readonly open: () => Promise<OpenHsm>
  readonly dispose: () => Promise<void>
}

/** A token with the development keys; `shim` may stand before it, once they are made. */
async function make(kind: TokenKind, shim?: Shim): Promise<Made> {
  const token = await makeTestToken(kind)
  const folder = temporaryFolder()
  const setUp = await makeSetUp(folder.path, (config) => shim?.insert(config.hsm), token)
  const config = loadConfig(setUp.config)
  const address = config.hsm.tokens[0]!
  Object.assign(process.env, address.environment)
  return {
    token,
    config,
    value: (id) => setUp.keys.find((key) => key.id === id)!.value!,
    open: () => {
      const catalogue = new KeyCatalogue(config.keys, profilesOf(config))
      const { environment, keys } = config
      return openHsm({ address, sessions: 2, environment, keys, catalogue }, token.pin)
    },
    dispose: async () => {
      await token.dispose()
      folder.dispose()
    },
  }
}

/** What the token's page in native-config says that a vault logs. */
function documented(kind: TokenKind): object {
  const page = readFileSync(new URL(`../../native-config/${kind}/README.md`, import.meta.url), 'utf8')
  return JSON.parse(`{${/`("oaep256":[^`]*)`/.exec(page)![1]!}}`) as object
}

describe.each(TOKEN_KINDS)('on %s the self-test', (kind) => {
  let made: Made
  beforeAll(async () => {
    made = await make(kind)
  })
  afterAll(() => made.dispose())

  it('chooses what native-config says, and every key made for it serves', async () => {
    const open = await made.open()
    const { rsa, ecdh, cipher, ...choices } = open.choices
    expect(choices).toEqual(documented(kind))
    for (const mode of [rsa, ecdh, cipher]) expect(['sync', 'async']).toContain(mode)
    expect([...open.unavailable]).toEqual([])
    expect(open.keys).toHaveLength(made.config.keys.length)
    open.close()
  })

  it('believes that a CEK stays in the token only where its attributes read back so', () => {
    const address = made.config.hsm.tokens[0]!
    const token = openToken(address, made.token.pin)
    const { lib, anchor } = token
    const pair = lib.C_GenerateKeyPair(
      anchor.handle,
      { mechanism: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN },
      [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_MODULUS_BITS, value: 2048 },
        { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.from('010001', 'hex') },
      ],
      [
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_UNWRAP, value: true },
      ],
    )
    const n = lib.C_GetAttributeValue(anchor.handle, pair.publicKey, [{ type: pkcs11.CKA_MODULUS }])[0]!.value
    const wrapped = wrapCek({ kty: 'RSA', n: n.toString('base64url'), e: 'AQAB' }, randomBytes(32))
    const kept = (): boolean | string => {
      try {
        const cek = lib.C_UnwrapKey(anchor.handle, RSA_OAEP_256, pair.privateKey, wrapped, UNWRAPPED_CEK_TEMPLATE)
        return keepsCek(new Calls(lib, new SessionPool(token, 1)), anchor.handle, cek)
      } catch (error) {
        return (error as Error).message
      }
    }
    const expected = {
      softhsm: 'CKR_ARGUMENTS_BAD',
      'p11-kit': 'CKR_ARGUMENTS_BAD',
      nss: true,
      // It gives the value to whoever asks, whatever the template says.
      opencryptoki: false,
    }
    expect(kept()).toBe(expected[kind])
    token.close()
  })
})

describe('a CEK that NSS keeps', () => {
  const CALLED = [
    'C_UnwrapKey',
    'C_GetAttributeValue',
    'C_DecryptInit',
    'C_Decrypt',
    'C_DestroyObject',
    'C_GetSessionInfo',
  ]

  it('takes as many calls where it does not unwrap, or is short, as where the tag is wrong', async () => {
    const folder = temporaryFolder()
    const shim = new Shim(folder.path)
    const made = await make('nss', shim)
    const open = await made.open()
    try {
      expect(open.choices['oaep256']).toBe('kept')
      const key = open.keys.find(({ id }) => id === 'jwe-rsa')!
      const count = () => CALLED.reduce((calls, name) => calls + shim.calls(name as 'C_Decrypt'), 0)
      const calls: number[] = []
      for (const fault of ['tag', 'wrapping', 'short-cek'] as const) {
        const before = count()
        // The adapter itself: the known answer that confirms a refusal is the same for each.
        expect(await opensOwnJwe(open.adapter, key, open.publicKeys.get(key)!, fault)).toBe(false)
        calls.push(count() - before)
      }
      expect(calls[0]).toBeGreaterThan(4)
      expect(calls).toEqual([calls[0], calls[0], calls[0]])
    } finally {
      open.close()
      await made.dispose()
      shim.close()
      folder.dispose()
    }
  })
})

describe('with more or less than SoftHSM has', () => {
  const folder = temporaryFolder()
  const shim = new Shim(folder.path)
  let made: Made
  beforeAll(async () => {
    made = await make('softhsm', shim)
  })
  afterEach(() => shim.clear())
  afterAll(async () => {
    await made.dispose()
    shim.close()
    folder.dispose()
  })
  const key = (id: string): KeyEntry => made.config.keys.find((one) => one.id === id)!
  const reasons = ({ unavailable }: OpenHsm) =>
    Object.fromEntries([...unavailable].map(([{ id }, { reason }]) => [id, reason]))

  it('the Concat KDF and the CEK stay in the token where it has CKD_SHA256_KDF_SP800', async () => {
    shim.addCapabilities('sp800Kdf')
    const open = await made.open()
    expect(open.choices['ecdhEs']).toBe('kept')
    const publicKey = open.publicKeys.get(key('jwe-ec'))!
    const before = open.token.anchor.find().length
    for (let n = 0; n < 10; n++) expect(await opensOwnJwe(open.hsm, key('jwe-ec'), publicKey)).toBe(true)
    expect(await opensOwnJwe(open.hsm, key('jwe-ec'), publicKey, 'tag')).toBe(false)
    expect(open.token.anchor.find().length).toBe(before)
    open.close()
  })

  it('the Concat KDF is in the token and the CEK in the vault where it has no AES-GCM beside it', async () => {
    shim.addCapabilities('sp800Kdf')
    shim.hideMechanisms(pkcs11.CKM_AES_GCM)
    const open = await made.open()
    expect(open.choices['ecdhEs']).toBe('derived-there')
    expect(await opensOwnJwe(open.hsm, key('jwe-ec'), open.publicKeys.get(key('jwe-ec'))!)).toBe(true)
    open.close()
  })

  it('a retail MAC mechanism of the vendor is used for a key that was made for it, and only where the configuration names it', async () => {
    shim.addCapabilities('retailMac')
    const address = { ...made.config.hsm.tokens[0]!, retailMacMechanism: SHIM_RETAIL_MAC }
    const entry: KeyEntry = { ...key('pin-mac'), id: 'native-mac', use: ['generate'] }
    const profile = SHIPPED_PROFILES.find(({ algorithm }) => algorithm === 'ISO-9797-1-ALG-3')
    const value = made.value('pin-mac')
    const token = openToken(address, made.token.pin)
    const maker = await KeyMaker.open(token, 'development', SHIM_RETAIL_MAC)
    maker.importSecretKey(entry, profile, Buffer.from(value, 'hex'))
    token.close()

    const keys = [...made.config.keys, entry]
    const catalogue = new KeyCatalogue(keys, profilesOf(made.config))
    const settings = { sessions: 2, environment: 'development' as const, keys, catalogue }
    const open = await openHsm({ ...settings, address }, made.token.pin)
    expect(open.choices['retailMac']).toBe('native')
    for (const length of [1, 7, 8, 28, 100]) {
      const message = randomBytes(length)
      const expected = agreed((oracle) => oracle.retailMac(value, message.toString('hex'), 2))
      // The key of two objects, made when the token had no such mechanism, goes on serving.
      for (const one of [entry, key('pin-mac')]) {
        expect((await open.hsm.generateMac(one, 'ISO-9797-1-ALG-3', message)).toString('hex')).toBe(expected)
      }
    }
    open.close()

    const unnamed = await openHsm({ ...settings, address: made.config.hsm.tokens[0]! }, made.token.pin)
    expect([unnamed.choices['retailMac'], Object.keys(reasons(unnamed))]).toEqual(['composed', ['native-mac']])
    unnamed.close()
  })

  it('keys are unavailable, by name and reason, where the token lacks their mechanism, and the others serve', async () => {
    shim.hideMechanisms(pkcs11.CKM_AES_ECB, pkcs11.CKM_ECDH1_DERIVE, pkcs11.CKM_DES3_CMAC)
    const open = await made.open()
    expect(reasons(open)).toEqual({
      'jwe-ec': 'the token has no CKM_ECDH1_DERIVE',
      'jwe-open': 'the token has no CKM_ECDH1_DERIVE',
      'zpk-aes': 'the token has no CKM_AES_ECB',
      prw: 'it was made to be used by a mechanism, and the token has no CKM_DES3_CMAC',
    })
    expect([...open.publicKeys.keys()].map(({ id }) => id)).toEqual(['jwe-rsa', 'assertion'])
    const catalogue = new KeyCatalogue(made.config.keys, profilesOf(made.config))
    catalogue.learnPublicKeys(open.publicKeys)
    catalogue.learnUnavailable(open.unavailable)
    const code = (use: () => unknown) => {
      try {
        use()
        return 'none'
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect(code(() => catalogue.zoneKey({ key: 'zpk-aes', format: 'ISO-4' }, 'in'))).toBe('ERR_HSM_UNAVAILABLE')
    expect(code(() => catalogue.zoneKey({ key: 'zpk-aes', format: 'ISO-0' }, 'in'))).toBe('ERR_KEY_USE_FORBIDDEN')
    expect(code(() => catalogue.generatingKey('prw', 'prw'))).toBe('ERR_HSM_UNAVAILABLE')
    expect(code(() => catalogue.generatingKey('prw-aes', 'prw'))).toBe('none')
    expect(code(() => catalogue.expectAvailable(catalogue.jweKey('jwe-ec', 'jwe-decrypt')!))).toBe(
      'ERR_HSM_UNAVAILABLE',
    )
    expect(code(() => catalogue.expectAvailable(catalogue.jweKey('jwe-rsa', 'jwe-decrypt')!))).toBe('none')
    open.close()
  })

  it('a token that cannot serve every key is refused where every key is needed', async () => {
    shim.hideMechanisms(pkcs11.CKM_AES_ECB)
    const { environment, keys } = made.config
    const catalogue = new KeyCatalogue(keys, profilesOf(made.config))
    const address = made.config.hsm.tokens[0]!
    const settings = { address, sessions: 2, environment, keys, catalogue, allKeysNeeded: true }
    await expect(openHsm(settings, made.token.pin)).rejects.toMatchObject({
      reason: 'keys-unusable',
      problems: ['key zpk-aes: this token cannot serve it: the token has no CKM_AES_ECB'],
    })
  })

  it.each(['C_Sign', 'C_Encrypt', 'C_Decrypt', 'C_DeriveKey'] as const)(
    'a token whose %s errs is refused, and no key is unavailable for it',
    async (name) => {
      for (const kind of ['flip', 'return'] as const) {
        if (name === 'C_DeriveKey' && kind === 'flip') continue
        const fault = shim.inject({ function: name, kind, value: kind === 'flip' ? 0 : 0x05 })
        await expect(made.open()).rejects.toMatchObject({ reason: 'self-test-failed' })
        fault.end()
      }
      const open = await made.open()
      expect(open.unavailable.size).toBe(0)
      open.close()
    },
  )

  it('blocks are chained one by one where CBC does not get through', async () => {
    shim.hideMechanisms(pkcs11.CKM_DES3_CBC, pkcs11.CKM_AES_CBC)
    const open = await made.open()
    expect(open.can.chaining).toEqual({ TDEA: 'ecb', AES: 'ecb' })
    const message = randomBytes(29)
    expect((await open.hsm.generateMac(key('pin-mac'), 'ISO-9797-1-ALG-3', message)).toString('hex')).toBe(
      agreed((oracle) => oracle.retailMac(made.value('pin-mac'), message.toString('hex'), 2)),
    )
    open.close()
  })

  it.each([
    ['flip', -1],
    ['constant', 0],
    ['stale', 0],
  ] as const)(
    'a call that answers wrongly (%s) is ERR_HSM_UNAVAILABLE, and nothing of it leaves',
    async (kind, value) => {
      const open = await made.open()
      using secrets = new SecretScope()
      const blocks = randomBytes(16)
      const refused = { code: 'ERR_HSM_UNAVAILABLE', detail: { reason: 'wrong-answer' } }
      for (const [name, call] of [
        ['C_Encrypt', () => open.hsm.encipherBlocks(key('zpk-out'), blocks)],
        ['C_Decrypt', () => open.hsm.decipherBlocks(key('zpk-in'), blocks, secrets)],
        // Its two calls are of different lengths, so that none is answered with the other's.
        ...(kind === 'stale'
          ? []
          : [['C_Encrypt', () => open.hsm.generateMac(key('pin-mac'), 'ISO-9797-1-ALG-3', blocks)] as const]),
        ['C_Sign', () => open.hsm.generateMac(key('prw'), 'TDEA-CMAC', blocks)],
      ] as const) {
        await call()
        await call()
        const fault = shim.inject({ function: name, kind, value })
        // The first call after it is what the next one gets.
        if (kind === 'stale') await call().catch(() => undefined)
        await expect(call(), name).rejects.toMatchObject(refused)
        fault.end()
        await call()
      }
      open.close()
    },
  )

  it('a chain that begins wrongly is ERR_HSM_UNAVAILABLE, though the call after it is right', async () => {
    const open = await made.open()
    const fault = shim.inject({ function: 'C_Encrypt', kind: 'flip', value: 0, times: 1 })
    await expect(open.hsm.generateMac(key('pin-mac'), 'ISO-9797-1-ALG-3', randomBytes(16))).rejects.toMatchObject({
      detail: { reason: 'wrong-answer' },
    })
    expect(fault.hits()).toBe(1)
    open.close()
  })

  it('a "no" is not believed of a key that does not give its known answer after it', async () => {
    const open = await made.open()
    const publicKey = open.publicKeys.get(key('jwe-rsa'))!
    const prw = key('prw')
    const mac = randomBytes(8)
    expect(await opensOwnJwe(open.hsm, key('jwe-rsa'), publicKey, 'tag')).toBe(false)
    expect(await open.hsm.verifyMac(prw, 'TDEA-CMAC', Buffer.from('x'), mac)).toBe(false)
    // A raw RSA result with a bit changed is a CEK that does not unwrap, of a JWE that is good.
    const fault = shim.inject({ function: 'C_Decrypt', kind: 'flip', value: -1 })
    await expect(opensOwnJwe(open.hsm, key('jwe-rsa'), publicKey)).rejects.toMatchObject({
      code: 'ERR_HSM_UNAVAILABLE',
    })
    fault.end()
    expect(await opensOwnJwe(open.hsm, key('jwe-rsa'), publicKey)).toBe(true)
    open.close()
  })

  it.each([0x05, 0x06, 0x20, 0x21, 0x30, 0x40, 0x54, 0x70, 0x82, 0x8000_0001])(
    'CKR 0x%s of a block cipher or a MAC is ERR_HSM_UNAVAILABLE',
    async (value) => {
      const open = await made.open()
      for (const name of ['C_Encrypt', 'C_SignInit'] as const) {
        const fault = shim.inject({ function: name, kind: 'return', value })
        const call =
          name === 'C_Encrypt'
            ? open.hsm.encipherBlocks(key('zpk-out'), randomBytes(8))
            : open.hsm.generateMac(key('prw-aes'), 'AES-CMAC', randomBytes(8))
        await expect(call).rejects.toMatchObject({ name: 'ServiceError', code: 'ERR_HSM_UNAVAILABLE' })
        fault.end()
      }
      open.close()
    },
  )
})
