import { createHash, createECDH } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pkcs11, { type ECDH1, type Handle, type PKCS11, type Template } from 'pkcs11js'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { findSoftHsm } from '../../src/cli/development/make-token.ts'
import { ORACLES } from '../support/oracles.ts'
import { temporaryFolder } from '../support/service.ts'
import { Shim, SHIM_RETAIL_MAC, type Fault } from '../support/shim.ts'

const PIN = '40817263'
const P256 = Buffer.from('06082a8648ce3d030107', 'hex')
const SP800_KDF = 0x0e

/** What every test of a failure rests on: that the module in between hands calls on, and spoils the ones it is told to. */
describe('the shim before SoftHSM', () => {
  const folder = temporaryFolder()
  const shim = new Shim(folder.path)
  const inject = (fault: Fault) => shim.inject(fault)
  let lib: PKCS11
  let slot: Handle
  let session: Handle
  let key: Handle

  beforeAll(() => {
    const tokens = join(folder.path, 'token')
    mkdirSync(tokens)
    const config = join(folder.path, 'softhsm2.conf')
    writeFileSync(config, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`)
    process.env['SOFTHSM2_CONF'] = config
    execFileSync('softhsm2-util', ['--init-token', '--free', '--label', 'shim', '--so-pin', PIN, '--pin', PIN])
    Object.assign(process.env, shim.environment(findSoftHsm()!))
    lib = new pkcs11.PKCS11()
    lib.load(shim.module)
    lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
    slot = lib.C_GetSlotList(true)[0]!
  })
  afterEach(() => shim.clear())
  afterAll(() => {
    lib.C_Finalize()
    shim.close()
    folder.dispose()
  })

  const logIn = () => {
    session = lib.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION)
    lib.C_Login(session, pkcs11.CKU_USER, PIN)
  }
  const KEY = '0123456789abcdeffedcba9876543210'
  const importKey = (usage: number, more: Template = []): Handle =>
    lib.C_CreateObject(session, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_DES2 },
      { type: pkcs11.CKA_VALUE, value: Buffer.from(KEY, 'hex') },
      { type: usage, value: true },
      ...more,
    ])
  const encrypt = (blocks = '00'.repeat(16)): string => {
    lib.C_EncryptInit(session, { mechanism: pkcs11.CKM_DES3_ECB }, key)
    return lib.C_Encrypt(session, Buffer.from(blocks, 'hex'), Buffer.alloc(blocks.length / 2)).toString('hex')
  }
  const oracle = ORACLES[0]!
  const right = oracle.ecb('TDEA', KEY, '00'.repeat(16))

  it('hands calls on, and counts them', () => {
    logIn()
    key = importKey(pkcs11.CKA_ENCRYPT)
    expect(encrypt()).toBe(right)
    expect(shim.calls('C_Encrypt')).toBe(1)
    expect(shim.calls('C_Login')).toBe(1)
    expect(shim.calls('C_Sign')).toBe(0)
  })

  it('returns a CKR once, each n-th time or always, and to one process', () => {
    const once = inject({ function: 'C_Encrypt', kind: 'return', value: 0x30, times: 1 })
    expect(encrypt).toThrow('CKR_DEVICE_ERROR')
    expect(() => lib.C_Encrypt(session, Buffer.alloc(8), Buffer.alloc(8))).not.toThrow()
    expect(once.hits()).toBe(1)
    once.end()
    inject({ function: 'C_EncryptInit', kind: 'return', value: 0x30, process: process.pid + 1 })
    const third = inject({ function: 'C_EncryptInit', kind: 'return', value: 0x05, every: 3 })
    const results = Array.from({ length: 6 }, () => {
      try {
        return encrypt()
      } catch (error) {
        return (error as Error).message
      }
    })
    expect(results).toEqual([right, right, 'CKR_GENERAL_ERROR', right, right, 'CKR_GENERAL_ERROR'])
    expect(third.hits()).toBe(2)
  })

  it('makes calls slow', () => {
    inject({ function: 'C_Encrypt', kind: 'delay', value: 30_000, process: process.pid })
    const started = performance.now()
    expect(encrypt()).toBe(right)
    expect(performance.now() - started).toBeGreaterThan(29)
  })

  it('spoils an output: a bit of any byte, all of it, its length, or one answer behind', () => {
    const first = inject({ function: 'C_Encrypt', kind: 'flip', value: 0, times: 1 })
    expect(Buffer.from(encrypt(), 'hex')[0]).toBe(Buffer.from(right, 'hex')[0]! ^ 1)
    first.end()
    const last = inject({ function: 'C_Encrypt', kind: 'flip', value: -1, times: 1 })
    expect(Buffer.from(encrypt(), 'hex')[15]).toBe(Buffer.from(right, 'hex')[15]! ^ 1)
    last.end()
    const short = inject({ function: 'C_Encrypt', kind: 'shorten', value: 8 })
    expect(encrypt()).toBe(right.slice(0, 16))
    short.end()
    const random = inject({ function: 'C_GenerateRandom', kind: 'constant', value: 0xaa })
    expect(lib.C_GenerateRandom(session, Buffer.alloc(8)).toString('hex')).toBe('aa'.repeat(8))
    random.end()
    inject({ function: 'C_Encrypt', kind: 'stale' })
    expect(encrypt()).toBe(right)
    expect(encrypt('11'.repeat(16))).toBe(right)
    expect(encrypt()).toBe(oracle.ecb('TDEA', KEY, '11'.repeat(16)))
  })

  it('closes sessions, logs out and destroys a key for real', () => {
    const closed = inject({ function: 'C_Encrypt', kind: 'close-sessions', times: 1 })
    expect(encrypt).toThrow('CKR_SESSION_HANDLE_INVALID')
    closed.end()
    logIn()
    const privateKey: Template = [{ type: pkcs11.CKA_PRIVATE, value: true }]
    key = importKey(pkcs11.CKA_ENCRYPT, privateKey)
    const loggedOut = inject({ function: 'C_EncryptInit', kind: 'log-out', times: 1 })
    expect(encrypt).toThrow(/CKR_(OBJECT|KEY)_HANDLE_INVALID/)
    loggedOut.end()
    lib.C_Login(session, pkcs11.CKU_USER, PIN)
    key = importKey(pkcs11.CKA_ENCRYPT, [...privateKey, { type: pkcs11.CKA_TOKEN, value: true }])
    expect(encrypt()).toBe(right)
    inject({ function: 'C_EncryptInit', kind: 'destroy-key', times: 1 })
    expect(encrypt).toThrow(/CKR_(OBJECT|KEY)_HANDLE_INVALID/)
    key = importKey(pkcs11.CKA_ENCRYPT, privateKey)
  })

  it('shows token flags, and takes a mechanism away', () => {
    expect(lib.C_GetTokenInfo(slot).flags & pkcs11.CKF_USER_PIN_FINAL_TRY).toBe(0)
    shim.setTokenFlags(pkcs11.CKF_USER_PIN_FINAL_TRY)
    expect(lib.C_GetTokenInfo(slot).flags & pkcs11.CKF_USER_PIN_FINAL_TRY).not.toBe(0)
    expect(lib.C_GetMechanismList(slot)).toContain(pkcs11.CKM_DES3_ECB)
    shim.hideMechanisms(pkcs11.CKM_DES3_ECB)
    expect(lib.C_GetMechanismList(slot)).not.toContain(pkcs11.CKM_DES3_ECB)
    expect(() => lib.C_GetMechanismInfo(slot, pkcs11.CKM_DES3_ECB)).toThrow('CKR_MECHANISM_INVALID')
    expect(encrypt).toThrow('CKR_MECHANISM_INVALID')
    shim.hideMechanisms()
    expect(encrypt()).toBe(right)
  })

  it('derives with the KDF of SP 800-56A what the hash of counter, Z and OtherInfo is', () => {
    const { privateKey } = lib.C_GenerateKeyPair(
      session,
      { mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN },
      [{ type: pkcs11.CKA_EC_PARAMS, value: P256 }],
      [{ type: pkcs11.CKA_DERIVE, value: true }],
    )
    const [point] = lib.C_GetAttributeValue(session, publicOf(session), [{ type: pkcs11.CKA_EC_POINT }])
    const peer = createECDH('prime256v1')
    const publicData = peer.generateKeys()
    const z = peer.computeSecret(point!.value.subarray(2))
    const sharedData = Buffer.from('\0\0\0\x07A256GCM\0\0\0\0\0\0\0\0\0\0\x01\0', 'latin1')
    const parameter: ECDH1 = { type: pkcs11.CK_PARAMS_EC_DH, kdf: SP800_KDF, publicData, sharedData }
    const derive = () =>
      lib.C_DeriveKey(session, { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter }, privateKey, [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_SECRET_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_AES },
        { type: pkcs11.CKA_VALUE_LEN, value: 32 },
        { type: pkcs11.CKA_SENSITIVE, value: false },
        { type: pkcs11.CKA_EXTRACTABLE, value: true },
      ])
    expect(derive).toThrow()
    shim.addCapabilities('sp800Kdf')
    const [cek] = lib.C_GetAttributeValue(session, derive(), [{ type: pkcs11.CKA_VALUE }])
    const expected = createHash('sha256')
      .update(Buffer.from([0, 0, 0, 1]))
      .update(z)
      .update(sharedData)
      .digest()
    expect(cek!.value.toString('hex')).toBe(expected.toString('hex'))
  })

  function publicOf(from: Handle): Handle {
    lib.C_FindObjectsInit(from, [{ type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PUBLIC_KEY }])
    const [found] = lib.C_FindObjects(from, 1)
    lib.C_FindObjectsFinal(from)
    return found!
  }

  it.each([0, 8, 16, 40])('makes the retail MAC of %d bytes by one mechanism and one key', (bytes) => {
    const message = Buffer.alloc(bytes, 0x5a)
    const sign = (signKey: Handle) => {
      lib.C_SignInit(session, { mechanism: SHIM_RETAIL_MAC }, signKey)
      return lib.C_Sign(session, message, Buffer.alloc(8)).toString('hex')
    }
    expect(() => sign(importKey(pkcs11.CKA_SIGN))).toThrow('CKR_MECHANISM_INVALID')
    shim.addCapabilities('retailMac')
    expect(lib.C_GetMechanismList(slot)).toContain(SHIM_RETAIL_MAC)
    const retailKey = importKey(pkcs11.CKA_SIGN, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_ID, value: Buffer.from(`retail-${bytes}`) },
    ])
    const expected = oracle.retailMac(KEY, message.toString('hex'), 1)
    expect(sign(retailKey)).toBe(expected)
    // And so it is for a process that did not import it.
    lib.C_Finalize()
    lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK })
    logIn()
    lib.C_FindObjectsInit(session, [{ type: pkcs11.CKA_ID, value: Buffer.from(`retail-${bytes}`) }])
    const [found] = lib.C_FindObjects(session, 1)
    lib.C_FindObjectsFinal(session)
    expect(sign(found!)).toBe(expected)
  })
})
