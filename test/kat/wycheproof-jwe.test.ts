import { createDecipheriv, createECDH, createHmac, createPrivateKey, type CipherGCMTypes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { decodeOaep256 } from '../../src/hsm/oaep.ts'
import { checkContentForm, parseCompact, type CompactJwe } from '../../src/jwe/compact.ts'
import { deriveCek } from '../../src/jwe/concat-kdf.ts'
import { openContent } from '../../src/jwe/content.ts'
import { parseEphemeralKey } from '../../src/jwe/ephemeral-key.ts'
import { checkAlgorithms, checkKeyTransport } from '../../src/jwe/header.ts'
import { SecretScope } from '../../src/secret.ts'
import { expectCode } from '../unit/jwe/expect-code.ts'
import { RsaRecipient } from '../unit/jwe/software-recipient.ts'
import vectors from '../vectors/wycheproof-jwe.json' with { type: 'json' }

const [truncated, ecdhEs, rsaOaep256] = vectors.testGroups
const recipient = createECDH('prime256v1')
recipient.setPrivateKey(ecdhEs!.private!.d, 'base64url')

function headerOf(jwe: string): { alg: string; enc: string; epk?: unknown } {
  return JSON.parse(Buffer.from(jwe.split('.')[0]!, 'base64url').toString()) as { alg: string; enc: string }
}

/** Z of a case, and the key that deriveCek makes of it. */
function deriveFor(jwe: string, keyBits: number, secrets: SecretScope): Buffer {
  const { enc, epk } = headerOf(jwe)
  const z = recipient.computeSecret(parseEphemeralKey(epk))
  const none = Buffer.alloc(0)
  return deriveCek(z, { algorithmId: enc, apu: none, apv: none, keyBits }, secrets)
}

interface Case {
  readonly tcId: number
  readonly jwe: string
  readonly pt?: string
}

function testCase(tcId: number): Case {
  return vectors.testGroups.flatMap<Case>((group) => group.tests).find((test) => test.tcId === tcId)!
}

describe('Wycheproof json_web_encryption', () => {
  it('has as many tests as it says', () => {
    expect(vectors.testGroups.flatMap((group) => group.tests)).toHaveLength(vectors.numberOfTests)
  })

  it.each(truncated!.tests)('$tcId is refused by form with ERR_JWE_INVALID: $comment', ({ jwe }) => {
    const parts = parseCompact(jwe)
    expectCode(() => checkContentForm(parts), 'ERR_JWE_INVALID')
  })

  it('78 opens: ECDH-ES on P-256 with A256GCM, the profile that D1 documents', () => {
    const { jwe: text, pt } = testCase(78)
    const jwe = parseCompact(text)
    checkAlgorithms(headerOf(text), { alg: 'ECDH-ES', enc: 'A256GCM' })
    using secrets = new SecretScope()
    const cek = deriveFor(text, 256, secrets)
    expect(openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets).toString('hex')).toBe(pt)
  })

  it.each([76, 77, 79, 80, 81])('%i is refused with ERR_ALG_NOT_ALLOWED: another enc', (tcId) => {
    const header = headerOf(testCase(tcId).jwe)
    expectCode(() => checkAlgorithms(header, { alg: 'ECDH-ES', enc: 'A256GCM' }), 'ERR_ALG_NOT_ALLOWED')
  })

  it.each([
    [76, 128],
    [77, 192],
  ])('%i derives a key of %i bits that opens its content', (tcId, keyBits) => {
    const { jwe: text, pt } = testCase(tcId)
    const jwe: CompactJwe = parseCompact(text)
    using secrets = new SecretScope()
    const cek = deriveFor(text, keyBits, secrets)
    const decipher = createDecipheriv(`aes-${keyBits}-gcm` as CipherGCMTypes, cek, jwe.iv)
    decipher.setAAD(Buffer.from(jwe.protectedHeader)).setAuthTag(jwe.tag)
    expect(Buffer.concat([decipher.update(jwe.ciphertext), decipher.final()]).toString('hex')).toBe(pt)
  })

  it('79 derives a key of 256 bits whose HMAC half verifies its tag', () => {
    const { jwe: text } = testCase(79)
    const [aad, , iv, ciphertext, tag] = text.split('.')
    const aadBits = Buffer.alloc(8)
    aadBits.writeUInt32BE(aad!.length * 8, 4)
    using secrets = new SecretScope()
    const hmac = createHmac('sha256', deriveFor(text, 256, secrets).subarray(0, 16)).update(aad!)
    hmac.update(iv!, 'base64url').update(ciphertext!, 'base64url').update(aadBits)
    expect(hmac.digest().subarray(0, 16).toString('base64url')).toBe(tag)
  })

  it.each([
    [80, 384],
    [81, 512],
  ])('%i wants %i bits, more than one round, and is refused with ERR_INTERNAL', (tcId, keyBits) => {
    using secrets = new SecretScope()
    expectCode(() => deriveFor(testCase(tcId).jwe, keyBits, secrets), 'ERR_INTERNAL')
  })

  it('90 opens: RSA-OAEP-256 with A256GCM', () => {
    const { jwe: text, pt } = testCase(90)
    const jwe = parseCompact(text)
    const rsa = new RsaRecipient(createPrivateKey({ key: rsaOaep256!.private!, format: 'jwk' }))
    checkAlgorithms(headerOf(text), { alg: 'RSA-OAEP-256', enc: 'A256GCM' })
    checkKeyTransport(jwe, 256)
    using secrets = new SecretScope()
    const cek = decodeOaep256(rsa.rawDecrypt(jwe.encryptedKey), secrets, 32, Buffer.alloc(32))
    expect(openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets).toString('hex')).toBe(pt)
  })

  it('94 is refused with ERR_ALG_NOT_ALLOWED: RSA1_5 under an OAEP key', () => {
    const bound = { alg: 'RSA-OAEP-256', enc: 'A256GCM' } as const
    expectCode(() => checkAlgorithms(headerOf(testCase(94).jwe), bound), 'ERR_ALG_NOT_ALLOWED')
  })
})
