/** What is refused before the HSM is touched: form, header, kid, alg and enc, epk. */
import { randomBytes } from 'node:crypto'
import { CompactEncrypt, exportJWK, generateKeyPair, importJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { jwkOf, newEphemeral, sealEc, sealRsa, withPart, wrapPkcs1 } from '../../support/node-jwe.ts'
import {
  expectOneAnswer,
  expectProblem,
  expectSameProcesses,
  iso0,
  newPan,
  openIssuer,
  TO,
  type Issuer,
} from '../routes/issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const PAN = '4000001234567899'

const set = (encryptedPinBlock: string, pan = PAN) =>
  issuer.post('/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card: { pan }, to: TO })
const ec = (options: Parameters<typeof sealEc>[2] = {}) =>
  sealEc(iso0('1234', PAN), issuer.jwk('jwe-ec'), options).compact
const rsa = (options: Parameters<typeof sealRsa>[2] = {}) =>
  sealRsa(iso0('1234', PAN), issuer.jwk('jwe-rsa'), options).compact

/** A header's own text, correct but for what is written here. */
const text = (write: (epk: string) => string) => {
  const ephemeral = newEphemeral()
  return sealEc(iso0('1234', PAN), issuer.jwk('jwe-ec'), {
    ephemeral,
    headerText: write(JSON.stringify(jwkOf(ephemeral))),
  }).compact
}

describe('ERR_JWE_INVALID, 400, in one answer for every cause', () => {
  const FORMS: Record<string, () => string> = {
    'zip of DEF': () => ec({ header: { zip: 'DEF' } }),
    'zip of nothing': () => ec({ header: { zip: '' } }),
    'crit of an extension': () => ec({ header: { crit: ['exp'], exp: 1 } }),
    'an empty crit': () => ec({ header: { crit: [] } }),
    'zip with RSA': () => rsa({ header: { zip: 'DEF' } }),
    'crit with RSA': () => rsa({ header: { crit: ['b64'], b64: true } }),
    jku: () => ec({ header: { jku: 'https://127.0.0.1:1/jwks' } }),
    x5u: () => ec({ header: { x5u: 'https://127.0.0.1:1/cert' } }),
    jwk: () => ec({ header: { jwk: issuer.jwk('jwe-ec') } }),
    x5c: () => rsa({ header: { x5c: ['MIIB'] } }),
    'no kid': () => ec({ header: { kid: undefined } }),
    'an unknown kid': () => ec({ header: { kid: 'jwe-none' } }),
    'a kid that is a number': () => ec({ header: { kid: 1 } }),
    'a kid that is null': () => ec({ header: { kid: null } }),
    'a kid in another case': () => ec({ header: { kid: 'JWE-EC' } }),
    'a kid that names a zone key': () => ec({ header: { kid: 'zpk-in' } }),
    'the kid of a recipient': () => ec({ header: { kid: 'd1-dev' } }),
    'no alg': () => ec({ header: { alg: undefined } }),
    'no enc': () => ec({ header: { enc: undefined } }),
    'an alg that is a list': () => ec({ header: { alg: ['ECDH-ES'] } }),
    'kid twice': () => text((epk) => `{"alg":"ECDH-ES","enc":"A256GCM","kid":"jwe-rsa","kid":"jwe-ec","epk":${epk}}`),
    'alg twice, once escaped': () =>
      text((epk) => `{"alg":"ECDH-ES","\\u0061lg":"ECDH-ES","enc":"A256GCM","kid":"jwe-ec","epk":${epk}}`),
    'a header that is no JSON': () => text(() => '{"alg":"ECDH-ES"'),
    'a header that is a list': () => text(() => '[]'),
    'a header that is a string': () => text(() => '"ECDH-ES"'),
    'a header that is null': () => text(() => 'null'),
    'a header with a comma too many': () =>
      text((epk) => `{"alg":"ECDH-ES","enc":"A256GCM","kid":"jwe-ec","epk":${epk},}`),
    'a header with a byte order mark': () =>
      text((epk) => `\ufeff{"alg":"ECDH-ES","enc":"A256GCM","kid":"jwe-ec","epk":${epk}}`),
    'a header nested too deep': () =>
      text(
        (epk) =>
          `{"alg":"ECDH-ES","enc":"A256GCM","kid":"jwe-ec","epk":${epk},"x":${'['.repeat(900)}${']'.repeat(900)}}`,
      ),
    'a header that is no UTF-8': () => ec({ headerText: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]) }),
    'one part': () => 'jwe',
    'only dots': () => '....',
    'three parts, as a JWS': () => ec().split('.').slice(0, 3).join('.'),
    'four parts': () => ec().split('.').slice(0, 4).join('.'),
    'six parts': () => `${ec()}.`,
    'six full parts': () => `${ec()}.AAAA`,
    'an empty header': () => withPart(ec(), 0, ''),
    'an encrypted key with ECDH-ES': () => withPart(ec(), 1, randomBytes(40).toString('base64url')),
    'no encrypted key with RSA': () => withPart(rsa(), 1, ''),
    'an encrypted key of 255 bytes': () => rsa({ encryptedKey: randomBytes(255) }),
    'an encrypted key of 257 bytes': () => rsa({ encryptedKey: Buffer.concat([Buffer.alloc(1), randomBytes(256)]) }),
    'an empty IV': () => withPart(ec(), 2, ''),
    'an IV of 16 bytes': () => ec({ iv: randomBytes(16) }),
    'an IV of 11 bytes': () => withPart(ec(), 2, randomBytes(11).toString('base64url')),
    'an empty ciphertext': () => withPart(ec(), 3, ''),
    'an empty tag': () => withPart(ec(), 4, ''),
    'a tag of 12 bytes, the right ones': () =>
      withPart(ec(), 4, (tag) => Buffer.from(tag, 'base64url').subarray(0, 12).toString('base64url')),
    'a tag of 17 bytes': () =>
      withPart(ec(), 4, (tag) => Buffer.concat([Buffer.from(tag, 'base64url'), Buffer.alloc(1)]).toString('base64url')),
    'padding in base64url': () => withPart(ec(), 4, (tag) => `${tag}==`),
    'base64 in place of base64url': () => withPart(ec({ iv: Buffer.alloc(12, 0xff) }), 2, '/'.repeat(16)),
    'set unused bits in the tag': () => withPart(ec(), 4, looseEnd),
    'set unused bits in the header': () => withPart(ec(), 0, looseHeader),
    'a line break inside': () => withPart(ec(), 3, (old) => `${old.slice(0, 4)}\n${old.slice(4)}`),
    'a space before': () => ` ${ec()}`,
    'a line break behind': () => `${ec()}\n`,
    'a character beyond ASCII': () => withPart(ec(), 3, (old) => `é${old}`),
    'JSON serialization': () => JSON.stringify({ protected: ec().split('.')[0], ciphertext: ec().split('.')[3] }),
  }

  /** The same bytes with the unused low bits of the last character set. */
  function looseEnd(old: string): string {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const loose = old.slice(0, -1) + alphabet.charAt(alphabet.indexOf(old.at(-1)!) | 1)
    expect(loose).not.toBe(old)
    expect(Buffer.from(loose, 'base64url')).toEqual(Buffer.from(old, 'base64url'))
    return loose
  }

  /** A header whose length leaves unused bits: spaces are added until it does. */
  function looseHeader(old: string): string {
    const bytes = Buffer.from(old, 'base64url').toString()
    const padded = [bytes, `${bytes} `].find((header) => Buffer.byteLength(header) % 3 !== 0)!
    return looseEnd(Buffer.from(padded).toString('base64url'))
  }

  const EPKS: Record<string, () => unknown> = {
    'no epk': () => undefined,
    'an epk that is null': () => null,
    'an epk that is a string': () => 'AAAA',
    'an epk off the curve': () => ({ ...jwkOf(newEphemeral()), y: jwkOf(newEphemeral()).y }),
    'an epk of zeros, the point at infinity': () => ({ kty: 'EC', crv: 'P-256', x: zeros(32), y: zeros(32) }),
    'an epk at infinity, as empty coordinates': () => ({ kty: 'EC', crv: 'P-256', x: '', y: '' }),
    'an epk with x not below the prime': () => ({
      ...jwkOf(newEphemeral()),
      x: Buffer.alloc(32, 255).toString('base64url'),
    }),
    'an epk with a coordinate of 31 bytes': () => ({ ...jwkOf(newEphemeral()), x: zeros(31) }),
    'an epk with a coordinate of 33 bytes': () => lead(jwkOf(newEphemeral())),
    'an epk without y': () => ({ ...jwkOf(newEphemeral()), y: undefined }),
    'an epk with its private key': () => ({ ...jwkOf(newEphemeral()), d: zeros(32) }),
    'an epk said to be of P-384': () => ({ ...jwkOf(newEphemeral()), crv: 'P-384' }),
    'an epk said to be of secp256k1': () => ({ ...jwkOf(newEphemeral()), crv: 'secp256k1' }),
    'an epk of another kty': () => ({ ...jwkOf(newEphemeral()), kty: 'OKP' }),
    'an epk with coordinates in base64': () => ({ ...jwkOf(newEphemeral()), x: `${zeros(32)}=` }),
  }
  const zeros = (bytes: number) => Buffer.alloc(bytes).toString('base64url')
  const lead = (jwk: { x: string }) => ({
    ...jwk,
    x: Buffer.concat([Buffer.alloc(1), Buffer.from(jwk.x, 'base64url')]).toString('base64url'),
  })

  const causes = new Map<string, () => string>([
    ...Object.entries(FORMS),
    ...Object.entries(EPKS).map(([what, epk]): [string, () => string] => [what, () => ec({ header: { epk: epk() } })]),
    ['an apu that is no base64url', () => ec({ header: { apu: 'a+b=' } })],
    ['an apv that is a number', () => ec({ header: { apv: 1 } })],
  ])

  it.each([...causes.keys()])('%s', async (what) => {
    expectProblem(await set(causes.get(what)!()), 400, 'ERR_JWE_INVALID')
  })

  it('an epk of a real key on P-384 and on secp521r1', async () => {
    for (const crv of ['P-384', 'P-521']) {
      const { publicKey } = await generateKeyPair('ECDH-ES', { crv, extractable: true })
      expectProblem(await set(ec({ header: { epk: await exportJWK(publicKey) } })), 400, 'ERR_JWE_INVALID')
    }
  })

  it('is byte for byte one answer', async () => {
    const some = [
      'zip of DEF',
      'an unknown kid',
      'an epk off the curve',
      'six parts',
      'a tag of 12 bytes, the right ones',
    ]
    const answers = []
    for (const what of some) answers.push(await set(causes.get(what)!()))
    expectOneAnswer(answers, 400, 'ERR_JWE_INVALID')
  })
})

