import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { deriveCek, padSharedSecret } from '../../../src/jwe/concat-kdf.ts'
import { openContent, sealContent } from '../../../src/jwe/content.ts'
import { SecretScope } from '../../../src/secret.ts'
import { expectCode } from './expect-code.ts'
import { WatchedScope } from './watched-scope.ts'

const PAYLOAD = Buffer.from('{"pinBlock":"0412345678901234"}')
const KEYS = { cek: randomBytes(32), iv: randomBytes(12), aad: 'e30' }
const SEALED = { ...KEYS, ...sealContent({ ...KEYS, payload: PAYLOAD }) }

function flip(bytes: Buffer, at = 0): Buffer {
  const copy = Buffer.from(bytes)
  copy[at]! ^= 0x01
  return copy
}

describe('openContent', () => {
  it('returns what was sealed', () => {
    using secrets = new SecretScope()
    expect(openContent(SEALED, secrets)).toEqual(PAYLOAD)
  })

  it.each<[string, object]>([
    ['another CEK', { cek: flip(KEYS.cek) }],
    ['another iv', { iv: flip(KEYS.iv) }],
    ['another aad', { aad: 'e31' }],
    ['a changed ciphertext', { ciphertext: flip(SEALED.ciphertext) }],
    ['a shorter ciphertext', { ciphertext: SEALED.ciphertext.subarray(1) }],
    ['a changed first byte of the tag', { tag: flip(SEALED.tag) }],
    ['a changed last byte of the tag', { tag: flip(SEALED.tag, 15) }],
    ['a tag of 4 bytes', { tag: SEALED.tag.subarray(0, 4) }],
    ['a tag of 12 bytes', { tag: SEALED.tag.subarray(0, 12) }],
    ['a CEK of 16 bytes', { cek: KEYS.cek.subarray(0, 16) }],
    ['an empty iv', { iv: Buffer.alloc(0) }],
  ])('rejects %s with ERR_JWE_DECRYPTION_FAILED', (_name, change) => {
    using secrets = new SecretScope()
    expectCode(() => openContent({ ...SEALED, ...change }, secrets), 'ERR_JWE_DECRYPTION_FAILED')
  })

  it('leaves zeros where the payload was when the scope ends', () => {
    const secrets = new SecretScope()
    const payload = openContent(SEALED, secrets)
    expect(payload).toEqual(PAYLOAD)
    secrets[Symbol.dispose]()
    expect(payload).toEqual(Buffer.alloc(PAYLOAD.length))
  })

  it('keeps bytes that did not authenticate inside the scope, where they are wiped', () => {
    const secrets = new WatchedScope()
    expectCode(() => openContent({ ...SEALED, tag: flip(SEALED.tag) }, secrets), 'ERR_JWE_DECRYPTION_FAILED')
    expect(secrets.taken).toEqual([PAYLOAD])
    secrets[Symbol.dispose]()
    expect(secrets.taken).toEqual([Buffer.alloc(PAYLOAD.length)])
  })
})

describe('sealContent', () => {
  it.each<[string, object]>([
    ['a CEK of 16 bytes', { cek: KEYS.cek.subarray(0, 16) }],
    ['an empty iv', { iv: Buffer.alloc(0) }],
  ])('rejects %s with ERR_INTERNAL', (_name, change) => {
    expectCode(() => sealContent({ ...KEYS, payload: PAYLOAD, ...change }), 'ERR_INTERNAL')
  })
})

describe('deriveCek', () => {
  const info = { algorithmId: 'A256GCM', apu: Buffer.alloc(0), apv: Buffer.alloc(0), keyBits: 256 }
  const derive = (change: object, z = Buffer.alloc(32, 7)) => {
    using secrets = new SecretScope()
    return deriveCek(z, { ...info, ...change }, secrets).toString('hex')
  }

  it('separates apu, apv, the algorithm and the length from each other', () => {
    const a = Buffer.from('a')
    const all = [
      derive({}),
      derive({ apu: a }),
      derive({ apv: a }),
      derive({ algorithmId: 'A256GCMa' }),
      derive({ algorithmId: 'A128GCM' }),
      derive({ keyBits: 248 }),
      derive({}, Buffer.alloc(32, 8)),
    ]
    expect(new Set(all.map((key) => key.slice(0, 62))).size).toBe(all.length)
  })

  it.each([0, 31, 33, 64])('rejects Z of %i bytes with ERR_INTERNAL', (length) => {
    expectCode(() => derive({}, Buffer.alloc(length)), 'ERR_INTERNAL')
  })

  it.each([0, -8, 255, 264, 512, Number.NaN])('rejects keyBits %d with ERR_INTERNAL', (keyBits) => {
    expectCode(() => derive({ keyBits }), 'ERR_INTERNAL')
  })

  it('leaves zeros where the CEK and its input were when the scope ends', () => {
    const secrets = new WatchedScope()
    deriveCek(Buffer.alloc(32, 7), info, secrets)
    expect(secrets.taken.map((slice) => slice.length)).toEqual([4 + 32 + 4 + 7 + 4 + 4 + 4, 32])
    expect(secrets.allUsed).toBe(true)
    secrets[Symbol.dispose]()
    expect(secrets.allWiped).toBe(true)
  })
})

describe('padSharedSecret', () => {
  it.each([1, 31, 32])('puts %i bytes at the right end of 32', (length) => {
    using secrets = new SecretScope()
    const padded = padSharedSecret(Buffer.alloc(length, 0xaa), secrets)
    expect(padded.toString('hex')).toBe('00'.repeat(32 - length) + 'aa'.repeat(length))
  })

  it.each([0, 33])('rejects %i bytes with ERR_INTERNAL', (length) => {
    using secrets = new SecretScope()
    expectCode(() => padSharedSecret(Buffer.alloc(length), secrets), 'ERR_INTERNAL')
  })
})
