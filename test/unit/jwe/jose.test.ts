/** jose is the independent party: what it encrypts we open, what we seal it opens, and what is tampered nobody opens. */
import { generateKeyPairSync } from 'node:crypto'
import { CompactEncrypt, compactDecrypt, decodeProtectedHeader, importJWK, type CompactJWEHeaderParameters } from 'jose'
import { describe, expect, it } from 'vitest'
import { parseEphemeralKey } from '../../../src/jwe/ephemeral-key.ts'
import { sealEcdhEs, sealRsaOaep256 } from '../../../src/jwe/seal.ts'
import { SecretScope } from '../../../src/secret.ts'
import { expectCode } from './expect-code.ts'
import { EcRecipient, encodeHeader, RsaRecipient } from './software-recipient.ts'
import { WatchedScope } from './watched-scope.ts'

const PAYLOAD = Buffer.from('{"pinBlock":"0412345678901234"}')
const EC = new EcRecipient()
const RSA = new RsaRecipient()
const EC_HEADER = { alg: 'ECDH-ES', enc: 'A256GCM', kid: EC.kid } as const
const RSA_HEADER = { alg: 'RSA-OAEP-256', enc: 'A256GCM', kid: RSA.kid } as const

async function joseEncrypt(
  header: CompactJWEHeaderParameters,
  parties: { apu?: Buffer; apv?: Buffer } = {},
): Promise<string> {
  const sealing = new CompactEncrypt(PAYLOAD).setProtectedHeader(header)
  if (header.alg !== 'ECDH-ES') return sealing.encrypt(RSA.publicKey)
  return sealing.setKeyManagementParameters(parties).encrypt(await importJWK(EC.jwk, 'ECDH-ES'))
}

describe('what jose encrypts', () => {
  it('opens with ECDH-ES', async () => {
    using secrets = new SecretScope()
    expect(EC.open(await joseEncrypt(EC_HEADER), secrets)).toEqual(PAYLOAD)
  })

  it('opens with ECDH-ES, apu and apv', async () => {
    const parties = { apu: Buffer.from('Alice'), apv: Buffer.from('Bob') }
    using secrets = new SecretScope()
    expect(EC.open(await joseEncrypt(EC_HEADER, parties), secrets)).toEqual(PAYLOAD)
  })

  it('opens with RSA-OAEP-256', async () => {
    using secrets = new SecretScope()
    expect(RSA.open(await joseEncrypt(RSA_HEADER), secrets)).toEqual(PAYLOAD)
  })

  it('is refused with RSA-OAEP (SHA-1) with ERR_ALG_NOT_ALLOWED', async () => {
    const jwe = await joseEncrypt({ ...RSA_HEADER, alg: 'RSA-OAEP' })
    using secrets = new SecretScope()
    expectCode(() => RSA.open(jwe, secrets), 'ERR_ALG_NOT_ALLOWED')
  })

  it.each(['A128GCM', 'A192GCM', 'A128CBC-HS256', 'A256CBC-HS512'])(
    'is refused with %s with ERR_ALG_NOT_ALLOWED',
    async (enc) => {
      const [ec, rsa] = [await joseEncrypt({ ...EC_HEADER, enc }), await joseEncrypt({ ...RSA_HEADER, enc })]
      using secrets = new SecretScope()
      expectCode(() => EC.open(ec, secrets), 'ERR_ALG_NOT_ALLOWED')
      expectCode(() => RSA.open(rsa, secrets), 'ERR_ALG_NOT_ALLOWED')
    },
  )

  it('is refused when its encrypted key is noise with ERR_JWE_DECRYPTION_FAILED', async () => {
    const parts = (await joseEncrypt(RSA_HEADER)).split('.')
    // A first byte of 0 keeps the number below any modulus, so that the RSA step itself succeeds.
    parts[1] = Buffer.alloc(256, 3).fill(0, 0, 1).toString('base64url')
    using secrets = new SecretScope()
    expectCode(() => RSA.open(parts.join('.'), secrets), 'ERR_JWE_DECRYPTION_FAILED')
  })

  it('is refused under another EC key with ERR_JWE_DECRYPTION_FAILED', async () => {
    const jwe = await joseEncrypt(EC_HEADER)
    using secrets = new SecretScope()
    expectCode(() => new EcRecipient().open(jwe, secrets), 'ERR_JWE_DECRYPTION_FAILED')
  })
})

