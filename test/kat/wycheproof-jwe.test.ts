import { createDecipheriv, createECDH, createHmac, createPrivateKey, privateDecrypt, randomBytes } from 'node:crypto'
import type { CipherGCMTypes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { decodeOaep256 } from '../../src/hsm/oaep.ts'
import type { JweAlgorithms } from '../../src/jwe/algorithms.ts'
import { checkContentForm, parseCompact } from '../../src/jwe/compact.ts'
import { deriveCek } from '../../src/jwe/concat-kdf.ts'
import { openContent } from '../../src/jwe/content.ts'
import { parseEphemeralKey } from '../../src/jwe/ephemeral-key.ts'
import { checkAlgorithms, checkKeyTransport, parseHeader } from '../../src/jwe/header.ts'
import { readJson } from '../../src/json-bytes.ts'
import { SecretScope } from '../../src/secret.ts'
import { expectCode } from '../unit/jwe/expect-code.ts'
import { RsaRecipient } from '../unit/jwe/software-recipient.ts'
import vectors from '../vectors/wycheproof-jwe.json' with { type: 'json' }

interface Case {
  readonly tcId: number
  readonly comment: string
  readonly enc: string
  readonly jwe: string
  readonly pt?: string
  readonly result: string
}

interface Header {
  readonly alg: string
  readonly enc: string
  readonly epk?: unknown
}

const CASES: readonly Case[] = vectors.testGroups.flatMap<Case>(({ tests }) => tests)
const testCase = (tcId: number): Case => CASES.find((test) => test.tcId === tcId)!
const groupKey = (comment: string): Readonly<Record<string, string>> =>
  vectors.testGroups.find((group) => group.comment === comment)!.private

const aesKey = Buffer.from(groupKey('jwe_aes')['k']!, 'base64url')
const ec = createECDH('prime256v1')
ec.setPrivateKey(groupKey('jwe_ec')['d']!, 'base64url')
const rsaKey = createPrivateKey({ key: groupKey('jwe_rsa_oaep_256'), format: 'jwk' })
const rsa = new RsaRecipient(rsaKey)

/** No header of these has the kid of ours, so that each case is taken step by step and not through parseHeader. */
function parse(text: string) {
  const jwe = parseCompact(text)
  return { ...jwe, members: readJson(jwe.header) as Header }
}

/** A key of `keyBits` from the epk of a header and the recipient's key. */
function derive(epk: unknown, algorithmId: string, keyBits: number, secrets: SecretScope): Buffer {
  const none = Buffer.alloc(0)
  const z = ec.computeSecret(parseEphemeralKey(epk))
  return deriveCek(z, { algorithmId, apu: none, apv: none, keyBits }, secrets)
}

describe('Wycheproof json_web_encryption', () => {
  it('has as many tests as it says, valid and invalid', () => {
    expect(CASES).toHaveLength(vectors.numberOfTests)
    expect(CASES.filter(({ result }) => result === 'valid')).toHaveLength(37)
    expect(CASES.filter(({ result }) => result === 'invalid')).toHaveLength(50)
  })

  // The tags of 3 and 24 have bits beyond their last byte.
  const isCompact = ({ tcId, comment }: Case) =>
    !/^rejects(?:Missing(?!EncryptedKey$)|ValidJson)/.test(comment) && ![3, 24].includes(tcId)
  it.each(CASES.filter((test) => !isCompact(test)))('$tcId is not five canonical parts: $comment', ({ jwe }) =>
    expectCode(() => parseCompact(jwe), 'ERR_JWE_INVALID'),
  )

  const OURS = [
    { alg: 'ECDH-ES', enc: 'A256GCM' },
    { alg: 'RSA-OAEP-256', enc: 'A256GCM' },
  ] as const satisfies readonly JweAlgorithms[]
  const isOurs = ({ tcId }: Case) => [78, 90].includes(tcId)
  it.each(CASES.filter((test) => isCompact(test) && !isOurs(test)))(
    '$tcId is refused under either of our keys with ERR_ALG_NOT_ALLOWED, whatever else is wrong with it: $comment',
    ({ jwe }) => {
      const { members } = parse(jwe)
      for (const bound of OURS) expectCode(() => checkAlgorithms(members, bound), 'ERR_ALG_NOT_ALLOWED')
    },
  )

  it.each(CASES.filter(({ comment }) => /[Tt]runcated/.test(comment)))(
    '$tcId is refused by form with ERR_JWE_INVALID: $comment',
    ({ jwe }) => expectCode(() => checkContentForm(parse(jwe)), 'ERR_JWE_INVALID'),
  )

  it('135 is refused for its zip, though it is valid', () => {
    const { members } = parse(testCase(135).jwe)
    const header = (rest: object) => Buffer.from(JSON.stringify({ ...members, ...rest }))
    expectCode(() => parseHeader(header({ kid: 'jwe-ec' })), 'ERR_JWE_INVALID')
    expect(parseHeader(header({ kid: 'jwe-ec', zip: undefined })).enc).toBe('A128GCM')
  })
})

describe('ECDH-ES on P-256', () => {
  const isOnCurve = ({ tcId }: Case) => tcId >= 33 && tcId <= 81 && ![49, 50, 51].includes(tcId)

  it.each(CASES.filter((test) => isOnCurve(test) && !/Missing/.test(test.comment)))(
    '$tcId has a point of the curve',
    ({ jwe }) => expect(parseEphemeralKey(parse(jwe).members.epk)).toHaveLength(65),
  )

  it('51 has a point off the curve, and is refused with ERR_JWE_INVALID before anything is derived', () => {
    expectCode(() => parseEphemeralKey(parse(testCase(51).jwe).members.epk), 'ERR_JWE_INVALID')
  })

  it('78 opens: A256GCM, the profile that D1 documents', () => {
    const { jwe: text, pt } = testCase(78)
    const { members, ...jwe } = parse(text)
    checkAlgorithms(members, { alg: 'ECDH-ES', enc: 'A256GCM' })
    checkContentForm(jwe)
    using secrets = new SecretScope()
    const cek = derive(members.epk, 'A256GCM', 256, secrets)
    expect(openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets).toString('hex')).toBe(pt)
  })

  it.each([
    [76, 128],
    [77, 192],
  ])('%i derives a key of %i bits that opens its content', (tcId, keyBits) => {
    const { jwe: text, pt } = testCase(tcId)
    const { members, ...jwe } = parse(text)
    using secrets = new SecretScope()
    const cek = derive(members.epk, members.enc, keyBits, secrets)
    const decipher = createDecipheriv(`aes-${keyBits}-gcm` as CipherGCMTypes, cek, jwe.iv)
    decipher.setAAD(Buffer.from(jwe.protectedHeader)).setAuthTag(jwe.tag)
    expect(Buffer.concat([decipher.update(jwe.ciphertext), decipher.final()]).toString('hex')).toBe(pt)
  })

  it('79 derives a key of 256 bits whose HMAC half verifies its tag', () => {
    const { jwe: text } = testCase(79)
    const { members, ...jwe } = parse(text)
    const aadBits = Buffer.alloc(8)
    aadBits.writeUInt32BE(jwe.protectedHeader.length * 8, 4)
    using secrets = new SecretScope()
    const hmac = createHmac('sha256', derive(members.epk, members.enc, 256, secrets).subarray(0, 16))
    hmac.update(jwe.protectedHeader).update(jwe.iv).update(jwe.ciphertext).update(aadBits)
    expect(hmac.digest().subarray(0, 16)).toEqual(jwe.tag)
  })

  it.each([
    [80, 384],
    [81, 512],
  ])('%i wants %i bits, more than one round, and is refused with ERR_INTERNAL', (tcId, keyBits) => {
    const { members } = parse(testCase(tcId).jwe)
    using secrets = new SecretScope()
    expectCode(() => derive(members.epk, members.enc, keyBits, secrets), 'ERR_INTERNAL')
  })
})

