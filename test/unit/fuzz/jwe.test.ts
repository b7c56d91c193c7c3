import { createECDH } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ServiceError } from '../../../src/errors.ts'
import { checkContentForm, parseCompact, type CompactJwe } from '../../../src/jwe/compact.ts'
import { checkKeyAgreement, parseHeader } from '../../../src/jwe/header.ts'
import { damaged, fuzz, mostly, textOf } from './fuzz.ts'
import { strictJson } from './json-model.ts'

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/** RFC 4648 by arithmetic: the bytes of the one canonical spelling, without padding. */
function decode(text: string): number[] | undefined {
  const bytes: number[] = []
  let bits = 0
  let held = 0
  for (const character of text) {
    const value = BASE64URL.indexOf(character)
    if (value < 0) return undefined
    bits = bits * 64 + value
    held += 6
    if (held >= 8) {
      held -= 8
      bytes.push(Math.floor(bits / 2 ** held))
      bits %= 2 ** held
    }
  }
  return held < 6 && bits === 0 ? bytes : undefined
}

/** What a call gives or how it refuses; anything but an error of the closed set is thrown on. */
function outcome<T>(call: () => T): { value: T } | { code: string } {
  try {
    return { value: call() }
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    return { code: error.code }
  }
}

const INVALID = { code: 'ERR_JWE_INVALID' }