describe('ERR_ALG_NOT_ALLOWED, 400: the key says alg and enc, never the sender', () => {
  /** A real JWE of jose under another alg or enc, to the key that its kid names. */
  async function foreign(kid: 'jwe-ec' | 'jwe-rsa', alg: string, enc: string): Promise<string> {
    const key = alg === 'dir' ? randomBytes(enc === 'A256GCM' ? 32 : 16) : await importJWK(issuer.jwk(kid), alg)
    return await new CompactEncrypt(Buffer.from(iso0('1234', PAN))).setProtectedHeader({ alg, enc, kid }).encrypt(key)
  }

  it.each([
    ['jwe-ec', 'ECDH-ES', 'A128GCM'],
    ['jwe-ec', 'ECDH-ES', 'A192GCM'],
    ['jwe-ec', 'ECDH-ES', 'A128CBC-HS256'],
    ['jwe-ec', 'ECDH-ES', 'A256CBC-HS512'],
    ['jwe-ec', 'ECDH-ES+A128KW', 'A256GCM'],
    ['jwe-ec', 'ECDH-ES+A256KW', 'A256GCM'],
    ['jwe-ec', 'ECDH-ES+A256KW', 'A128CBC-HS256'],
    ['jwe-ec', 'dir', 'A256GCM'],
    ['jwe-rsa', 'RSA-OAEP', 'A256GCM'],
    ['jwe-rsa', 'RSA-OAEP-384', 'A256GCM'],
    ['jwe-rsa', 'RSA-OAEP-512', 'A256GCM'],
    ['jwe-rsa', 'RSA-OAEP-256', 'A128GCM'],
    ['jwe-rsa', 'RSA-OAEP-256', 'A128CBC-HS256'],
    ['jwe-rsa', 'dir', 'A256GCM'],
    ['jwe-rsa', 'dir', 'A128GCM'],
  ] as const)('%s with %s and %s', async (kid, alg, enc) => {
    expectProblem(await set(await foreign(kid, alg, enc)), 400, 'ERR_ALG_NOT_ALLOWED')
  })

  it('RSA1_5, correctly wrapped', async () => {
    const cek = randomBytes(32)
    const encryptedKey = wrapPkcs1(cek, issuer.jwk('jwe-rsa'))
    expectProblem(await set(rsa({ cek, encryptedKey, header: { alg: 'RSA1_5' } })), 400, 'ERR_ALG_NOT_ALLOWED')
  })

  it('the kid of the other key, an unknown alg, and none', async () => {
    const answers = [
      await set(ec({ header: { kid: 'jwe-rsa' } })),
      await set(rsa({ header: { kid: 'jwe-ec' } })),
      await set(ec({ header: { alg: 'none' } })),
      await set(ec({ header: { alg: 'ecdh-es' } })),
      await set(ec({ header: { alg: '' } })),
      await set(ec({ header: { enc: 'A256GCM ' } })),
      await set(ec({ header: { enc: 'none' } })),
      await set(ec({ header: { alg: 'A256GCMKW' } })),
      await set(ec({ header: { alg: 'PBES2-HS256+A128KW', p2c: 2_000_000_000, p2s: 'AAAA' } })),
      await set(rsa({ header: { alg: 'ECDH-ES' } })),
    ]
    expectOneAnswer(answers, 400, 'ERR_ALG_NOT_ALLOWED')
  })
})

