import { createECDH, ECDH } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ephemeralJwk, isP256Point, parseEphemeralKey } from '../../../src/jwe/ephemeral-key.ts'
import { checkAlgorithms, checkKeyAgreement, checkKeyTransport, parseHeader } from '../../../src/jwe/header.ts'
import { expectCode } from './expect-code.ts'

const POINT = createECDH('prime256v1').generateKeys()
const EPK = ephemeralJwk(POINT)
const HEADER = { alg: 'ECDH-ES', enc: 'A256GCM', kid: 'jwe-ec', epk: EPK }
const NO_KEY = { encryptedKey: Buffer.alloc(0) }

const bytes = (header: unknown) => Buffer.from(typeof header === 'string' ? header : JSON.stringify(header))

describe('parseHeader', () => {
  it('reads alg, enc and kid', () => {
    expect(parseHeader(bytes(HEADER))).toMatchObject({ alg: 'ECDH-ES', enc: 'A256GCM', kid: 'jwe-ec' })
  })

  it.each([
    ['typ', 'JOSE'],
    ['cty', 'json'],
    ['iat', 1],
    ['x-unknown', { a: [1] }],
  ])('ignores %s, as RFC 7516 section 4 demands', (name, value) => {
    expect(parseHeader(bytes({ ...HEADER, [name]: value }))).toEqual(parseHeader(bytes(HEADER)))
  })

  it.each([
    ['zip', 'DEF'],
    ['zip', ''],
    ['crit', ['exp']],
    ['crit', []],
    ['jku', 'https://attacker.example/keys'],
    ['jwk', EPK],
    ['x5u', 'https://attacker.example/cert'],
    ['x5c', ['MIIB']],
    ['x5t', 'AA'],
    ['x5t#S256', 'AA'],
    ['jku', null],
  ])('rejects %s = %j with ERR_JWE_INVALID', (name, value) => {
    expectCode(() => parseHeader(bytes({ ...HEADER, [name]: value })), 'ERR_JWE_INVALID')
  })

  describe.each(['alg', 'enc', 'kid'])('%s', (name) => {
    it.each([undefined, null, 1, true, [], ['A256GCM'], {}])('rejects %j with ERR_JWE_INVALID', (value) => {
      expectCode(() => parseHeader(bytes({ ...HEADER, [name]: value })), 'ERR_JWE_INVALID')
    })

    it('rejects a second one with ERR_JWE_INVALID', () => {
      const once = JSON.stringify(HEADER)
      expectCode(() => parseHeader(bytes(once.replace('{', `{"${name}":"x",`))), 'ERR_JWE_INVALID')
    })

    it('rejects a second one spelled with an escape with ERR_JWE_INVALID', () => {
      const escaped = `\\u00${name.charCodeAt(0).toString(16)}${name.slice(1)}`
      const once = JSON.stringify(HEADER)
      expectCode(() => parseHeader(bytes(once.replace('{', `{"${escaped}":"x",`))), 'ERR_JWE_INVALID')
    })
  })

  it.each(['', 'null', '[]', '"x"', '1', '{', `${JSON.stringify(HEADER)} x`, `\uFEFF${JSON.stringify(HEADER)}`])(
    'rejects the text %j with ERR_JWE_INVALID',
    (text) => {
      expectCode(() => parseHeader(bytes(text)), 'ERR_JWE_INVALID')
    },
  )

  it('rejects invalid UTF-8 with ERR_JWE_INVALID', () => {
    const text = Buffer.from(JSON.stringify({ ...HEADER, kid: 'x?' }))
    text[text.indexOf('?')] = 0xff
    expectCode(() => parseHeader(text), 'ERR_JWE_INVALID')
  })

  it('rejects a repeated member inside epk with ERR_JWE_INVALID', () => {
    const text = JSON.stringify(HEADER).replace('"kty":', '"x":"AA","kty":')
    expectCode(() => parseHeader(bytes(text)), 'ERR_JWE_INVALID')
  })
})

describe('checkAlgorithms', () => {
  const bound = { alg: 'ECDH-ES', enc: 'A256GCM' } as const

  it('accepts the algorithms that the key is bound to', () => {
    expect(() => checkAlgorithms(HEADER, bound)).not.toThrow()
  })

  it.each(['RSA-OAEP-256', 'RSA1_5', 'RSA-OAEP', 'ECDH-ES+A256KW', 'dir', 'none', '', 'ecdh-es'])(
    'rejects alg %j with ERR_ALG_NOT_ALLOWED',
    (alg) => {
      expectCode(() => checkAlgorithms({ ...HEADER, alg }, bound), 'ERR_ALG_NOT_ALLOWED')
    },
  )

  it.each(['A128GCM', 'A128CBC-HS256', '', 'a256gcm'])('rejects enc %j with ERR_ALG_NOT_ALLOWED', (enc) => {
    expectCode(() => checkAlgorithms({ ...HEADER, enc }, bound), 'ERR_ALG_NOT_ALLOWED')
  })
})