describe('JWE', () => {
  it('compact: exactly five canonical parts are taken, and are decoded as arithmetic has it', async () => {
    const part = fc.oneof(textOf(BASE64URL, 0, 24), {
      weight: 9,
      arbitrary: fc
        .uint8Array({ minLength: 1, maxLength: 40 })
        .map((bytes) => Buffer.from(bytes).toString('base64url')),
    })
    const good = fc.tuple(part, part, part, part, part).map((parts) => Buffer.from(parts.join('.')))
    await fuzz(
      'jwe-compact',
      damaged(good, [
        '.',
        '..',
        '=',
        '==',
        '+',
        '/',
        ' ',
        '\n',
        '\0',
        'A',
        'AA',
        '_',
        '\xe4',
        '.AAAA',
        'A'.repeat(8192),
      ]),
      (bytes) => {
        const text = bytes.toString('latin1')
        const parts = text.split('.').map(decode)
        const [header, encryptedKey, iv, ciphertext, tag] = parts
        const isCompact =
          parts.length === 5 && encryptedKey && header?.length && iv?.length && ciphertext?.length && tag?.length
        const got = outcome(() => parseCompact(text))
        if (!isCompact || text.length > 8192) {
          expect(got).toEqual(INVALID)
          return 'refused'
        }
        const { value } = got as { value: CompactJwe }
        expect(value.protectedHeader).toBe(text.split('.')[0])
        const read = [value.header, value.encryptedKey, value.iv, value.ciphertext, value.tag]
        expect(read.map((bytes) => [...bytes])).toEqual(parts)
        const formed = outcome(() => checkContentForm(value))
        expect(formed).toEqual(iv.length === 12 && tag.length === 16 ? { value: undefined } : INVALID)
        return 'taken'
      },
      (bytes) => bytes,
    )
  })

  it('header: taken by its model, and epk exactly if it satisfies the equation of P-256', async () => {
    // FIPS 186-5, SP 800-186 section 3.2.1.3.
    const P = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n
    const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn
    const numberOf = (bytes: readonly number[]) => BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
    const isPoint = (x: bigint, y: bigint) => x < P && y < P && (y * y - (x * x * x - 3n * x + B)) % P === 0n
    const text32 = (value: bigint) => Buffer.from(value.toString(16).padStart(64, '0'), 'hex').toString('base64url')

    const points = Array.from({ length: 20 }, () => {
      const point = createECDH('prime256v1').generateKeys()
      return { x: numberOf([...point.subarray(1, 33)]), y: numberOf([...point.subarray(33)]) }
    })
    const near = mostly(0n, 1n, -1n, P)
    const coordinates = fc
      .tuple(fc.constantFrom(...points), near, near, fc.boolean())
      .map(([{ x, y }, dx, dy, isNegated]) => [x + dx, (isNegated ? P - y : y) + dy] as const)
      .filter((pair) => pair.every((value) => value >= 0n && value < 2n ** 256n))
    const coordinate = (value: bigint) => mostly<unknown>(text32(value), text32(value).slice(1), 1, undefined)
    const epk = fc.oneof(
      {
        weight: 12,
        arbitrary: coordinates.chain(([x, y]) =>
          fc.record({
            kty: fc.constant('EC'),
            crv: mostly('P-256', 'P-384', 'secp256k1'),
            x: coordinate(x),
            y: coordinate(y),
          }),
        ),
      },
      coordinates.map(([x, y]) => ({ kty: 'EC', crv: 'P-256', x: text32(x), y: text32(y), d: 'AA' })),
      fc.jsonValue({ maxDepth: 1 }),
      fc.constant(undefined),
    )
    const party = fc.oneof(
      { weight: 12, arbitrary: fc.constant(undefined) },
      textOf(BASE64URL, 0, 6),
      fc.jsonValue({ maxDepth: 1 }),
    )
    const REFUSED = ['zip', 'crit', 'jku', 'jwk', 'x5u', 'x5c', 'x5t', 'x5t#S256']
    const header = fc
      .record({
        alg: mostly<unknown>('ECDH-ES', 'RSA-OAEP-256', 'none', 1, undefined),
        enc: mostly<unknown>('A256GCM', 'A128GCM', null),
        kid: mostly<unknown>('jwe-ec', '', 7, undefined),
        epk,
        apu: party,
        apv: party,
        typ: fc.constantFrom(undefined, 'JOSE'),
      })
      .chain((members) =>
        fc.oneof(
          { weight: 9, arbitrary: fc.constant(members) },
          fc.constantFrom(...REFUSED).map((name) => ({ ...members, [name]: 'DEF' })),
        ),
      )
      .map((members) => Buffer.from(JSON.stringify(members)))
    const input = fc.oneof(
      { weight: 3, arbitrary: header },
      damaged(header, ['"crit":[],', '"alg":"none",', '"d":"",', '{', '}', '"', '\\u0000', '\xff']),
    )

    await fuzz(
      'jwe-header',
      input,
      (bytes) => {
        const members = strictJson(bytes)?.value as Record<string, any> | null | undefined
        const isHeader =
          typeof members === 'object' &&
          members !== null &&
          !REFUSED.some((name) => Object.hasOwn(members, name)) &&
          ['alg', 'enc', 'kid'].every((name) => typeof members[name] === 'string')
        const got = outcome(() => parseHeader(bytes))
        if (!isHeader) {
          expect(got).toEqual(INVALID)
          return 'refused'
        }
        const { alg, enc, kid, epk, apu, apv } = members
        expect(got).toEqual({ value: { alg, enc, kid, epk, apu, apv } })

        const own = (name: string) => (typeof epk === 'object' && epk !== null ? epk[name] : undefined)
        const [x, y] = [own('x'), own('y')].map((value) => (typeof value === 'string' ? decode(value) : undefined))
        const parties = [apu, apv].map((value) =>
          value === undefined ? [] : typeof value === 'string' ? decode(value) : undefined,
        )
        const isAgreement =
          own('kty') === 'EC' &&
          own('crv') === 'P-256' &&
          !Object.hasOwn(epk, 'd') &&
          x?.length === 32 &&
          y?.length === 32 &&
          isPoint(numberOf(x), numberOf(y)) &&
          parties.every((party) => party !== undefined)
        const agreement = outcome(() => {
          const read = checkKeyAgreement((got as { value: ReturnType<typeof parseHeader> }).value, {
            encryptedKey: Buffer.alloc(0),
          })
          return [[...read.ephemeralKey], [...read.apu], [...read.apv]]
        })
        expect(agreement).toEqual(isAgreement ? { value: [[4, ...x, ...y], ...parties] } : INVALID)
        return isAgreement ? 'taken' : 'refused'
      },
      (bytes) => bytes,
    )
  })
})
