import { createHash, generateKeyPairSync, KeyObject, sign, X509Certificate, type webcrypto } from 'node:crypto'
import {
  base64url,
  CompactSign,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  SignJWT,
  UnsecuredJWT,
  type JWTHeaderParameters,
  type JWTPayload,
} from 'jose'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { TokenKey } from '../../src/config/schema.ts'
import { readAll, start, testConfig, VALID, type Harness } from './harness.ts'
import { testCertificates, type TestClient } from '../support/certificates.ts'

const ISSUER = 'https://issuer.test'
const AUDIENCE = 'pinbridge'
const SKEW_S = 30
const DAY_S = 24 * 3600
const CHALLENGE = 'Bearer error="invalid_token"'

const es256 = await generateKeyPair('ES256', { extractable: true })
const stranger = await generateKeyPair('ES256')
const others = {
  PS256: await generateKeyPair('PS256'),
  RS256: await generateKeyPair('RS256'),
  EdDSA: await generateKeyPair('Ed25519'),
  ES384: await generateKeyPair('ES384'),
}
const publicJwk = async (kid: string, key: webcrypto.CryptoKey) => ({ ...(await exportJWK(key)), kid }) as TokenKey
const keys = [
  await publicJwk('es', es256.publicKey),
  await publicJwk('ps', others.PS256.publicKey),
  await publicJwk('rs', others.RS256.publicKey),
  await publicJwk('ed', others.EdDSA.publicKey),
  await publicJwk('es384', others.ES384.publicKey),
]
const { clients: certificates } = await testCertificates()
const thumbprint = (client: TestClient) => {
  const { raw } = new X509Certificate(certificates.find(({ id }) => id === client)!.certificate)
  return createHash('sha256').update(raw).digest('base64url')
}

const subjects = { 'cms-adapter': 'sub-cms', auditor: 'sub-auditor' } as Record<string, string>
const clients = testConfig().clients.map((client) => {
  const subject = subjects[client.id]
  return subject === undefined ? client : { ...client, subject }
})
const bearer = (required: boolean) => ({
  bearer: { issuer: ISSUER, audience: AUDIENCE, clockSkewS: SKEW_S, required, keys },
})

// A clock that stands still, so that every edge is exact.
vi.useFakeTimers({ toFake: ['Date'] })
const nowS = () => Math.floor(Date.now() / 1000)
const claims = (over: JWTPayload = {}): JWTPayload => ({
  iss: ISSUER,
  aud: AUDIENCE,
  sub: 'sub-cms',
  iat: nowS(),
  exp: nowS() + 300,
  cnf: { 'x5t#S256': thumbprint('cms') },
  ...over,
})
const token = (over: JWTPayload = {}, header: Partial<JWTHeaderParameters> = {}, key = es256.privateKey) =>
  new SignJWT(claims(over)).setProtectedHeader({ alg: 'ES256', kid: 'es', typ: 'at+jwt', ...header }).sign(key)
/** Claims without some of them. */
const without = (...names: string[]) => Object.fromEntries(names.map((name) => [name, undefined]))

let http: Harness
let optional: Harness
beforeAll(async () => {
  http = await start({ clients, authentication: bearer(true) })
  optional = await start({ clients, authentication: bearer(false) })
})
afterAll(async () => {
  vi.useRealTimers()
  await http.close()
  await optional.close()
})

const get = (
  text: string | undefined,
  { to = http, client = 'cms', path = '/v1/keys' }: { to?: Harness; client?: TestClient; path?: string } = {},
) => to.send('GET', path, undefined, { client, headers: text === undefined ? {} : { authorization: text } })
const bearing = async (text: Promise<string> | string) => get(`Bearer ${await text}`)

