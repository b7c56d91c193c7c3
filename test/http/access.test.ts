import { connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../src/cli/development/certificates.ts'
import { start, VALID, type Harness } from './harness.ts'

let http: Harness
beforeAll(async () => {
  http = await start()
})
afterAll(() => http.close())

const TRANSLATE = VALID['/v1/pin-blocks/translate']
const FORBIDDEN = { status: 403, json: { code: 'ERR_KEY_USE_FORBIDDEN' } }

describe('TLS', () => {
  /** Connects and waits for what the server makes of it. */
  const handshake = (options: object) =>
    new Promise<string>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port: http.port, ...options })
      socket.on('error', (error) => resolve(`refused: ${(error as { code?: string }).code}`))
      socket.on('close', () => resolve('closed'))
      // With TLS 1.3 a client learns only by reading whether its certificate was accepted.
      socket.on('secureConnect', () => socket.write('GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n'))
      socket.on('data', (data: Buffer) => resolve(data.toString('latin1').slice(0, 12)))
    })

  it('serves a configured client, by TLS 1.3', async () => {
    expect(await handshake(http.identity('auditor'))).toBe('HTTP/1.1 200')
    const socket = await http.openSocket()
    expect(socket.getProtocol()).toBe('TLSv1.3')
    socket.destroy()
  })

  it('refuses TLS 1.2, no certificate, and a certificate of another CA', async () => {
    const other = await makeDevelopmentCertificates({
      hosts: [],
      clients: [{ id: 'x', dnsNames: ['cms-adapter.clients.test'] }],
    })
    const { certificate: cert, privateKey: key } = other.clients[0]!
    const { ca } = http.identity('cms')
    expect(await handshake({ ...http.identity('cms'), maxVersion: 'TLSv1.2' })).toMatch(/^refused|^closed/)
    expect(await handshake({ ca })).toMatch(/^refused|^closed/)
    expect(await handshake({ ca, cert, key })).toMatch(/^refused|^closed/)
    expect(await http.metrics.render()).toMatch(/pinbridge_tls_refusals_total [3-9]/)
  })

  it('resumes no session, so every connection shows its certificate', async () => {
    const first = await http.openSocket()
    const sessions: Buffer[] = []
    first.on('session', (session) => sessions.push(session))
    first.write('GET /v1/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    await new Promise((resolve) => first.resume().on('close', resolve))
    const session = sessions.at(-1)
    expect(session).toBeDefined()
    const reused = await new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: http.port, ...http.identity('cms'), session: session! }, () => {
        resolve(socket.isSessionReused())
        socket.destroy()
      })
      socket.on('error', reject)
    })
    expect(reused).toBe(false)
  })
})

describe('who is calling', () => {
  it.each(['stranger', 'wildcard', 'both', 'cn-only'] as const)(
    'a trusted certificate that names no single client is 401: %s',
    async (client) => {
      const answer = await http.send('GET', '/v1/keys', undefined, { client })
      expect(answer).toMatchObject({ status: 401, json: { code: 'ERR_CLIENT_UNAUTHENTICATED' } })
    },
  )

  it.each([
    ['GET', '/nowhere', undefined],
    ['DELETE', '/v1/keys', undefined],
    ['GET', '/%zz', undefined],
    ['POST', '/v1/pin/set', '{'],
    ['GET', '/v1/keys?a=1', undefined],
  ])('401 comes before everything else: %s %s', async (method, path, body) => {
    const headers = { 'x-correlation-id': 'known-1' }
    const answer = await http.send(method, path, body, { client: 'stranger', headers })
    expect(answer.json).toMatchObject({ code: 'ERR_CLIENT_UNAUTHENTICATED' })
    expect(answer.headers['x-correlation-id']).toBe('known-1')
  })
})