describe('what we seal', () => {
  it('jose opens with ECDH-ES, and the header is exactly alg, enc, kid and epk', async () => {
    using secrets = new SecretScope()
    const jwe = sealEcdhEs({ recipient: EC, payload: PAYLOAD }, secrets)
    const { plaintext, protectedHeader } = await compactDecrypt(jwe, await importJWK(EC.privateJwk, 'ECDH-ES'))
    expect(Buffer.from(plaintext)).toEqual(PAYLOAD)
    expect(Object.keys(protectedHeader)).toEqual(['alg', 'enc', 'kid', 'epk'])
    expect(protectedHeader).toMatchObject(EC_HEADER)
    expect(Object.keys(protectedHeader['epk'] as object)).toEqual(['kty', 'crv', 'x', 'y'])
  })

  it('jose opens with RSA-OAEP-256, and the header is exactly alg, enc and kid', async () => {
    using secrets = new SecretScope()
    const jwe = sealRsaOaep256({ recipient: RSA, payload: PAYLOAD }, secrets)
    const { plaintext, protectedHeader } = await compactDecrypt(jwe, RSA.privateKey)
    expect(Buffer.from(plaintext)).toEqual(PAYLOAD)
    expect(protectedHeader).toEqual(RSA_HEADER)
  })

  it('we open ourselves', () => {
    using secrets = new SecretScope()
    expect(EC.open(sealEcdhEs({ recipient: EC, payload: PAYLOAD }, secrets), secrets)).toEqual(PAYLOAD)
    expect(RSA.open(sealRsaOaep256({ recipient: RSA, payload: PAYLOAD }, secrets), secrets)).toEqual(PAYLOAD)
  })

  it('never repeats an ephemeral key, a CEK or an iv', () => {
    using secrets = new SecretScope()
    const ec = [1, 2].map(() => sealEcdhEs({ recipient: EC, payload: PAYLOAD }, secrets).split('.'))
    const rsa = [1, 2].map(() => sealRsaOaep256({ recipient: RSA, payload: PAYLOAD }, secrets).split('.'))
    for (const part of [0, 2, 3]) expect(ec[0]![part]).not.toBe(ec[1]![part])
    for (const part of [1, 2, 3]) expect(rsa[0]![part]).not.toBe(rsa[1]![part])
  })

  it('jose opens when Z begins with a zero byte', async () => {
    const key = await importJWK(EC.privateJwk, 'ECDH-ES')
    using secrets = new SecretScope()
    // One in 256; 5000 tries miss once in 10^8 runs.
    for (let tries = 0; tries < 5000; tries++) {
      const jwe = sealEcdhEs({ recipient: EC, payload: PAYLOAD }, secrets)
      if (EC.deriveZ(parseEphemeralKey(decodeProtectedHeader(jwe)['epk']))[0] !== 0) continue
      expect(Buffer.from((await compactDecrypt(jwe, key)).plaintext)).toEqual(PAYLOAD)
      return
    }
    expect.unreachable('no Z with a leading zero byte')
  })

  it('is refused for a recipient off the curve with ERR_INTERNAL', () => {
    const publicKey = EC.publicKey
    publicKey[64]! ^= 1
    using secrets = new SecretScope()
    expectCode(() => sealEcdhEs({ recipient: { kid: 'x', publicKey }, payload: PAYLOAD }, secrets), 'ERR_INTERNAL')
  })

  it('is refused for an RSA-OAEP-256 recipient without an RSA key with ERR_INTERNAL', () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    using secrets = new SecretScope()
    expectCode(() => sealRsaOaep256({ recipient: { kid: 'x', publicKey }, payload: PAYLOAD }, secrets), 'ERR_INTERNAL')
  })

  it('leaves no CEK and no Z when the scope ends', () => {
    const secrets = new WatchedScope()
    sealEcdhEs({ recipient: EC, payload: PAYLOAD }, secrets)
    sealRsaOaep256({ recipient: RSA, payload: PAYLOAD }, secrets)
    expect(secrets.taken.length).toBeGreaterThanOrEqual(4)
    expect(secrets.allUsed).toBe(true)
    secrets[Symbol.dispose]()
    expect(secrets.allWiped).toBe(true)
  })
})