describe('a token that is right', () => {
  it.each<[string, () => Promise<string>]>([
    ['ES256, at+jwt', () => token()],
    ['application/at+jwt', () => token({}, { typ: 'application/at+jwt' })],
    ['JWT', () => token({}, { typ: 'JWT' })],
    ['PS256', () => token({}, { alg: 'PS256', kid: 'ps' }, others.PS256.privateKey)],
    ['RS256', () => token({}, { alg: 'RS256', kid: 'rs' }, others.RS256.privateKey)],
    ['EdDSA', () => token({}, { alg: 'EdDSA', kid: 'ed' }, others.EdDSA.privateKey)],
    ['one of several audiences', () => token({ aud: ['another', AUDIENCE] })],
    ['expired, within the skew', () => token({ exp: nowS() - SKEW_S + 1 })],
    ['not valid yet, within the skew', () => token({ nbf: nowS() + SKEW_S })],
    ['issued in the future, within the skew', () => token({ iat: nowS() + SKEW_S })],
    ['a day old, and the skew', () => token({ iat: nowS() - DAY_S - SKEW_S })],
  ])('lets a request through: %s', async (_name, make) => {
    expect((await bearing(make())).status).toBe(200)
  })

  it('lets requests through again and again, and under any case of the scheme', async () => {
    const text = await token()
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) expect((await get(`${scheme} ${text}`)).status).toBe(200)
    const body = VALID['/v1/pin-blocks/translate']
    const headers = { authorization: `Bearer ${text}` }
    expect((await http.send('POST', '/v1/pin-blocks/translate', body, { headers })).status).toBe(200)
  })

  it('lets nobody do what the grants of the client do not cover', async () => {
    const text = await token({ sub: 'sub-auditor', cnf: { 'x5t#S256': thumbprint('auditor') } })
    const headers = { authorization: `Bearer ${text}` }
    const body = VALID['/v1/pin-blocks/translate']
    const answer = await http.send('POST', '/v1/pin-blocks/translate', body, { client: 'auditor', headers })
    expect(answer).toMatchObject({ status: 403, json: { code: 'ERR_KEY_USE_FORBIDDEN' } })
  })
})

/** Every wrong Authorization header; undefined stands for none. */
const WRONG: [string, () => Promise<string | undefined> | string | undefined][] = [
  ['none', () => undefined],
  ['no token', () => 'Bearer '],
  ['another scheme', () => 'Basic Y21zOmNtcw=='],
  ['a token without its scheme', () => token()],
  ['garbage', () => 'Bearer a.b.c'],
  ['garbage of one part', () => 'Bearer garbage'],
  ['two tokens', async () => `Bearer ${await token()}, Bearer ${await token()}`],
  ['a cut signature', async () => `Bearer ${(await token()).slice(0, -8)}`],
  ['alg none', () => `Bearer ${new UnsecuredJWT(claims()).encode()}`],
  [
    'alg none and typ at+jwt',
    () => {
      const part = (value: object) => base64url.encode(JSON.stringify(value))
      return `Bearer ${part({ alg: 'none', typ: 'at+jwt' })}.${part(claims())}.`
    },
  ],
  [
    'HS256 with the public key as its secret',
    async () => {
      const secret = Buffer.from(await exportSPKI(es256.publicKey))
      const header = { alg: 'HS256', kid: 'es', typ: 'at+jwt' }
      return `Bearer ${await new SignJWT(claims()).setProtectedHeader(header).sign(secret)}`
    },
  ],
  ['an algorithm that is not listed', () => tokenOf({}, { alg: 'ES384', kid: 'es384' }, others.ES384.privateKey)],
  ['an algorithm that is not its key’s', () => tokenOf({}, { alg: 'RS256', kid: 'es' }, others.RS256.privateKey)],
  ['another key under a known kid', () => tokenOf({}, {}, stranger.privateKey)],
  ['an unknown kid', () => tokenOf({}, { kid: 'unknown' })],
  ['a kid of another key', () => tokenOf({}, { kid: 'ed' })],
  ['a key of its own', async () => tokenOf({}, { kid: 'mine', jwk: await exportJWK(es256.publicKey) })],
  ['no typ', () => tokenOf({}, { typ: undefined as never })],
  ['another typ', () => tokenOf({}, { typ: 'logout+jwt' })],
  [
    'a critical header that nobody knows',
    () => {
      const part = (value: object) => base64url.encode(JSON.stringify(value))
      const header = { alg: 'ES256', kid: 'es', typ: 'at+jwt', crit: ['urn:nobody'], 'urn:nobody': 1 }
      const text = `${part(header)}.${part(claims())}`
      const key = { key: KeyObject.from(es256.privateKey), dsaEncoding: 'ieee-p1363' as const }
      return `Bearer ${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`
    },
  ],
  ['another issuer', () => tokenOf({ iss: `${ISSUER}/` })],
  ['no issuer', () => tokenOf(without('iss'))],
  ['another audience', () => tokenOf({ aud: 'pinbridge2' })],
  ['no audience', () => tokenOf(without('aud'))],
  ['expired', () => tokenOf({ exp: nowS() - SKEW_S })],
  ['no exp', () => tokenOf(without('exp'))],
  ['an exp that is text', () => tokenOf({ exp: '9999999999' as never })],
  ['not valid yet', () => tokenOf({ nbf: nowS() + SKEW_S + 1 })],
  ['no iat', () => tokenOf(without('iat'))],
  ['issued in the future', () => tokenOf({ iat: nowS() + SKEW_S + 1 })],
  ['more than a day old', () => tokenOf({ iat: nowS() - DAY_S - SKEW_S - 1 })],
  ['no cnf', () => tokenOf(without('cnf'))],
  ['an empty cnf', () => tokenOf({ cnf: {} })],
  ['a cnf that is null', () => tokenOf({ cnf: null as never })],
  ['a cnf of another method', () => tokenOf({ cnf: { jkt: thumbprint('cms') } })],
  ['another client’s cnf', () => tokenOf({ cnf: { 'x5t#S256': thumbprint('auditor') } })],
  ['a cnf with padding', () => tokenOf({ cnf: { 'x5t#S256': `${thumbprint('cms')}=` } })],
  ['a cnf that is cut', () => tokenOf({ cnf: { 'x5t#S256': thumbprint('cms').slice(0, -4) } })],
  ['another client’s sub', () => tokenOf({ sub: 'sub-auditor' })],
  ['a sub that nobody has', () => tokenOf({ sub: 'sub-nobody' })],
  ['the id instead of the sub', () => tokenOf({ sub: 'cms-adapter' })],
  ['no sub', () => tokenOf(without('sub'))],
  ['another client’s token', () => tokenOf({ sub: 'sub-auditor', cnf: { 'x5t#S256': thumbprint('auditor') } })],
  [
    'claims that are no object',
    async () => {
      const header = { alg: 'ES256', kid: 'es', typ: 'at+jwt' }
      const signed = await new CompactSign(Buffer.from('[1]')).setProtectedHeader(header).sign(es256.privateKey)
      return `Bearer ${signed}`
    },
  ],
]
async function tokenOf(...of: Parameters<typeof token>): Promise<string> {
  return `Bearer ${await token(...of)}`
}

