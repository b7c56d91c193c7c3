import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createPublicKey,
  constants,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../src/config/schema.ts'
import type { PublicKey } from '../../src/hsm/hsm.ts'
import { pointOf } from '../../src/hsm/self-test.ts'
import { SecretScope } from '../../src/secret.ts'
import { agreed } from '../support/oracles.ts'
import { makeSoftHsm, type SoftHsm } from '../support/soft-hsm.ts'

let token: SoftHsm
let open: Awaited<ReturnType<SoftHsm['open']>>
let secrets: SecretScope

beforeAll(async () => {
  token = await makeSoftHsm()
  open = await token.open()
  secrets = new SecretScope()
})
afterAll(() => {
  open.close()
  token.dispose()
})

const hex = (bytes: Buffer) => bytes.toString('hex')
const publicKeyOf = (id: string): PublicKey => open.publicKeys.get(open.key(id))!

function ecb(direction: 'encipher' | 'decipher', key: KeyEntry, blocks: Buffer): Buffer {
  const value = Buffer.from(token.value(key.id), 'hex')
  const name = key.algorithm === 'TDEA-128' ? 'des-ede-ecb' : 'aes-256-ecb'
  const cipher = direction === 'encipher' ? createCipheriv(name, value, null) : createDecipheriv(name, value, null)
  cipher.setAutoPadding(false)
  return Buffer.concat([cipher.update(blocks), cipher.final()])
}

describe('blocks in ECB', () => {
  it.each([
    ['zpk-out', 8],
    ['zpk-aes', 16],
    ['seccos-pin', 8],
  ])('are enciphered and deciphered under %s as node:crypto does, 1 to 10 000 in one call', async (id, blockBytes) => {
    const key = open.key(id)
    for (const count of [1, 2, 3, 17, 512, 10_000]) {
      const clear = randomBytes(count * blockBytes)
      const enciphered = await open.hsm.encipherBlocks(key, clear)
      expect(enciphered.equals(ecb('encipher', key, clear))).toBe(true)
      expect((await open.hsm.decipherBlocks(key, enciphered, secrets)).equals(clear)).toBe(true)
    }
  })

  it('come into a slice of the scope, which wipes it', async () => {
    const key = open.key('zpk-in')
    const scope = new SecretScope()
    const clear = await open.hsm.decipherBlocks(key, randomBytes(16), scope)
    expect(clear.some((byte) => byte !== 0)).toBe(true)
    scope[Symbol.dispose]()
    expect(clear.every((byte) => byte === 0)).toBe(true)
  })

  it('are refused by the token where the key only deciphers', async () => {
    await expect(open.hsm.encipherBlocks(open.key('zpk-in'), randomBytes(8))).rejects.toMatchObject({
      name: 'ServiceError',
      detail: { ckr: 'CKR_KEY_FUNCTION_NOT_PERMITTED' },
    })
  })
})

describe('MACs', () => {
  const LENGTHS = [...Array.from({ length: 50 }, (_, n) => n + 1), 63, 64, 65, 255, 256, 1000]

  it.each([
    ['prw', 'TDEA-CMAC', 'TDEA'],
    ['prw-aes', 'AES-CMAC', 'AES'],
    ['pin-mac-aes', 'AES-CMAC', 'AES'],
  ] as const)('by CMAC under %s are those of two oracles, of 1 to 1000 bytes', async (id, algorithm, cipher) => {
    for (const length of LENGTHS) {
      const message = randomBytes(length)
      const mac = await open.hsm.generateMac(open.key(id), algorithm, message)
      expect([length, hex(mac)]).toEqual([
        length,
        agreed((oracle) => oracle.cmac(cipher, token.value(id), hex(message))),
      ])
    }
  })

  it('by ISO 9797-1 algorithm 3, composed of two calls, are those of two oracles, of 0 to 1000 bytes', async () => {
    for (const length of [0, ...LENGTHS]) {
      const message = randomBytes(length)
      const mac = await open.hsm.generateMac(open.key('pin-mac'), 'ISO-9797-1-ALG-3', message)
      expect([length, hex(mac)]).toEqual([
        length,
        agreed((oracle) => oracle.retailMac(token.value('pin-mac'), hex(message), 2)),
      ])
    }
  })

  it.each([
    ['prw', 'TDEA-CMAC'],
    ['prw-aes', 'AES-CMAC'],
    ['pin-mac-aes', 'AES-CMAC'],
    ['pin-mac', 'ISO-9797-1-ALG-3'],
  ] as const)(
    'under %s verify, whole and truncated, and not with any bit changed or the message',
    async (id, algorithm) => {
      const key = open.key(id)
      const message = randomBytes(33)
      const mac = await open.hsm.generateMac(key, algorithm, message)
      expect(await open.hsm.verifyMac(key, algorithm, message, mac)).toBe(true)
      expect(await open.hsm.verifyMac(key, algorithm, message, mac.subarray(0, 4))).toBe(true)
      for (let bit = 0; bit < mac.length * 8; bit++) {
        const wrong = Buffer.from(mac)
        wrong[bit >> 3]! ^= 1 << (bit & 7)
        expect(await open.hsm.verifyMac(key, algorithm, message, wrong)).toBe(false)
      }
      expect(await open.hsm.verifyMac(key, algorithm, randomBytes(33), mac)).toBe(false)
      expect(await open.hsm.verifyMac(key, algorithm, message, Buffer.concat([mac, Buffer.of(0)]))).toBe(false)
    },
  )
})