describe('a tampered JWE', () => {
  function tamper(jwe: string, part: number, change: (bytes: Buffer) => void): string {
    const parts = jwe.split('.')
    const bytes = Buffer.from(parts[part]!, 'base64url')
    change(bytes)
    parts[part] = bytes.toString('base64url')
    return parts.join('.')
  }
  const flipLast = (bytes: Buffer) => {
    bytes[bytes.length - 1]! ^= 1
  }

  describe.each([
    ['ECDH-ES', EC, [2, 3, 4]],
    ['RSA-OAEP-256', RSA, [1, 2, 3, 4]],
  ] as const)('%s', (_alg, recipient, parts) => {
    const seal = (secrets: SecretScope) =>
      recipient instanceof EcRecipient
        ? sealEcdhEs({ recipient, payload: PAYLOAD }, secrets)
        : sealRsaOaep256({ recipient, payload: PAYLOAD }, secrets)

    it.each(parts)('is refused when part %i changes with ERR_JWE_DECRYPTION_FAILED', (part) => {
      using secrets = new SecretScope()
      const jwe = tamper(seal(secrets), part, flipLast)
      expectCode(() => recipient.open(jwe, secrets), 'ERR_JWE_DECRYPTION_FAILED')
    })

    it('is refused when the header gains a member that is ignored with ERR_JWE_DECRYPTION_FAILED', () => {
      using secrets = new SecretScope()
      const [header, ...rest] = seal(secrets).split('.')
      const members = JSON.parse(Buffer.from(header!, 'base64url').toString()) as object
      const jwe = [encodeHeader({ ...members, typ: 'JOSE' }), ...rest].join('.')
      expectCode(() => recipient.open(jwe, secrets), 'ERR_JWE_DECRYPTION_FAILED')
    })

    it('is refused when the header is spelled another way with ERR_JWE_DECRYPTION_FAILED', () => {
      using secrets = new SecretScope()
      const [header, ...rest] = seal(secrets).split('.')
      const jwe = [encodeHeader(Buffer.from(header!, 'base64url').toString() + ' '), ...rest].join('.')
      expectCode(() => recipient.open(jwe, secrets), 'ERR_JWE_DECRYPTION_FAILED')
    })
  })

  it('is refused when an encrypted key is put into an ECDH-ES JWE with ERR_JWE_INVALID', () => {
    using secrets = new SecretScope()
    const jwe = sealEcdhEs({ recipient: EC, payload: PAYLOAD }, secrets).replace('..', '.AA.')
    expectCode(() => EC.open(jwe, secrets), 'ERR_JWE_INVALID')
  })

  it('is refused when the encrypted key of an RSA-OAEP-256 JWE is cut with ERR_JWE_INVALID', () => {
    using secrets = new SecretScope()
    const parts = sealRsaOaep256({ recipient: RSA, payload: PAYLOAD }, secrets).split('.')
    parts[1] = Buffer.from(parts[1]!, 'base64url').subarray(1).toString('base64url')
    expectCode(() => RSA.open(parts.join('.'), secrets), 'ERR_JWE_INVALID')
  })
})