describe('the length of a JWE', () => {
  /** A correct JWE of exactly so many characters: an ignored header member takes up the rest. */
  function ofLength(characters: number, payload: string): string {
    const epk = jwkOf(newEphemeral())
    for (let fill = 0; ; fill++) {
      const start = sealEc(payload, issuer.jwk('jwe-ec'), { header: { typ: 'a'.repeat(fill), epk } }).compact.length
      if (start >= characters) throw new Error('no header makes this length')
      const rest = Math.floor(((characters - start) * 3) / 4)
      for (let more = Math.max(0, rest - 3); more <= rest + 3; more++) {
        const made = sealEc(payload, issuer.jwk('jwe-ec'), { header: { typ: 'a'.repeat(fill + more) } }).compact
        if (made.length === characters) return made
      }
      payload += ' '
    }
  }

  it('of 8192 characters is read, of 8193 is refused with ERR_REQUEST_INVALID', async () => {
    const pan = newPan()
    const longest = ofLength(8192, iso0('1234', pan))
    expect(longest).toHaveLength(8192)
    expect((await set(longest, pan)).status).toBe(200)
    const tooLong = ofLength(8193, iso0('1234', pan))
    expect(tooLong).toHaveLength(8193)
    const answers = [
      await set(tooLong, pan),
      await set('A'.repeat(8193), pan),
      await set('.'.repeat(60_000), pan),
      await set('', pan),
    ]
    expectOneAnswer(answers, 400, 'ERR_REQUEST_INVALID')
  })
})

describe('after all of it', () => {
  it('the service answers a good request, and no process was replaced', async () => {
    const pan = newPan()
    const answer = await set(sealEc(iso0('1234', pan), issuer.jwk('jwe-ec')).compact, pan)
    expect(answer.status).toBe(200)
    expectSameProcesses(issuer.service)
  })
})
