import { createECDH } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ephemeralJwk, isP256Point, parseEphemeralKey } from '../../src/jwe/ephemeral-key.ts'
import { expectCode } from '../unit/jwe/expect-code.ts'
import { ecdhTests } from './wycheproof-ecdh.ts'

const { points, jwks, numberOfTests } = ecdhTests()

describe('Wycheproof ecdh_secp256r1', () => {
  it('has as many tests as it says, of both forms and results', () => {
    expect(points.length + jwks.length).toBe(numberOfTests)
    expect(points.filter(({ result }) => result === 'valid')).toHaveLength(19)
    expect(jwks.filter(({ result }) => result === 'valid')).toHaveLength(9)
    expect(jwks.filter(({ result }) => result === 'invalid')).toHaveLength(23)
  })

  it.each(points)('$tcId, a point: $result, and taken only uncompressed: $comment', (test) => {
    const point = Buffer.from(test.public, 'hex')
    expect(isP256Point(point)).toBe(test.result === 'valid')
    if (test.result !== 'valid') return
    expect(parseEphemeralKey(ephemeralJwk(point))).toEqual(point)
    expect(shared(Buffer.from(test.private, 'hex'), point)).toBe(test.shared)
  })

  it.each(jwks)('$tcId, a JWK: $result: $comment', (test) => {
    if (test.result === 'invalid') return expectCode(() => parseEphemeralKey(test.public), 'ERR_JWE_INVALID')
    expect(shared(Buffer.from(test.private, 'base64url'), parseEphemeralKey(test.public))).toBe(test.shared)
  })

  /** The vector's own secret, so that a point was read as the vector means it. */
  function shared(privateKey: Buffer, point: Buffer): string {
    const ecdh = createECDH('prime256v1')
    ecdh.setPrivateKey(privateKey)
    return ecdh.computeSecret(point).toString('hex').padStart(64, '0')
  }
})
