import { describe, expect, it } from 'vitest'
import { openContent, sealContent } from '../../src/jwe/content.ts'
import { SecretScope } from '../../src/secret.ts'
import { expectCode } from '../unit/jwe/expect-code.ts'
import vectors from '../vectors/wycheproof-gcm.json' with { type: 'json' }

const { tests } = vectors.testGroups[0]!
const bytes = (hex: string) => Buffer.from(hex, 'hex')
/** Additional data is text to our functions, one byte a character. */
const aadOf = (hex: string) => bytes(hex).toString('latin1')

describe('Wycheproof aes_gcm', () => {
  it('has as many tests as it says, valid and invalid', () => {
    expect(tests).toHaveLength(vectors.numberOfTests)
    expect(tests.filter(({ result }) => result === 'valid')).toHaveLength(22)
    expect(tests.filter(({ result }) => result === 'invalid')).toHaveLength(27)
  })

  it.each(tests)('$tcId is $result: $comment', ({ key, iv, aad, msg, ct, tag, result }) => {
    using secrets = new SecretScope()
    const sealed = { cek: bytes(key), iv: bytes(iv), aad: aadOf(aad), ciphertext: bytes(ct), tag: bytes(tag) }
    if (result === 'valid') expect(openContent(sealed, secrets).toString('hex')).toBe(msg)
    else expectCode(() => openContent(sealed, secrets), 'ERR_JWE_DECRYPTION_FAILED')
  })

  it.each(tests)('$tcId is sealed to its ciphertext, and to its tag only if it is valid', (test) => {
    const { ciphertext, tag } = sealContent({
      cek: bytes(test.key),
      iv: bytes(test.iv),
      aad: aadOf(test.aad),
      payload: bytes(test.msg),
    })
    expect(ciphertext.toString('hex')).toBe(test.ct)
    expect(tag.toString('hex') === test.tag).toBe(test.result === 'valid')
  })
})
