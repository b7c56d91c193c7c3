/** One answer for every JWE that does not open: a stranger must not learn which step failed. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { flipBit, jwkOf, newEphemeral, rsaRaw, sealEc, sealRsa, withPart, wrapPkcs1 } from '../../support/node-jwe.ts'
import type { Answer } from '../../support/service.ts'
import { expectOneAnswer, expectSameProcesses, iso0, newPan, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const PAN = '4000001234567899'
/** Every refusal of this file, for the comparison at its end. */
const refused: Answer[] = []

async function refuse(encryptedPinBlock: string): Promise<void> {
  const answer = await issuer.post('/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card: { pan: PAN }, to: TO })
  expect({ status: answer.status, code: answer.json.code }).toEqual({ status: 422, code: 'ERR_JWE_DECRYPTION_FAILED' })
  refused.push(answer)
}

describe('an ECDH-ES JWE is refused with 422 ERR_JWE_DECRYPTION_FAILED when', () => {
  const ec = (options: Parameters<typeof sealEc>[2] = {}) =>
    sealEc(iso0('1234', PAN), issuer.jwk('jwe-ec'), options).compact
  const reheader = (change: (header: any) => object) =>
    withPart(ec(), 0, (old) =>
      Buffer.from(JSON.stringify(change(JSON.parse(Buffer.from(old, 'base64url').toString())))).toString('base64url'),
    )

  const CAUSES: Record<string, () => string> = {
    'the header gained a member': () => reheader((header) => ({ ...header, typ: 'JOSE' })),
    'the header is spelled otherwise': () => reheader(({ alg, ...rest }) => ({ ...rest, alg })),
    'the epk is another point': () => reheader((header) => ({ ...header, epk: jwkOf(newEphemeral()) })),
    "the epk is the recipient's own key": () =>
      reheader((header) => ({ ...header, epk: publicOf(issuer.jwk('jwe-ec')) })),
    'an apu was added': () => reheader((header) => ({ ...header, apu: 'QWxpY2U' })),
    'apu and apv are exchanged': () =>
      withPart(ec({ apu: Buffer.from('a'), apv: Buffer.from('b') }), 0, (old) => {
        const header = JSON.parse(Buffer.from(old, 'base64url').toString())
        return Buffer.from(JSON.stringify({ ...header, apu: header.apv, apv: header.apu })).toString('base64url')
      }),
    'a bit of the IV is flipped': () => flipBit(ec(), 2),
    'a bit of the ciphertext is flipped': () => flipBit(ec(), 3),
    'the last byte of the ciphertext is flipped': () => flipBit(ec(), 3, iso0('1234', PAN).length - 1),
    'the ciphertext is cut': () =>
      withPart(ec(), 3, (old) => Buffer.from(old, 'base64url').subarray(0, -1).toString('base64url')),
    'the ciphertext is longer': () => withPart(ec(), 3, (old) => `${old.slice(0, 4)}AAAA${old.slice(4)}`),
    'a bit of the tag is flipped': () => flipBit(ec(), 4),
    'the last byte of the tag is flipped': () => flipBit(ec(), 4, 15),
    'the tag is zeros': () => withPart(ec(), 4, Buffer.alloc(16).toString('base64url')),
    'it was made for another key': () => sealEc(iso0('1234', PAN), { ...jwkOf(newEphemeral()), kid: 'jwe-ec' }).compact,
    'the parts are of two JWEs': () => withPart(ec(), 3, ec().split('.')[3]!),
  }
  const publicOf = ({ x, y }: { x?: string; y?: string }) => ({ kty: 'EC', crv: 'P-256', x, y })

  it.each(Object.keys(CAUSES))('%s', (what) => refuse(CAUSES[what]!()))
})

describe('an RSA-OAEP-256 JWE is refused with 422 ERR_JWE_DECRYPTION_FAILED when', () => {
  const jwk = () => issuer.jwk('jwe-rsa')
  const rsa = (options: Parameters<typeof sealRsa>[2] = {}) => sealRsa(iso0('1234', PAN), jwk(), options).compact
  const modulus = () => BigInt(`0x${Buffer.from(jwk().n!, 'base64url').toString('hex')}`)
  const bytesOf = (value: bigint) => Buffer.from(value.toString(16).padStart(512, '0'), 'hex')
  /** An encoded message that no sender makes, below the modulus. */
  const message = (...bytes: number[]) => Buffer.concat([Buffer.from(bytes), randomBytes(256 - bytes.length)])

  const CAUSES: Record<string, () => string> = {
    'a bit of the encrypted key is flipped': () => flipBit(rsa(), 1, 255),
    'the encrypted key is random': () =>
      rsa({ encryptedKey: bytesOf(modulus() - 1n - BigInt(`0x${randomBytes(64).toString('hex')}`)) }),
    'the encrypted key is zero': () => rsa({ encryptedKey: Buffer.alloc(256) }),
    'the encrypted key is one': () => rsa({ encryptedKey: bytesOf(1n) }),
    'the encrypted key is n': () => rsa({ encryptedKey: bytesOf(modulus()) }),
    'the encrypted key is n - 1': () => rsa({ encryptedKey: bytesOf(modulus() - 1n) }),
    'the encrypted key is n + 1': () => rsa({ encryptedKey: bytesOf(modulus() + 1n) }),
    'the encrypted key is the greatest number of its length': () => rsa({ encryptedKey: Buffer.alloc(256, 255) }),
    'the padding is that of PKCS #1 v1.5': () => {
      const cek = randomBytes(32)
      return rsa({ cek, encryptedKey: wrapPkcs1(cek, jwk()) })
    },
    'the first byte of the encoded message is not zero': () => rsa({ encryptedKey: rsaRaw(message(1), jwk()) }),
    'the first byte is zero and the rest is random': () => rsa({ encryptedKey: rsaRaw(message(0), jwk()) }),
    'the encoded message is zeros': () => rsa({ encryptedKey: rsaRaw(Buffer.alloc(256), jwk()) }),
    'the label is not empty': () => rsa({ oaepLabel: Buffer.from('D1') }),
    'the hash is SHA-1': () => rsa({ oaepHash: 'sha1' }),
    'the hash is SHA-512': () => rsa({ oaepHash: 'sha512' }),
    'the CEK has 16 bytes': () => rsa({ cek: randomBytes(16) }),
    'the CEK has 31 bytes': () => rsa({ cek: randomBytes(31) }),
    'the CEK has 33 bytes': () => rsa({ cek: randomBytes(33) }),
    'the CEK has 64 bytes': () => rsa({ cek: randomBytes(64) }),
    'the CEK is empty': () => rsa({ cek: Buffer.alloc(0) }),
    'the header gained a member': () =>
      withPart(
        rsa(),
        0,
        Buffer.from('{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"jwe-rsa","typ":"JWE"}').toString('base64url'),
      ),
    'a bit of the IV is flipped': () => flipBit(rsa(), 2, 11),
    'a bit of the ciphertext is flipped': () => flipBit(rsa(), 3),
    'a bit of the tag is flipped': () => flipBit(rsa(), 4),
    'the encrypted key is of another JWE': () => withPart(rsa(), 1, rsa().split('.')[1]!),
  }

  it.each(Object.keys(CAUSES))('%s', (what) => refuse(CAUSES[what]!()))
})

describe('after all of it', () => {
  it('every refusal was byte for byte one answer', () => {
    expect(refused.length).toBe(41)
    expectOneAnswer(refused, 422, 'ERR_JWE_DECRYPTION_FAILED')
  })

  it('both keys still open a good JWE, and no process was replaced', async () => {
    for (const made of [sealEc, sealRsa]) {
      const pan = newPan()
      const { compact } = made(iso0('1234', pan), issuer.jwk(made === sealEc ? 'jwe-ec' : 'jwe-rsa'))
      const answer = await issuer.post('/v1/pin/set', {
        type: 'ISO0',
        encryptedPinBlock: compact,
        card: { pan },
        to: TO,
      })
      expect(answer.status).toBe(200)
    }
    expectSameProcesses(issuer.service)
  })
})
