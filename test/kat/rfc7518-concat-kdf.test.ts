import { createECDH } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { deriveCek } from '../../src/jwe/concat-kdf.ts'
import { parseEphemeralKey } from '../../src/jwe/ephemeral-key.ts'
import { SecretScope } from '../../src/secret.ts'
import vectors from '../vectors/rfc7518-concat-kdf.json' with { type: 'json' }

const tests = vectors.testGroups.flatMap((group) => group.tests)

describe('RFC 7518 Appendix C', () => {
  it('has as many tests as it says', () => {
    expect(tests).toHaveLength(vectors.numberOfTests)
  })

  it.each(tests)('$tcId: $comment', (test) => {
    const bob = createECDH('prime256v1')
    bob.setPrivateKey(test.recipient.d, 'base64url')
    const { d: _private, ...epk } = test.ephemeral
    const z = bob.computeSecret(parseEphemeralKey(epk))
    expect([...z]).toEqual(test.z)

    const apu = Buffer.from(test.apu, 'base64url')
    const apv = Buffer.from(test.apv, 'base64url')
    using secrets = new SecretScope()
    const key = deriveCek(z, { algorithmId: test.algorithmId, apu, apv, keyBits: test.keyBits }, secrets)
    expect(key.toString('base64url')).toBe(test.derivedKey)
  })
})
