import { createPrivateKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { decodeOaep256 } from '../../src/hsm/oaep.ts'
import { checkKeyTransport } from '../../src/jwe/header.ts'
import { SecretScope } from '../../src/secret.ts'
import { expectCode } from '../unit/jwe/expect-code.ts'
import { RsaRecipient } from '../unit/jwe/software-recipient.ts'
import vectors from '../vectors/wycheproof-oaep.json' with { type: 'json' }

const group = vectors.testGroups[0]!
const modulus = BigInt(`0x${Buffer.from(group.privateKeyJwk.n, 'base64url').toString('hex')}`)
const rsa = new RsaRecipient(createPrivateKey({ key: group.privateKeyJwk, format: 'jwk' }))

describe('Wycheproof rsa_oaep_2048_sha256_mgf1sha256', () => {
  it('has as many tests as it says', () => {
    expect(group.tests).toHaveLength(vectors.numberOfTests)
  })

  const isWhole = ({ ct }: { ct: string }) => ct.length === 512
  /** Below the modulus: what is not below it, tcId 27, never reaches a token (test/hsm/operations.test.ts). */
  const isReduced = ({ ct }: { ct: string }) => BigInt(`0x${ct}`) < modulus

  it.each(group.tests.filter((test) => isWhole(test) && isReduced(test)))(
    '$tcId is $result under the label "$label": $comment',
    (test) => {
      const message = Buffer.from(test.msg, 'hex')
      const substitute = Buffer.from(message.map((byte) => ~byte))
      // JWE knows no label, so a ciphertext made with one is as wrong as any other.
      const valid = test.result === 'valid' && test.label === ''
      using secrets = new SecretScope()
      const em = rsa.rawDecrypt(Buffer.from(test.ct, 'hex'))
      expect(decodeOaep256(em, secrets, message.length, substitute)).toEqual(valid ? message : substitute)
    },
  )

  it.each(group.tests.filter((test) => !isWhole(test)))('$tcId is not as long as the modulus: $comment', ({ ct }) => {
    expectCode(() => checkKeyTransport({ encryptedKey: Buffer.from(ct, 'hex') }, 256), 'ERR_JWE_INVALID')
  })
})