describe('a CEK that is wrapped', () => {
  // The wrapping is not ours: RFC 3394 by node, under a key of ours.
  const WRAPPED = CASES.filter(
    ({ result, jwe }) => result === 'valid' && /^eyJhbGciOiJ(?:FQ0RILUVTK|BMjU2S1ci)/.test(jwe),
  )
  const unwrap = (kek: Buffer, encryptedKey: Buffer) => {
    const decipher = createDecipheriv(`id-aes${8 * kek.length}-wrap`, kek, Buffer.alloc(8, 0xa6))
    return Buffer.concat([decipher.update(encryptedKey), decipher.final()])
  }

  it.each(WRAPPED)('$tcId comes out under the key that its header names: $comment', (test) => {
    const { members, ...jwe } = parse(test.jwe)
    using secrets = new SecretScope()
    const kekBits = Number(/A(\d{3})KW$/.exec(members.alg)![1])
    const kek = members.epk === undefined ? aesKey : derive(members.epk, members.alg, kekBits, secrets)
    const cek = unwrap(kek, jwe.encryptedKey)
    if (test.enc !== 'A256GCM') return
    expect(openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets).toString('hex')).toBe(test.pt)
  })
})

describe('RSA-OAEP-256', () => {
  const encryptedTo = (comment: RegExp) =>
    CASES.filter((test) => test.tcId >= 88 && test.tcId <= 99 && comment.test(test.comment))

  it('90 opens: A256GCM', () => {
    const { jwe: text, pt } = testCase(90)
    const { members, ...jwe } = parse(text)
    checkAlgorithms(members, { alg: 'RSA-OAEP-256', enc: 'A256GCM' })
    checkKeyTransport(jwe, 256)
    using secrets = new SecretScope()
    const cek = decodeOaep256(rsa.rawDecrypt(jwe.encryptedKey), secrets, 32, Buffer.alloc(32))
    expect(openContent({ ...jwe, cek, aad: jwe.protectedHeader }, secrets).toString('hex')).toBe(pt)
  })

  it.each(encryptedTo(/^accepts/))('$tcId has a CEK of its own length, as OpenSSL decodes it: $comment', ({ jwe }) => {
    const { encryptedKey } = parse(jwe)
    const cek = privateDecrypt({ key: rsaKey, oaepHash: 'sha256' }, encryptedKey)
    using secrets = new SecretScope()
    const em = rsa.rawDecrypt(encryptedKey)
    expect(decodeOaep256(em, secrets, cek.length, randomBytes(cek.length))).toEqual(cek)
    // Of any other length it is nobody's CEK.
    const substitute = randomBytes(cek.length + 1)
    expect(decodeOaep256(em, secrets, cek.length + 1, substitute)).toEqual(substitute)
  })

  it.each(encryptedTo(/^invalid/))('$tcId has a CEK in PKCS #1 v1.5, which is no OAEP: the substitute', ({ jwe }) => {
    const substitute = randomBytes(32)
    using secrets = new SecretScope()
    expect(decodeOaep256(rsa.rawDecrypt(parse(jwe).encryptedKey), secrets, 32, substitute)).toEqual(substitute)
  })
})
