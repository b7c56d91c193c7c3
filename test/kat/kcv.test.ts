import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import { describe, expect, it } from 'vitest'
import { jwkThumbprint, publicKeyKcv, symmetricKcv } from '../../src/key-block/kcv.ts'
import { SecretScope } from '../../src/secret.ts'
import { agreed } from '../support/oracles.ts'
import { KcvVectors, readVectors } from '../support/vector-file.ts'

function ours(algorithm: 'TDEA' | 'AES', keyHex: string): string {
  using secrets = new SecretScope()
  return symmetricKcv(algorithm, Buffer.from(keyHex, 'hex'), secrets)
}

describe('KCV of symmetric keys', () => {
  for (const { source, algorithm, tests } of readVectors(KcvVectors, 'kcv.json').testGroups) {
    it.each(tests)(`${algorithm}, ${source}: $comment`, ({ key, kcv, result }) => {
      expect(result).toBe('valid')
      expect(ours(algorithm, key)).toBe(kcv.toUpperCase())
      const full = agreed((oracle) =>
        algorithm === 'TDEA' ? oracle.ecb('TDEA', key, '00'.repeat(8)) : oracle.cmac('AES', key, '00'.repeat(16)),
      )
      expect(full.slice(0, kcv.length)).toBe(kcv)
    })
  }

  it.each([24, 32])('is the leftmost 5 bytes of CMAC(0¹⁶) for an AES key of %i bytes', (bytes) => {
    const key = '5a'.repeat(bytes)
    const full = agreed((oracle) => oracle.cmac('AES', key, '00'.repeat(16)))
    expect(ours('AES', key)).toBe(full.slice(0, 10).toUpperCase())
  })

  it('is the leftmost 3 bytes of E_K(0⁸) for a triple-length TDEA key', () => {
    const key = '0123456789abcdef23456789abcdef01456789abcdef0123'
    const full = agreed((oracle) => oracle.ecb('TDEA', key, '00'.repeat(8)))
    expect(ours('TDEA', key)).toBe(full.slice(0, 6).toUpperCase())
  })

  it.each([
    ['TDEA', 8],
    ['TDEA', 32],
    ['AES', 8],
    ['AES', 0],
  ] as const)('refuses a %s key of %i bytes with ERR_INTERNAL', (algorithm, bytes) => {
    expect(() => ours(algorithm, '01'.repeat(bytes))).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }))
  })
})

describe('thumbprint and KCV of public keys', () => {
  // RFC 7638 section 3.1.
  const rfc7638 = {
    kty: 'RSA',
    n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
    e: 'AQAB',
    alg: 'RS256',
    kid: '2011-04-29',
  }

  it('gives the thumbprint of RFC 7638 section 3.1', () => {
    expect(jwkThumbprint(rfc7638)).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
    expect(publicKeyKcv(rfc7638)).toBe('3736CBB178')
  })

  it.each(['ECDH-ES', 'RSA-OAEP-256'])(
    'agrees with jose for %s, and gives the private key the same KCV',
    async (alg) => {
      const { publicKey, privateKey } = await generateKeyPair(alg, { crv: 'P-256', extractable: true })
      const jwk = await exportJWK(publicKey)
      const thumbprint = await calculateJwkThumbprint(jwk)
      expect(jwkThumbprint({ ...jwk })).toBe(thumbprint)
      expect(publicKeyKcv({ ...jwk })).toBe(
        Buffer.from(thumbprint, 'base64url').toString('hex').slice(0, 10).toUpperCase(),
      )
      expect(publicKeyKcv({ ...(await exportJWK(privateKey)) })).toBe(publicKeyKcv({ ...jwk }))
    },
  )

  it.each([
    ['another key type', { kty: 'oct', k: 'AA' }],
    ['a missing member', { kty: 'EC', crv: 'P-256', x: 'AA' }],
    ['an empty member', { kty: 'RSA', n: '', e: 'AQAB' }],
    ['a member that is no string', { kty: 'RSA', n: 5, e: 'AQAB' }],
    ['no key type', {}],
  ])('refuses %s with ERR_INTERNAL', (_, jwk) => {
    expect(() => publicKeyKcv(jwk)).toThrow(expect.objectContaining({ code: 'ERR_INTERNAL' }))
  })
})
