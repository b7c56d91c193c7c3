import { createECDH } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { parseCompact } from '../../src/jwe/compact.ts'
import { deriveCek } from '../../src/jwe/concat-kdf.ts'
import { openContent, sealContent } from '../../src/jwe/content.ts'
import { checkKeyAgreement, parseHeader } from '../../src/jwe/header.ts'
import { SecretScope } from '../../src/secret.ts'
import vectors from '../vectors/rfc7520.json' with { type: 'json' }

interface Case {
  readonly tcId: number
  readonly cek: string
}

interface ContentCase extends Case {
  readonly iv: string
  readonly jwe: string
  readonly plaintext: string
}

interface KdfCase extends Case {
  readonly recipient: { readonly d: string }
  readonly protectedHeader: string
  readonly ephemeralPrivate: string
}

const [content, kdf] = vectors.testGroups.map((group) => group.tests) as unknown as [ContentCase[], KdfCase[]]

describe('RFC 7520 section 5', () => {
  it('has as many tests as it says', () => {
    expect(content.length + kdf.length).toBe(vectors.numberOfTests)
  })

  it.each(content)('$tcId opens and seals: $comment', (test) => {
    const jwe = parseCompact(test.jwe)
    const cek = Buffer.from(test.cek, 'base64url')
    expect(parseHeader(jwe.header)).toMatchObject({
      alg: 'RSA-OAEP',
      enc: 'A256GCM',
      kid: 'samwise.gamgee@hobbiton.example',
    })
    expect(jwe.iv.toString('base64url')).toBe(test.iv)
    using secrets = new SecretScope()
    const payload = openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets)
    expect(payload.toString()).toBe(test.plaintext)
    const { ciphertext, tag } = sealContent({ cek, iv: jwe.iv, payload, aad: jwe.protectedHeader })
    expect({ ciphertext, tag }).toEqual({ ciphertext: jwe.ciphertext, tag: jwe.tag })
  })

  it.each(kdf)('$tcId derives on both sides: $comment', (test) => {
    const header = parseHeader(Buffer.from(test.protectedHeader, 'base64url'))
    const { ephemeralKey, apu, apv } = checkKeyAgreement(header, { encryptedKey: Buffer.alloc(0) })
    const recipient = createECDH('prime256v1')
    recipient.setPrivateKey(test.recipient.d, 'base64url')
    const sender = createECDH('prime256v1')
    sender.setPrivateKey(test.ephemeralPrivate, 'base64url')
    expect(sender.getPublicKey()).toEqual(ephemeralKey)

    using secrets = new SecretScope()
    for (const z of [recipient.computeSecret(ephemeralKey), sender.computeSecret(recipient.getPublicKey())]) {
      const cek = deriveCek(z, { algorithmId: header.enc, apu, apv, keyBits: 256 }, secrets)
      expect(cek.toString('base64url')).toBe(test.cek)
    }
  })
})