/** An answer but for its date and its request id. */
const bytesOf = ({ status, text, headers, json }: Awaited<ReturnType<typeof get>>) => {
  const { date: _date, ...rest } = headers
  return JSON.stringify([status, rest, text.replace(String(json['requestId']), '')])
}

describe('a token that is wrong', () => {
  let expected: string
  beforeAll(async () => {
    const answer = await get(undefined, { client: 'stranger' })
    expect(answer).toMatchObject({
      status: 401,
      json: { code: 'ERR_CLIENT_UNAUTHENTICATED' },
      headers: { 'www-authenticate': CHALLENGE, 'cache-control': 'no-store' },
    })
    expected = bytesOf(answer)
  })

  it.each(WRONG)('is answered as an unknown certificate is: %s', async (_name, make) => {
    const text = await make()
    expect(bytesOf(await get(text))).toBe(expected)
    // A token that is shown has to be right where none is needed, too.
    const shown = await get(text, { to: optional })
    if (text === undefined) expect(shown.status).toBe(200)
    else expect(bytesOf(shown)).toBe(expected)
  })

  it('is no better for having been right before', async () => {
    const text = await tokenOf()
    expect((await get(text)).status).toBe(200)
    // A stolen token: another certificate of a configured client, and one that names nobody.
    for (const client of ['auditor', 'narrow', 'stranger'] as const) {
      expect(bytesOf(await get(text, { client }))).toBe(expected)
    }
  })

  it('is what a client without a subject can only have', async () => {
    const text = await tokenOf({ sub: 'undefined', cnf: { 'x5t#S256': thumbprint('narrow') } })
    expect(bytesOf(await get(text, { client: 'narrow' }))).toBe(expected)
  })

  it('is told before the route is looked at, on every path', async () => {
    const paths = ['/v1/keys', '/nowhere', '/%zz', '/v1/keys?a=1', '/v1/pin/set']
    for (const path of paths) expect(bytesOf(await get(undefined, { path }))).toBe(expected)
    const right = await tokenOf()
    expect((await get(right, { path: '/%zz' })).status).toBe(404)
    expect((await get(right, { path: '/v1/pin/set' })).status).toBe(405)
  })

  it('is told before the body is read', async () => {
    for (const body of ['{', 'x'.repeat(70_000)]) {
      expect(bytesOf(await http.send('POST', '/v1/pin/set', body))).toBe(expected)
    }
  })

  it.each([
    ['it expires', 10, { exp: 10 }],
    ['it is a day old', DAY_S + 1, { exp: 2 * DAY_S }],
  ])('stops being right when %s, although it is remembered', async (_name, seconds, { exp }) => {
    const startMs = Date.now()
    const text = await tokenOf({ exp: nowS() + exp })
    try {
      expect((await get(text)).status).toBe(200)
      vi.setSystemTime(startMs + (seconds + SKEW_S) * 1000 - 1000)
      expect((await get(text)).status).toBe(200)
      vi.setSystemTime(startMs + (seconds + SKEW_S) * 1000)
      expect(bytesOf(await get(text))).toBe(expected)
    } finally {
      vi.setSystemTime(startMs)
    }
  })
})

