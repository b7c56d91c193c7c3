import { describe, expect, it } from 'vitest'
import { parseCompact } from '../../src/jwe/compact.ts'
import { openContent, sealContent } from '../../src/jwe/content.ts'
import { SecretScope } from '../../src/secret.ts'
import vectors from '../vectors/rfc7516-a1.json' with { type: 'json' }

const tests = vectors.testGroups.flatMap((group) => group.tests)

describe('RFC 7516 Appendix A.1', () => {
  it('has as many tests as it says', () => {
    expect(tests).toHaveLength(vectors.numberOfTests)
  })

  it.each(tests)('$tcId opens: $comment', (test) => {
    const jwe = parseCompact(test.jwe)
    expect([...jwe.iv]).toEqual(test.iv)
    using secrets = new SecretScope()
    const payload = openContent({ ...jwe, cek: Buffer.from(test.cek), aad: jwe.protectedHeader }, secrets)
    expect(payload.toString()).toBe(test.plaintext)
  })

  it.each(tests)('$tcId seals: $comment', (test) => {
    const { protectedHeader: aad, ciphertext, tag } = parseCompact(test.jwe)
    const payload = Buffer.from(test.plaintext)
    const sealed = sealContent({ cek: Buffer.from(test.cek), iv: Buffer.from(test.iv), payload, aad })
    expect(sealed).toEqual({ ciphertext, tag })
  })
})
