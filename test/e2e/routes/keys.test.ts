import { createPublicKey } from 'node:crypto'
import { calculateJwkThumbprint } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ORACLES } from '../../support/oracles.ts'
import { expectOneAnswer, openIssuer, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const POSTS = ['pin/set', 'pin/get', 'pin-blocks/translate', 'prw/generate', 'prw/verify', 'mac/generate', 'mac/verify']

describe('jwks', () => {
  it('lists the public keys that D1 encrypts to, and no private member', async () => {
    for (const client of ['cms-adapter', 'auditor']) {
      const answer = await issuer.service.call('GET', '/v1/jwks', undefined, { client })
      expect(answer.status).toBe(200)
      expect(answer.headers['content-type']).toMatch(/^application\/jwk-set\+json/)
      const { keys } = answer.json
      expect(keys.map((key: any) => [key.kid, key.kty, key.alg, key.use])).toEqual([
        ['jwe-ec', 'EC', 'ECDH-ES', 'enc'],
        ['jwe-rsa', 'RSA', 'RSA-OAEP-256', 'enc'],
      ])
      expect(Object.keys(keys[0]).sort()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
      expect(Object.keys(keys[1]).sort()).toEqual(['alg', 'e', 'kid', 'kty', 'n', 'use'])
      for (const jwk of keys) expect(createPublicKey({ key: jwk, format: 'jwk' }).type).toBe('public')
    }
  })
})

describe('keys', () => {
  it('lists the whole catalogue with what each key may do, and never a value', async () => {
    for (const client of ['cms-adapter', 'auditor']) {
      const answer = await issuer.service.call('GET', '/v1/keys', undefined, { client })
      expect(answer.status).toBe(200)
      expect(answer.json.keys).toEqual(
        issuer.service.setUp.keys.map(({ id, purpose, algorithm, kcv }) =>
          expect.objectContaining({ id, purpose, algorithm, kcv, version: 1, state: 'active' }),
        ),
      )
      const members = ['algorithm', 'direction', 'id', 'kcv', 'profile', 'purpose', 'state', 'use', 'version']
      expect([...new Set(answer.json.keys.flatMap(Object.keys))].sort()).toEqual(members)
      for (const value of Object.values(issuer.keys))
        expect(answer.text.toUpperCase()).not.toContain(value.toUpperCase())
    }
  })

  it('gives key check values that oracles compute from the values: TDEA 3 bytes of E(0), AES 5 bytes of CMAC(0)', () => {
    for (const { id, algorithm, kcv } of issuer.service.setUp.keys) {
      const value = issuer.keys[id]
      if (value === undefined) continue
      for (const oracle of ORACLES) {
        const expected = algorithm.startsWith('TDEA')
          ? oracle.ecb('TDEA', value, '0'.repeat(16)).slice(0, 6)
          : oracle.cmac('AES', value, '0'.repeat(32)).slice(0, 10)
        expect({ id, kcv }).toEqual({ id, kcv: expected.toUpperCase() })
      }
    }
  })

  it('gives the first 5 bytes of the RFC 7638 thumbprint as check value of a public key', async () => {
    for (const kid of ['jwe-ec', 'jwe-rsa'] as const) {
      const thumbprint = Buffer.from(await calculateJwkThumbprint(issuer.jwk(kid)), 'base64url')
      const { kcv } = issuer.service.setUp.keys.find(({ id }) => id === kid)!
      expect(kcv).toBe(thumbprint.subarray(0, 5).toString('hex').toUpperCase())
    }
  })
})

describe('an auditor, who may only GET keys and jwks', () => {
  it('is refused every operation with one 403 ERR_KEY_USE_FORBIDDEN, before its body is read', async () => {
    const answers = []
    for (const path of POSTS) {
      answers.push(await issuer.post(`/v1/${path}`, {}, { client: 'auditor' }))
      answers.push(await issuer.post(`/v1/${path}`, '{', { client: 'auditor' }))
    }
    expectOneAnswer(answers, 403, 'ERR_KEY_USE_FORBIDDEN')
  })
})