describe('what a client may do', () => {
  const narrow = { client: 'narrow' as const }
  const send = (body: object, path = '/v1/pin-blocks/translate') => http.send('POST', path, body, narrow)

  it('one grant that covers everything lets a request through', async () => {
    expect((await send(TRANSLATE)).status).toBe(200)
  })

  it.each<[string, string, object]>([
    ['another key', '/v1/pin-blocks/translate', { from: { key: 'zpk-aes', format: 'ISO-0' } }],
    ['another format', '/v1/pin-blocks/translate', { to: { key: 'zpk-out', format: 'ISO-3' } }],
    ['a key of another grant', '/v1/pin-blocks/translate', { to: { key: 'zpk-aes', format: 'ISO-0' } }],
    [
      'SECCOS without its own grant for these keys',
      '/v1/pin-blocks/translate',
      { to: { key: 'zpk-out', format: 'SECCOS' } },
    ],
    ['another recipient', '/v1/pin/get', { recipient: 'd1-dev' }],
    ['pin/set without a JWE key', '/v1/pin/set', {}],
    ['pin/set with an issue key that is not granted', '/v1/pin/set', { issue: { prw: 'prw' } }],
  ])('refuses %s', async (_name, path, members) => {
    const before = http.calls.length
    expect(await send({ ...VALID[path as keyof typeof VALID], ...members }, path)).toMatchObject(FORBIDDEN)
    expect(http.calls.length).toBe(before)
  })

  it('SECCOS needs translate-seccos, and that grant is enough', async () => {
    const seccos = { ...TRANSLATE, from: { key: 'zpk-aes', format: 'SECCOS' }, to: { key: 'zpk-aes', format: 'ISO-0' } }
    expect((await send(seccos)).status).toBe(200)
    // cms-adapter may translate with every key and format, and still not SECCOS.
    expect(await http.send('POST', '/v1/pin-blocks/translate', seccos)).toMatchObject(FORBIDDEN)
    const plain = { ...TRANSLATE, from: { key: 'zpk-aes', format: 'ISO-0' }, to: { key: 'zpk-aes', format: 'ISO-0' } }
    expect(await send(plain)).toMatchObject(FORBIDDEN)
  })

  it('pin/set tells the vault which JWE keys this client may open', async () => {
    await http.send('POST', '/v1/pin/set', VALID['/v1/pin/set'])
    expect(http.calls.at(-1)?.body['jweKeys']).toEqual(['jwe-ec'])
  })

  it('an operation that is not granted is refused before the body is read', async () => {
    for (const body of ['{', '{"a":1}', 'x'.repeat(70_000)]) {
      const answer = await http.send('POST', '/v1/pin/set', body, { client: 'auditor' })
      expect(answer).toMatchObject(FORBIDDEN)
    }
  })

  /** Every place of every route that names a key. */
  const PLACES: [keyof typeof VALID, (body: any, key: string) => void][] = [
    ['/v1/pin/set', ({ to }, key) => (to.key = key)],
    ['/v1/pin/set', (body, key) => (body.issue = { prw: key })],
    ['/v1/pin/set', (body, key) => (body.issue = { prw: 'prw', mac: key })],
    ['/v1/pin/get', ({ from }, key) => (from.key = key)],
    ['/v1/pin-blocks/translate', ({ from }, key) => (from.key = key)],
    ['/v1/pin-blocks/translate', ({ to }, key) => (to.key = key)],
    ['/v1/pin-blocks/translate-batch', ({ from }, key) => (from.key = key)],
    ['/v1/pin-blocks/translate-batch', ({ to }, key) => (to.key = key)],
    ['/v1/prw/generate', ({ from }, key) => (from.key = key)],
    ['/v1/prw/generate', (body, key) => (body.key = key)],
    ['/v1/prw/verify', ({ from }, key) => (from.key = key)],
    ['/v1/prw/verify', (body, key) => (body.key = key)],
    ['/v1/mac/generate', (body, key) => (body.key = key)],
    ['/v1/mac/verify', (body, key) => (body.key = key)],
  ]
  it.each(PLACES)(
    '%s: a key that is not granted and one that does not exist give the same bytes',
    async (path, name) => {
      const ask = async (key: string) => {
        const body = structuredClone(VALID[path])
        name(body, key)
        const { status, headers, text, json } = await http.send('POST', path, body)
        const { date: _date, ...rest } = headers
        return [status, rest, text.replace(String(json['requestId']), '')]
      }
      const before = http.calls.length
      // The first is in the catalogue, and in no grant of this client.
      const denied = await ask('spare')
      expect(denied[0]).toBe(403)
      expect(await ask('no-such-key')).toEqual(denied)
      expect(http.calls.length).toBe(before)
    },
  )

  it('a denied key, an unknown key and the vault refusing give the same bytes', async () => {
    http.answers.translatePinBlocks = async () => {
      const { ServiceError } = await import('../../src/errors.ts')
      throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    }
    const answers = [
      await send({ ...TRANSLATE, from: { key: 'zpk-aes', format: 'ISO-0' } }),
      await send({ ...TRANSLATE, from: { key: 'no-such-key', format: 'ISO-0' } }),
      await send(TRANSLATE),
      await http.send('POST', '/v1/mac/generate', { key: 'zpk-nowhere', pinBlock: TRANSLATE.pinBlock }),
    ]
    const bytes = answers.map(({ status, text, json, headers }) => {
      const { date, ...rest } = headers
      expect(date).toBeDefined()
      return JSON.stringify([status, rest, text.replace(String(json['requestId']), '')])
    })
    expect(new Set(bytes).size).toBe(1)
    expect(answers[0]?.status).toBe(403)
  })
})
