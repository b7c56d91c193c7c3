import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readAll, start, VALID, type Harness } from './harness.ts'
import type { TestClient } from '../support/certificates.ts'

let http: Harness
beforeAll(async () => {
  http = await start({ limits: { requestMs: 600 } })
})
afterAll(() => http.close())

/** Writes raw bytes and reads the whole answer. */
async function exchange(text: string, client: TestClient = 'cms') {
  const socket = await http.openSocket(client)
  socket.write(text)
  const answer = await readAll(socket)
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  return { answer, head, status: Number(head.slice(9, 12)), json: JSON.parse(body) as Record<string, unknown> }
}

const UUID = /^[0-9a-f-]{36}$/

describe('paths and methods', () => {
  it.each([
    '/',
    '/v1',
    '/v1/pin/set/',
    '/V1/keys',
    '//v1/keys',
    '/v1/keys/x',
    '/%zz',
    '/healthz',
    '/openapi.json',
    '/docs',
  ])('%s is 404', async (path) => {
    const answer = await http.send('GET', path)
    expect(answer.json).toMatchObject({ code: 'ERR_NOT_FOUND', status: 404 })
    expect(answer.headers['content-type']).toBe('application/problem+json')
  })

  it('an unknown path is 404 whatever its body', async () => {
    for (const body of ['{', 'x'.repeat(70_000)]) expect((await http.send('POST', '/nowhere', body)).status).toBe(404)
  })

  it.each([
    ['GET', '/v1/pin/set', 'POST'],
    ['HEAD', '/v1/pin/set', 'POST'],
    ['PUT', '/v1/pin/get', 'POST'],
    ['OPTIONS', '/v1/mac/verify', 'POST'],
    ['POST', '/v1/keys', 'GET'],
    ['HEAD', '/v1/jwks', 'GET'],
    ['PROPFIND', '/v1/keys', 'GET'],
    ['TRACE', '/v1/keys', 'GET'],
  ])('%s %s is 405 with Allow: %s', async (method, path, allow) => {
    const { head } = await rawStatus(`${method} ${path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
    expect(head).toMatch(/^HTTP\/1\.1 405 /)
    expect(head.toLowerCase()).toContain(`\r\nallow: ${allow.toLowerCase()}\r\n`)
  })

  async function rawStatus(text: string) {
    const socket = await http.openSocket()
    socket.write(text)
    return { head: (await readAll(socket)).split('\r\n\r\n')[0]! }
  }
})

describe('what the HTTP parser refuses', () => {
  it.each([
    [
      'headers that are too large',
      `GET /v1/keys HTTP/1.1\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`,
      431,
      'ERR_HEADERS_TOO_LARGE',
    ],
    ['no HTTP', 'canary / nothing\r\n\r\n', 400, 'ERR_REQUEST_INVALID'],
    ['a broken header', 'GET /v1/keys HTTP/1.1\r\nhost: x\r\ncan ary: x\r\n\r\n', 400, 'ERR_REQUEST_INVALID'],
    [
      'both content-length and chunked',
      'POST /v1/pin/set HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n',
      400,
      'ERR_REQUEST_INVALID',
    ],
    [
      'a broken chunk',
      'POST /v1/pin/set HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
      400,
      'ERR_REQUEST_INVALID',
    ],
    ['no Host', 'GET /v1/keys HTTP/1.1\r\nconnection: close\r\n\r\n', 400, 'ERR_REQUEST_INVALID'],
    ['half the headers, then silence', 'GET /v1/keys HTTP/1.1\r\nhost: x\r\n', 408, 'ERR_REQUEST_TIMEOUT'],
    [
      'half the body, then silence',
      'POST /v1/pin/set HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"a',
      408,
      'ERR_REQUEST_TIMEOUT',
    ],
  ])('%s', async (_name, text, status, code) => {
    const before = (await http.requestRecords(0)).length
    const { answer, head, json, ...got } = await exchange(text)
    expect(got.status).toBe(status)
    expect(head.toLowerCase()).toContain('content-type: application/problem+json')
    expect(json).toMatchObject({ code, status, requestId: expect.stringMatching(UUID) as string })
    expect(answer).not.toContain('canary')
    const records = await http.requestRecords(before + 1)
    expect(records.length).toBe(before + 1)
    expect(records.at(-1)).toMatchObject({ code, requestId: json['requestId'], clientId: 'cms-adapter' })
  })

  it('a client that is not known is told nothing but that', async () => {
    for (const text of ['nonsense\r\n\r\n', `GET / HTTP/1.1\r\nx: ${'a'.repeat(20_000)}\r\n\r\n`]) {
      expect((await exchange(text, 'stranger')).json).toMatchObject({ code: 'ERR_CLIENT_UNAUTHENTICATED', status: 401 })
    }
  })

  it('a client that is not known is told so when it has sent its body, or has taken too long over it', async () => {
    const head =
      'POST /v1/pin/set HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n'
    const before = (await http.requestRecords(0)).length
    const socket = await http.openSocket('stranger')
    const arrived = new Promise((resolve) => http.api.server.once('request', resolve))
    socket.write(head)
    await arrived
    // Closed now, the connection would be reset by what still comes, and the answer be lost.
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(socket.read()).toBeNull()
    socket.write('x'.repeat(100_000))
    const answer = await readAll(socket)
    expect(answer).toMatch(/^HTTP\/1\.1 401 /)
    expect(answer).toMatch(/^connection: close\r$/m)

    const refused = { code: 'ERR_CLIENT_UNAUTHENTICATED' }
    expect((await exchange(`${head}half`, 'stranger')).json).toMatchObject(refused)
    const records = await http.requestRecords(before + 2)
    expect(records.slice(before)).toMatchObject([refused, refused])
  })

  it('never answers a request under way with the error of the one behind it', async () => {
    let finish = () => {}
    const waiting = new Promise<void>((resolve) => (finish = resolve))
    const { verifyMac } = http.answers
    http.answers.verifyMac = async () => waiting.then(() => ({ verified: true }))
    const body = JSON.stringify(VALID['/v1/mac/verify'])
    const socket = await http.openSocket()
    const before = http.calls.length
    socket.write(
      `POST /v1/mac/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    while (http.calls.length === before) await new Promise((resolve) => setTimeout(resolve, 5))
    socket.write('nonsense\r\n\r\n')
    const answer = await readAll(socket).catch(() => '')
    finish()
    http.answers.verifyMac = verifyMac
    expect(answer).toBe('')
  })

  it('goes on serving after all that', async () => {
    expect((await http.send('GET', '/v1/keys')).status).toBe(200)
  })
})

describe('correlation', () => {
  const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const send = (headers: Record<string, string>, path = '/v1/keys') => http.send('GET', path, undefined, { headers })

  it('returns both headers, on errors too', async () => {
    for (const path of ['/v1/keys', '/nowhere', '/%zz']) {
      const answer = await send({ 'x-correlation-id': 'Order_1.2-3 x', traceparent: trace }, path)
      expect(answer.headers).toMatchObject({ 'x-correlation-id': 'Order_1.2-3 x', traceparent: trace })
    }
  })

  it.each(['', 'a'.repeat(65), 'a/b', 'ä', 'a,b', '<x>'])(
    'refuses x-correlation-id %j and does not return it',
    async (id) => {
      const answer = await send({ 'x-correlation-id': id })
      expect(answer.json).toMatchObject({ code: 'ERR_REQUEST_INVALID' })
      expect(answer.headers['x-correlation-id']).toBeUndefined()
    },
  )

  it.each([
    'nonsense',
    trace.toUpperCase(),
    trace.replace(/^00/, 'ff'),
    trace.replace(/-[0-9a-f]{32}-/, `-${'0'.repeat(32)}-`),
    trace.replace(/-[0-9a-f]{16}-/, `-${'0'.repeat(16)}-`),
    `${trace}-x`,
  ])('ignores traceparent %s', async (traceparent) => {
    const answer = await send({ traceparent })
    expect(answer.status).toBe(200)
    expect(answer.headers['traceparent']).toBeUndefined()
  })

  it('takes no request id from a client', async () => {
    const answer = await send({ 'request-id': 'mine', 'x-request-id': 'mine' }, '/nowhere')
    expect(answer.json['requestId']).toMatch(UUID)
    expect(JSON.stringify(answer.headers)).not.toContain('mine')
  })
})