describe('checkKeyAgreement', () => {
  const check = (members: object, jwe = NO_KEY) => checkKeyAgreement(parseHeader(bytes({ ...HEADER, ...members })), jwe)

  it('returns the ephemeral key as an uncompressed point, and empty party infos', () => {
    const { ephemeralKey, apu, apv } = check({})
    expect(ephemeralKey).toEqual(POINT)
    expect([apu, apv]).toEqual([Buffer.alloc(0), Buffer.alloc(0)])
  })

  it('decodes apu and apv', () => {
    const { apu, apv } = check({ apu: 'QWxpY2U', apv: 'Qm9i' })
    expect([apu.toString(), apv.toString()]).toEqual(['Alice', 'Bob'])
  })

  it('rejects an encrypted key with ERR_JWE_INVALID', () => {
    expectCode(() => check({}, { encryptedKey: Buffer.of(0) }), 'ERR_JWE_INVALID')
  })

  describe.each(['apu', 'apv'])('%s', (name) => {
    it.each(['Qm9i=', 'Qm9j.', 'QWxpY2V', 1, null, ['Qm9i']])('rejects %j with ERR_JWE_INVALID', (value) => {
      expectCode(() => check({ [name]: value }), 'ERR_JWE_INVALID')
    })
  })

  const offCurve = Buffer.from(POINT)
  offCurve[64]! ^= 1
  const p = Buffer.from('ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex')
  const base64url = (value: Buffer) => value.toString('base64url')
  const p384 = createECDH('secp384r1').generateKeys()

  it.each<[string, unknown]>([
    ['an absent epk', undefined],
    ['epk null', null],
    ['epk as a string', JSON.stringify(EPK)],
    ['epk as an array', [EPK]],
    ['an empty epk', {}],
    ['a point off the curve', ephemeralJwk(offCurve)],
    ['the point (0, 0)', { ...EPK, x: 'A'.repeat(43), y: 'A'.repeat(43) }],
    ['a coordinate of p', { ...EPK, x: base64url(p) }],
    ['x and y exchanged', { ...EPK, x: EPK.y, y: EPK.x }],
    ['x of 31 bytes', { ...EPK, x: base64url(POINT.subarray(2, 33)) }],
    ['x of 33 bytes', { ...EPK, x: base64url(Buffer.concat([Buffer.of(0), POINT.subarray(1, 33)])) }],
    [
      'a good point cut at another place',
      { ...EPK, x: base64url(POINT.subarray(1, 32)), y: base64url(POINT.subarray(32)) },
    ],
    ['y of 31 bytes', { ...EPK, y: base64url(POINT.subarray(34)) }],
    ['x with padding', { ...EPK, x: `${EPK.x}=` }],
    ['x as a number', { ...EPK, x: 1 }],
    ['no y', { ...EPK, y: undefined }],
    ['a private member d', { ...EPK, d: EPK.x }],
    ['a private member d that is null', { ...EPK, d: null }],
    ['kty OKP', { ...EPK, kty: 'OKP' }],
    ['no kty', { ...EPK, kty: undefined }],
    ['crv P-384 with a P-256 point', { ...EPK, crv: 'P-384' }],
    ['crv secp256k1', { ...EPK, crv: 'secp256k1' }],
    ['no crv', { ...EPK, crv: undefined }],
    [
      'a point of P-384',
      { kty: 'EC', crv: 'P-384', x: base64url(p384.subarray(1, 49)), y: base64url(p384.subarray(49)) },
    ],
  ])('rejects %s with ERR_JWE_INVALID', (_name, epk) => {
    expectCode(() => check({ epk }), 'ERR_JWE_INVALID')
  })

  it('rejects a non-canonical last character of x with ERR_JWE_INVALID', () => {
    // 32 bytes leave 2 unused bits in the last of 43 characters, so the next letter names the same bytes.
    const next = String.fromCharCode(EPK.x.charCodeAt(42) + 1)
    expectCode(() => parseEphemeralKey({ ...EPK, x: EPK.x.slice(0, 42) + next }), 'ERR_JWE_INVALID')
  })
})

describe('isP256Point', () => {
  it.each([
    ['compressed', Buffer.concat([Buffer.of(0x02 | (POINT[64]! & 1)), POINT.subarray(1, 33)])],
    ['hybrid', Buffer.concat([Buffer.of(0x06 | (POINT[64]! & 1)), POINT.subarray(1)])],
    ['infinity', Buffer.of(0)],
    ['cut', POINT.subarray(0, 64)],
    ['lengthened', Buffer.concat([POINT, Buffer.of(0)])],
    ['empty', Buffer.alloc(0)],
  ])('refuses the %s form', (_name, point) => {
    expect(isP256Point(point)).toBe(false)
  })

  it('accepts the uncompressed form', () => {
    expect(isP256Point(POINT)).toBe(true)
  })

  // Solutions of SP 800-186's equation with one coordinate so small that it has room for the prime: another spelling of the point.
  const P = 'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff'
  it.each([
    [
      'x',
      ['0'.repeat(64), '66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4'],
      [P, '66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4'],
    ],
    [
      'y',
      ['d7325d7646cd60d80a92738ceb345f844cffaf35841022cab176f692de8de1d7', '5'.padStart(64, '0')],
      [
        'd7325d7646cd60d80a92738ceb345f844cffaf35841022cab176f692de8de1d7',
        'ffffffff00000001000000000000000000000001000000000000000000000004',
      ],
    ],
  ])('refuses %s with the prime added, as OpenSSL does', (_name, point, withPrime) => {
    for (const coordinates of [point, withPrime]) {
      const bytes = Buffer.from(`04${coordinates.join('')}`, 'hex')
      const convert = () => ECDH.convertKey(bytes, 'prime256v1')
      if (coordinates === point) expect(convert).not.toThrow()
      else expect(convert).toThrow()
      expect(isP256Point(bytes)).toBe(coordinates === point)
    }
  })
})

describe('checkKeyTransport', () => {
  it.each([0, 255, 257, 384])(
    'rejects an encrypted key of %i bytes under a 2048-bit key with ERR_JWE_INVALID',
    (length) => {
      expectCode(() => checkKeyTransport({ encryptedKey: Buffer.alloc(length) }, 256), 'ERR_JWE_INVALID')
    },
  )

  it('accepts an encrypted key as long as the modulus', () => {
    expect(() => checkKeyTransport({ encryptedKey: Buffer.alloc(256) }, 256)).not.toThrow()
  })
})
