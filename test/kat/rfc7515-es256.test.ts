import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'
import { jwtVerify, type JWK } from 'jose'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { KeyEntry } from '../../src/config/schema.ts'
import type { Hsm } from '../../src/hsm/hsm.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { verifiesSignature } from '../../src/hsm/self-test.ts'
import { makeD1Assertion } from '../../src/vault/operations/make-d1-assertion.ts'
import vectors from '../vectors/rfc7515-a3.json' with { type: 'json' }

const tests = vectors.testGroups.flatMap((group) => group.tests)
const [{ jwk }] = tests as [(typeof tests)[number]]
const { d: _d, ...publicKey } = jwk as { kty: 'EC'; crv: 'P-256'; x: string; y: string; d: string }

describe('RFC 7515 Appendix A.3', () => {
  it('has as many tests as it says', () => {
    expect(tests).toHaveLength(vectors.numberOfTests)
  })

  it.each(tests)('$tcId is verified: $comment', ({ jws }) => {
    const [header, payload, signature] = jws.split('.') as [string, string, string]
    const bytes = Buffer.from(signature, 'base64url')
    const isRight = (text: string, of = bytes) => verifiesSignature(publicKey, Buffer.from(text), of)
    expect(isRight(`${header}.${payload}`)).toBe(true)
    expect(isRight(`${header}.${payload}=`)).toBe(false)
    expect(isRight(`${header}.${payload}`, Buffer.concat([bytes.subarray(32), bytes.subarray(0, 32)]))).toBe(false)
  })
})

describe('an assertion under the key of RFC 7515 Appendix A.3', () => {
  const NOW_S = 1_300_819_380
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date'], now: NOW_S * 1000 + 999 })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const entry = (members: Partial<KeyEntry>): KeyEntry => ({
    ...{ id: 'a', version: 3, state: 'active', purpose: 'assertion-sign', algorithm: 'EC-P256', kcv: '0102030405' },
    ...{ origin: 'generated', issuerId: 'issuer0001' },
    ...members,
  })
  /** The HSM by node:crypto: no byte of what is signed comes from elsewhere. */
  const hsm = {
    fillRandom: async (target: Buffer) => {
      target.set(Array.from({ length: 16 }, (_, i) => i))
    },
    sign: async (_key: KeyEntry, message: Uint8Array) =>
      sign('sha256', message, { key: createPrivateKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }),
  } as unknown as Hsm
  const made = async (members: Partial<KeyEntry>, lifetimeS?: number) => {
    const key = entry(members)
    const catalogue = new KeyCatalogue([key], [])
    catalogue.learnPublicKeys(new Map([[key, publicKey]]))
    return await makeD1Assertion({ hsm, catalogue }, { key: 'a', ...(lifetimeS !== undefined && { lifetimeS }) })
  }

  it.each<[string, Partial<KeyEntry>, number | undefined, string, string]>([
    [
      'with kid and audience, for 300 s',
      { kid: 'k1', audience: 'https://d1.test/"token"' },
      undefined,
      '{"alg":"ES256","kid":"k1","typ":"JWT"}',
      '{"iss":"issuer0001","sub":"issuer0001","aud":"https://d1.test/\\"token\\"","iat":1300819380,"exp":1300819680,"jti":"AAECAwQFBgcICQoLDA0ODw"}',
    ],
    [
      'with the thumbprint for a kid and no audience, for 900 s',
      {},
      900,
      // RFC 7638 of the published key, computed with OpenSSL: `openssl dgst -sha256` over its required members.
      '{"alg":"ES256","kid":"oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U","typ":"JWT"}',
      '{"iss":"issuer0001","sub":"issuer0001","iat":1300819380,"exp":1300820280,"jti":"AAECAwQFBgcICQoLDA0ODw"}',
    ],
  ])(
    '%s is spelled as here, and verified by jose and by node:crypto',
    async (_what, members, lifetimeS, header, claims) => {
      const { assertion, expiresAt, key } = await made(members, lifetimeS)
      const [head, payload, signature] = assertion.split('.') as [string, string, string]
      expect(Buffer.from(head, 'base64url').toString()).toBe(header)
      expect(Buffer.from(payload, 'base64url').toString()).toBe(claims)
      expect([expiresAt, key]).toEqual([NOW_S + (lifetimeS ?? 300), { id: 'a', version: 3, kcv: '0102030405' }])
      const verified = await jwtVerify(assertion, publicKey as JWK, { algorithms: ['ES256'], issuer: 'issuer0001' })
      expect(verified.payload.sub).toBe('issuer0001')
      const nodeKey = { key: createPublicKey({ key: publicKey, format: 'jwk' }), dsaEncoding: 'ieee-p1363' } as const
      expect(verify('sha256', Buffer.from(`${head}.${payload}`), nodeKey, Buffer.from(signature, 'base64url'))).toBe(
        true,
      )
    },
  )
})
