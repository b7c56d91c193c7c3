import { constants, publicEncrypt, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeOaep256 } from '../../src/hsm/oaep.ts'
import { SecretScope } from '../../src/secret.ts'
import { expectCode } from './jwe/expect-code.ts'
import { RsaRecipient } from './jwe/software-recipient.ts'
import { WatchedScope } from './jwe/watched-scope.ts'

const RSA = new RsaRecipient()
const CEK = randomBytes(32)
const SUBSTITUTE = randomBytes(32)

function encode(message: Buffer, oaepHash = 'sha256', oaepLabel?: Buffer): Buffer {
  const padding = constants.RSA_PKCS1_OAEP_PADDING
  const options = { key: RSA.publicKey, padding, oaepHash, ...(oaepLabel && { oaepLabel }) }
  return RSA.rawDecrypt(publicEncrypt(options, message))
}

function decode(em: Buffer, cekBytes = 32, substitute: Buffer = SUBSTITUTE): Buffer {
  using secrets = new SecretScope()
  return Buffer.from(decodeOaep256(em, secrets, cekBytes, substitute))
}

describe('decodeOaep256', () => {
  it('returns the CEK that OpenSSL encoded', () => {
    expect(decode(encode(CEK))).toEqual(CEK)
  })

  it('returns the CEK of every length that fits, and the substitute for every other length', () => {
    for (const bytes of [0, 1, 16, 31, 32, 33, 64, 189, 190]) {
      const message = randomBytes(bytes)
      expect(decode(encode(message), bytes, Buffer.alloc(bytes))).toEqual(message)
      if (bytes !== 32) expect(decode(encode(message))).toEqual(SUBSTITUTE)
    }
  })

  it('returns the substitute for a CEK of 33 bytes that begins with 01, and of 31 bytes', () => {
    expect(decode(encode(Buffer.concat([Buffer.of(1), CEK])))).toEqual(SUBSTITUTE)
    expect(decode(encode(CEK.subarray(1)))).toEqual(SUBSTITUTE)
  })

  it('returns the substitute for another hash and for a label', () => {
    expect(decode(encode(CEK, 'sha1'))).toEqual(SUBSTITUTE)
    expect(decode(encode(CEK, 'sha256', Buffer.from('label')))).toEqual(SUBSTITUTE)
  })

  it('returns the substitute for every value of the first byte but 0', () => {
    const em = encode(CEK)
    for (let first = 1; first < 256; first++) {
      em[0] = first
      expect(decode(em)).toEqual(SUBSTITUTE)
    }
  })

  it('returns the substitute when any one bit of EM changes', () => {
    const em = encode(CEK)
    for (let bit = 0; bit < em.length * 8; bit++) {
      em[bit >> 3]! ^= 1 << (bit & 7)
      const decoded = decode(em)
      // A bit of the CEK itself is not padding: it shows as another CEK, which the GCM tag refuses.
      if (bit >> 3 < em.length - 32) expect(decoded).toEqual(SUBSTITUTE)
      else expect(decoded).not.toEqual(CEK)
      em[bit >> 3]! ^= 1 << (bit & 7)
    }
  })

  it('returns the substitute for anything that is no encoding', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 256, maxLength: 256 }), (bytes) => {
        expect(decode(Buffer.from(bytes))).toEqual(SUBSTITUTE)
      }),
    )
  })

  it('selects all eight bits of the CEK and of the substitute', () => {
    for (const fill of [0x00, 0xff, 0xaa, 0x55]) {
      expect(decode(encode(Buffer.alloc(32, fill)), 32, Buffer.alloc(32, ~fill))).toEqual(Buffer.alloc(32, fill))
      expect(decode(Buffer.alloc(256), 32, Buffer.alloc(32, fill))).toEqual(Buffer.alloc(32, fill))
    }
  })

  it.each([
    ['a substitute of another length', 256, 32, 31],
    ['a CEK that cannot fit', 256, 191, 191],
    ['an EM that is too short', 97, 32, 32],
    ['an empty EM', 0, 32, 32],
  ])('rejects %s with ERR_INTERNAL', (_name, emBytes, cekBytes, substituteBytes) => {
    expectCode(() => decode(Buffer.alloc(emBytes), cekBytes, Buffer.alloc(substituteBytes)), 'ERR_INTERNAL')
  })

  it('does not change EM or the substitute, and leaves zeros where its work was when the scope ends', () => {
    const em = encode(CEK)
    const before = Buffer.from(em)
    const secrets = new WatchedScope()
    expect(decodeOaep256(em, secrets, 32, SUBSTITUTE)).toEqual(CEK)
    expect(em).toEqual(before)
    // The seed, DB, the two inputs of MGF1 with their counters, and the result.
    expect(secrets.taken.map((slice) => slice.length)).toEqual([32, 223, 227, 36, 32])
    expect(secrets.allUsed).toBe(true)
    secrets[Symbol.dispose]()
    expect(secrets.allWiped).toBe(true)
  })
})