describe('ECDH', () => {
  it('gives the Z of node:crypto, 32 bytes also where it begins with zeros', async () => {
    const key = open.key('jwe-ec')
    const publicKey = publicKeyOf('jwe-ec')
    if (publicKey.kty !== 'EC') throw new Error('not EC')
    const own = pointOf(publicKey)
    let zeros = 0
    // One Z in 256 begins with a zero byte: found with node:crypto, so that the token is asked for those.
    for (let tries = 0; tries < 20_000 && zeros < 3; tries++) {
      const ephemeral = createECDH('prime256v1')
      const point = ephemeral.generateKeys()
      const expected = ephemeral.computeSecret(own)
      const padded = Buffer.concat([Buffer.alloc(32 - expected.length), expected])
      if (padded[0] !== 0 && tries >= 10) continue
      if (padded[0] === 0) zeros++
      expect(hex(await open.hsm.deriveSharedSecret(key, point, secrets))).toBe(hex(padded))
    }
    expect(zeros).toBe(3)
  })

  it('leaves no object behind and counts each', async () => {
    const before = open.hsm.sessionObjects
    const objects = () => open.token.anchor.find().length
    const there = objects()
    const ephemeral = createECDH('prime256v1')
    const point = ephemeral.generateKeys()
    for (let n = 0; n < 20; n++) await open.hsm.deriveSharedSecret(open.key('jwe-ec'), point, secrets)
    expect(open.hsm.sessionObjects).toBe(before + 20)
    expect(objects()).toBe(there)
  })

  it('answers a point that is none with an error of the closed set', async () => {
    for (const point of [
      Buffer.alloc(65),
      Buffer.concat([Buffer.of(4), Buffer.alloc(64, 0xff)]),
      Buffer.alloc(3),
      Buffer.alloc(0),
    ]) {
      await expect(open.hsm.deriveSharedSecret(open.key('jwe-ec'), point, secrets)).rejects.toMatchObject({
        name: 'ServiceError',
      })
    }
  })
})

describe('RSA-OAEP-256', () => {
  const wrap = (cek: Buffer, oaepHash = 'sha256', padding = constants.RSA_PKCS1_OAEP_PADDING) => {
    const key = createPublicKey({ key: { ...publicKeyOf('jwe-rsa') }, format: 'jwk' })
    return publicEncrypt({ key, padding, ...(padding === constants.RSA_PKCS1_OAEP_PADDING && { oaepHash }) }, cek)
  }
  const unwrap = (wrapped: Buffer, cekBytes = 32) => open.hsm.unwrapCek(open.key('jwe-rsa'), wrapped, cekBytes, secrets)
  const modulus = () => Buffer.from((publicKeyOf('jwe-rsa') as { n: string }).n, 'base64url')

  it('unwraps what node:crypto wrapped', async () => {
    for (let n = 0; n < 20; n++) {
      const cek = randomBytes(32)
      expect(hex(await unwrap(wrap(cek)))).toBe(hex(cek))
    }
  })

  it('gives a random CEK of the right length for everything else, another each time, and never throws', async () => {
    const cek = randomBytes(32)
    const flipped = Buffer.from(wrap(cek))
    flipped[100]! ^= 1
    const one = Buffer.concat([Buffer.alloc(255), Buffer.of(1)])
    const minusOne = modulus()
    minusOne[255]! -= 1
    const cases: Record<string, Buffer> = {
      'OAEP with SHA-1': wrap(cek, 'sha1'),
      'PKCS #1 v1.5': wrap(cek, '', constants.RSA_PKCS1_PADDING),
      'a bit changed': flipped,
      'a CEK of 16 bytes': wrap(randomBytes(16)),
      'a CEK of 33 bytes': wrap(randomBytes(33)),
      'an empty CEK': wrap(Buffer.alloc(0)),
      'random bytes': Buffer.concat([Buffer.of(0), randomBytes(255)]),
      zero: Buffer.alloc(256),
      one,
      'n - 1': minusOne,
      n: modulus(),
      'more than n': Buffer.alloc(256, 0xff),
      'a byte short': wrap(cek).subarray(1),
      'a byte long': Buffer.concat([Buffer.of(0), wrap(cek)]),
      nothing: Buffer.alloc(0),
    }
    const seen = new Set([hex(cek), '00'.repeat(32)])
    for (const [name, wrapped] of Object.entries(cases)) {
      for (let n = 0; n < 3; n++) {
        const given = await unwrap(wrapped)
        expect([name, given.length]).toEqual([name, 32])
        expect([name, seen.has(hex(given))]).toEqual([name, false])
        seen.add(hex(given))
      }
    }
    expect(hex(await unwrap(wrap(cek)))).toBe(hex(cek))
  })
})

it('fills slices with random bytes', async () => {
  const [a, b] = [secrets.take(32), secrets.take(32)]
  await open.hsm.fillRandom(a)
  await open.hsm.fillRandom(b)
  expect(hex(a)).not.toBe('00'.repeat(32))
  expect(hex(a)).not.toBe(hex(b))
})
