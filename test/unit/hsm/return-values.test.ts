import { describe, expect, it } from 'vitest'
import { isLacking, mayRefuseData, toServiceError } from '../../../src/hsm/pkcs11/return-values.ts'

/** An error as the binding throws it. */
const ckr = (code: number, name = 'CKR_X') => Object.assign(new Error(name), { code, method: 'C_Decrypt' })

describe('a return value', () => {
  it.each([
    ['a full token', 0x02, 'ERR_HSM_BUSY', false],
    ['a full token', 0x31, 'ERR_HSM_BUSY', false],
    ['no session left', 0xb1, 'ERR_HSM_BUSY', false],
    ['a device error', 0x30, 'ERR_HSM_UNAVAILABLE', false],
    ['a key that is gone', 0x60, 'ERR_HSM_UNAVAILABLE', false],
    ['an object that is gone', 0x82, 'ERR_HSM_UNAVAILABLE', false],
    ['a session that is gone', 0xb3, 'ERR_HSM_UNAVAILABLE', false],
    ['a lost login', 0x101, 'ERR_HSM_UNAVAILABLE', false],
    ['a lost library', 0x190, 'ERR_HSM_UNAVAILABLE', false],
    ['a lacking mechanism', 0x70, 'ERR_HSM_UNAVAILABLE', false],
    ['SoftHSM on a bad ciphertext', 0x05, 'ERR_HSM_UNAVAILABLE', true],
    ['openCryptoki on a bad ciphertext', 0x06, 'ERR_HSM_UNAVAILABLE', true],
    ['NSS on a bad ciphertext', 0x40, 'ERR_HSM_UNAVAILABLE', true],
    ['NSS on a bad wrapped key', 0x110, 'ERR_HSM_UNAVAILABLE', true],
    ['a bad tag by version 3.0', 0x35, 'ERR_HSM_UNAVAILABLE', true],
    ["a vendor's own", 0x8000_0001, 'ERR_HSM_UNAVAILABLE', true],
  ] as const)('%s, 0x%s, is %s; that data may be at fault: %s', (_name, code, expected, mayRefuse) => {
    expect(toServiceError(ckr(code))).toMatchObject({ code: expected, detail: { ckr: 'CKR_X', method: 'C_Decrypt' } })
    expect(mayRefuseData(ckr(code))).toBe(mayRefuse)
  })

  it('says what the token lacks, before and after it was classified', () => {
    expect([0x07, 0x54, 0x70, 0x71].every((code) => isLacking(ckr(code)))).toBe(true)
    expect([0x05, 0x06, 0x30, 0x82, 0x40].some((code) => isLacking(ckr(code)))).toBe(false)
    expect(isLacking(toServiceError(ckr(0x70, 'CKR_MECHANISM_INVALID')))).toBe(true)
    expect(isLacking(toServiceError(ckr(0x05, 'CKR_GENERAL_ERROR')))).toBe(false)
  })

  it('of an error that carries none is ERR_INTERNAL, and its text goes no further', () => {
    const error = toServiceError(new TypeError('PIN 1234'))
    expect(JSON.stringify([error.code, error.message, error.detail, error.cause])).not.toContain('1234')
    expect([error.code, mayRefuseData(error)]).toEqual(['ERR_INTERNAL', false])
  })
})