describe('on the wire', () => {
  const exchange = async (to: Harness, head: string) => {
    const socket = await to.openSocket()
    socket.write(`GET /v1/keys HTTP/1.1\r\nhost: x\r\n${head}connection: close\r\n\r\n`)
    const text = await readAll(socket)
    return { status: Number(text.slice(9, 12)), text: text.toLowerCase() }
  }

  it('two Authorization headers are refused, also where the first, or both, are right', async () => {
    const right = `authorization: ${await tokenOf()}\r\n`
    const wrong = 'Authorization: Bearer x\r\n'
    expect((await exchange(http, right)).status).toBe(200)
    for (const head of [right + wrong, wrong + right, right + right]) {
      for (const to of [http, optional]) {
        const { status, text } = await exchange(to, head)
        expect(status).toBe(401)
        expect(text).toContain(`www-authenticate: ${CHALLENGE.toLowerCase()}\r\n`)
      }
    }
  })

  it('a token that is too large is 401 where one is required, and says nothing of headers', async () => {
    const { status, text } = await exchange(http, `authorization: Bearer ${'a'.repeat(9000)}\r\n`)
    expect(status).toBe(401)
    expect(text).toContain(`www-authenticate: ${CHALLENGE.toLowerCase()}\r\n`)
    expect(text).toContain('"code":"err_client_unauthenticated"')
    expect((await exchange(optional, `authorization: Bearer ${'a'.repeat(9000)}\r\n`)).status).toBe(431)
  })

  it('no token ever enters a record', async () => {
    const text = await token()
    await bearing(text)
    await bearing(`${text}x`)
    await http.requestRecords(2)
    const log = JSON.stringify(http.records)
    expect(log).toContain('cms-adapter')
    for (const part of text.split('.')) expect(log).not.toContain(part)
  })
})

describe('without bearer', () => {
  it('no Authorization header is looked at, and 401 has no challenge', async () => {
    const plain = await start()
    try {
      expect((await get('Bearer nonsense', { to: plain })).status).toBe(200)
      const answer = await get(undefined, { to: plain, client: 'stranger' })
      expect(answer.status).toBe(401)
      expect(answer.headers['www-authenticate']).toBeUndefined()
    } finally {
      await plain.close()
    }
  })
})

describe('the OpenAPI document', () => {
  it.each([
    ['needs', () => http, [{ mutualTls: [], bearer: [] }]],
    ['may take', () => optional, [{ mutualTls: [], bearer: [] }, { mutualTls: [] }]],
  ] as const)('says that a request %s a token', async (_name, of, security) => {
    const document = (await (await fetch(`${of().managementUrl}/openapi.json`)).json()) as any
    expect(document.security).toEqual(security)
    expect(document.components.securitySchemes).toMatchObject({
      mutualTls: { type: 'mutualTLS' },
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    })
  })
})

describe('keys that are replaced', () => {
  it('a key that is gone verifies nothing, not even what it has verified; a new one does', async () => {
    const next = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const to = await start({ clients, authentication: bearer(true) })
    try {
      const old = await tokenOf()
      expect((await get(old, { to })).status).toBe(200)
      const { bearer: config } = bearer(true)
      const { createPolicy } = await import('../../src/gateway/authentication.ts')
      const rotated = [{ ...(next.publicKey.export({ format: 'jwk' }) as TokenKey), kid: 'next' }]
      const { ca } = await testCertificates()
      to.authentication.replace(createPolicy({ clients, authentication: { bearer: { ...config, keys: rotated } } }, ca))
      expect((await get(old, { to })).status).toBe(401)
      const text = await new SignJWT(claims())
        .setProtectedHeader({ alg: 'ES256', kid: 'next', typ: 'JWT' })
        .sign(next.privateKey)
      expect((await get(`Bearer ${text}`, { to })).status).toBe(200)
    } finally {
      await to.close()
    }
  })
})
