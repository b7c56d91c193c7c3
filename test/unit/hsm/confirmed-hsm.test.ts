import { describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { ServiceError, type ErrorCode } from '../../../src/errors.ts'
import { ConfirmedHsm } from '../../../src/hsm/confirmed-hsm.ts'
import type { Hsm } from '../../../src/hsm/hsm.ts'
import { SecretScope } from '../../../src/secret.ts'

const KEY = { id: 'key' } as KeyEntry
const BYTES = Buffer.from('00', 'hex')
const SOURCE = { alg: 'RSA-OAEP-256', encryptedKey: BYTES } as const
const CONTENT = { iv: BYTES, ciphertext: BYTES, tag: BYTES, aad: '' }

/** An HSM that refuses so, and whose key gives its known answer or not; `asked` counts how often it was asked for one. */
function confirmed(refusal: ErrorCode | false, givesKnownAnswer: boolean) {
  const counts = { asked: 0 }
  const answer = () => {
    if (typeof refusal === 'string') return Promise.reject(new ServiceError(refusal))
    return Promise.resolve(refusal)
  }
  const inner = { openContent: answer, verifyMac: answer } as unknown as Hsm
  const hsm = new ConfirmedHsm(inner, (key) => {
    expect(key).toBe(KEY)
    counts.asked++
    return Promise.resolve(givesKnownAnswer)
  })
  using secrets = new SecretScope()
  return { hsm, counts, open: () => hsm.openContent(KEY, SOURCE, CONTENT, secrets) }
}

describe('a JWE that does not decrypt', () => {
  it('is refused as such if the key then gives its known answer', async () => {
    const { open, counts } = confirmed('ERR_JWE_DECRYPTION_FAILED', true)
    await expect(open()).rejects.toMatchObject({ code: 'ERR_JWE_DECRYPTION_FAILED' })
    expect(counts.asked).toBe(1)
  })

  it('is a failure of the HSM if the key does not', async () => {
    const { open } = confirmed('ERR_JWE_DECRYPTION_FAILED', false)
    await expect(open()).rejects.toMatchObject({ code: 'ERR_HSM_UNAVAILABLE', detail: { reason: 'wrong-answer' } })
  })

  it.each(['ERR_HSM_BUSY', 'ERR_HSM_UNAVAILABLE', 'ERR_INTERNAL'] as const)(
    'for %s is answered so, and nothing is asked',
    async (code) => {
      const { open, counts } = confirmed(code, false)
      await expect(open()).rejects.toMatchObject({ code })
      expect(counts.asked).toBe(0)
    },
  )
})

describe('a MAC that does not verify', () => {
  it('is wrong if the key then gives its known answer, and a failure of the HSM if not', async () => {
    expect(await confirmed(false, true).hsm.verifyMac(KEY, 'AES-CMAC', BYTES, BYTES)).toBe(false)
    await expect(confirmed(false, false).hsm.verifyMac(KEY, 'AES-CMAC', BYTES, BYTES)).rejects.toMatchObject({
      code: 'ERR_HSM_UNAVAILABLE',
    })
  })
})
