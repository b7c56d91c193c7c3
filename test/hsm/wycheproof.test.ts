/** The token derives and unwraps what the published vectors say: Z with its leading zeros, and a CEK or nothing of what is no OAEP. */
import { createHash } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Calls } from '../../src/hsm/pkcs11/calls.ts'
import { deriveToVault, unwrapToVault } from '../../src/hsm/pkcs11/cek-in-vault.ts'
import { SessionPool } from '../../src/hsm/pkcs11/session-pool.ts'
import { P256_OID } from '../../src/hsm/pkcs11/templates.ts'
import { parseEphemeralKey } from '../../src/jwe/ephemeral-key.ts'
import { SecretScope } from '../../src/secret.ts'
import { ecdhTests } from '../kat/wycheproof-ecdh.ts'
import { makeHsm, type TestHsm } from '../support/hsm.ts'
import oaep from '../vectors/wycheproof-oaep.json' with { type: 'json' }

let token: TestHsm
beforeAll(async () => {
  token = await makeHsm()
})
afterAll(() => token.dispose())

const { points, jwks } = ecdhTests()
const VALID = [
  ...points
    .filter(({ result }) => result === 'valid')
    .map((test) => ({ ...test, point: Buffer.from(test.public, 'hex'), d: Buffer.from(test.private, 'hex') })),
  ...jwks
    .filter(({ result }) => result === 'valid')
    .map((test) => ({ ...test, point: parseEphemeralKey(test.public), d: Buffer.from(test.private, 'base64url') })),
]

it('derives the CEK of every valid vector', async () => {
  await token.spoil(async (opened) => {
    const { lib, anchor } = opened
    const calls = new Calls(lib, new SessionPool(opened, 1))
    for (const { tcId, point, d, shared } of VALID) {
      const privateKey = lib.C_CreateObject(anchor.handle, [
        { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
        { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_EC },
        { type: pkcs11.CKA_TOKEN, value: false },
        { type: pkcs11.CKA_PRIVATE, value: true },
        { type: pkcs11.CKA_SENSITIVE, value: true },
        { type: pkcs11.CKA_EXTRACTABLE, value: false },
        { type: pkcs11.CKA_DERIVE, value: true },
        { type: pkcs11.CKA_EC_PARAMS, value: P256_OID },
        { type: pkcs11.CKA_VALUE, value: d },
      ])
      const none = Buffer.alloc(0)
      const agreement = { ephemeralKey: point, apu: none, apv: none }
      using secrets = new SecretScope()
      const cek = await deriveToVault(calls, anchor.handle, privateKey, agreement, 'vault', secrets)
      expect([tcId, cek.toString('hex')]).toEqual([tcId, concatKdf(Buffer.from(shared, 'hex'))])
      lib.C_DestroyObject(anchor.handle, privateKey)
    }
  })
})

/** RFC 7518 section 4.6.2 with A256GCM and no party information: one round, its OtherInfo written out. */
function concatKdf(z: Buffer): string {
  const otherInfo = Buffer.from('000000074132353647434d000000000000000000000100', 'hex')
  return createHash('sha256').update(Buffer.from('00000001', 'hex')).update(z).update(otherInfo).digest('hex')
}

it('unwraps the CEK of the one valid vector that is one, and of all others a random one', async () => {
  const { privateKeyJwk: jwk, tests } = oaep.testGroups[0]!
  const value = (text: string) => Buffer.from(text, 'base64url')
  const whole = tests.filter(({ ct }) => ct.length === 512 && BigInt(`0x${ct}`) < toNumber(value(jwk.n)))
  expect(whole).toHaveLength(31)
  await token.spoil(async (opened) => {
    const { lib, anchor } = opened
    const calls = new Calls(lib, new SessionPool(opened, 1))
    const privateKey = lib.C_CreateObject(anchor.handle, [
      { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
      { type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_RSA },
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_SENSITIVE, value: true },
      { type: pkcs11.CKA_EXTRACTABLE, value: false },
      { type: pkcs11.CKA_DECRYPT, value: true },
      { type: pkcs11.CKA_MODULUS, value: value(jwk.n) },
      { type: pkcs11.CKA_PUBLIC_EXPONENT, value: value(jwk.e) },
      { type: pkcs11.CKA_PRIVATE_EXPONENT, value: value(jwk.d) },
      { type: pkcs11.CKA_PRIME_1, value: value(jwk.p) },
      { type: pkcs11.CKA_PRIME_2, value: value(jwk.q) },
      { type: pkcs11.CKA_EXPONENT_1, value: value(jwk.dp) },
      { type: pkcs11.CKA_EXPONENT_2, value: value(jwk.dq) },
      { type: pkcs11.CKA_COEFFICIENT, value: value(jwk.qi) },
    ])
    for (const { tcId, msg, ct, label, result } of whole) {
      using secrets = new SecretScope()
      const unwrap = async () =>
        (await unwrapToVault(calls, anchor.handle, privateKey, Buffer.from(ct, 'hex'), 'raw', secrets)).toString('hex')
      const [cek, again] = [await unwrap(), await unwrap()]
      const isCek = result === 'valid' && label === '' && msg.length === 64
      expect([tcId, cek === again, cek === msg]).toEqual([tcId, isCek, isCek])
    }
    lib.C_DestroyObject(anchor.handle, privateKey)
  })
})

function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`)
}
