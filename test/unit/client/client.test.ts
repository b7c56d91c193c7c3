import type { ServerResponse } from 'node:http'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import {
  createClient,
  PinbridgeError,
  type ClientOptions,
  type PinbridgeClient,
  type TranslatePinBlockRequest,
} from '../../../src/client/client.ts'
import { testCertificates } from '../../support/certificates.ts'
import { closedPort, startTlsServer, type Answering, type TlsServer } from '../../support/tls-server.ts'

const certificates = await testCertificates()
const elsewhere = await makeDevelopmentCertificates({ hosts: ['elsewhere.test'], clients: [] })
const { certificate: cert, privateKey: key } = certificates.clients.find(({ id }) => id === 'cms')!

const BODY: TranslatePinBlockRequest = {
  pinBlock: '0123456789ABCDEF',
  from: { key: 'zpk-in', format: 'ISO-0' },
  to: { key: 'zpk-out', format: 'ISO-0' },
  card: { pan: '4000001234567899' },
}
const ANSWER = { pinBlock: 'FEDCBA9876543210', format: 'ISO-0', key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' } }
const REQUEST_ID = '6c1f2a34-0b7d-4a51-9c0e-5b1f2d3c4e5f'

const open: (TlsServer | PinbridgeClient)[] = []
afterEach(async () => {
  // Servers first, so that a client that waits for an answer has one.
  for (const each of open.splice(0)) await each.close()
})

const listen = async (answering: Answering): Promise<TlsServer> => {
  const server = await startTlsServer(certificates, answering)
  open.unshift(server)
  return server
}
const connect = (url: string, options: Partial<ClientOptions> = {}): PinbridgeClient => {
  const client = createClient({ url, ca: certificates.ca, cert, key, ...options })
  open.push(client)
  return client
}
const answerJson = (answer: ServerResponse, status = 200, json: object = ANSWER, headers = {}): void => {
  const type = status === 200 ? 'application/json' : 'application/problem+json'
  answer.writeHead(status, { 'content-type': type, ...headers }).end(JSON.stringify(json))
}
const problem = (status: number, code: string, more: object = {}) => {
  const type = `urn:pinbridge:problem:${code.slice(4).toLowerCase().replaceAll('_', '-')}`
  return { type, title: 'A sentence.', status, code, requestId: REQUEST_ID, ...more }
}
const answerProblem = (answer: ServerResponse, status: number, code: string, headers = {}): void =>
  answerJson(answer, status, problem(status, code), headers)
const errorOf = async (call: Promise<unknown>): Promise<PinbridgeError> => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(PinbridgeError)
  return error as PinbridgeError
}

describe('a request of the client', () => {
  it('carries body, media type and a correlation id of its own', async () => {
    const server = await listen((answer) => answerJson(answer))
    const client = connect(server.url)
    expect(await client.translatePinBlock(BODY)).toEqual(ANSWER)
    expect(await client.getKeys()).toEqual(ANSWER)
    const [post, get] = server.requests
    expect(post).toMatchObject({
      method: 'POST',
      path: '/v1/pin-blocks/translate',
      body: JSON.stringify(BODY),
      headers: { 'content-type': 'application/json', 'content-length': String(JSON.stringify(BODY).length) },
    })
    expect(get).toMatchObject({ method: 'GET', path: '/v1/keys', body: '' })
    expect(get!.headers).not.toHaveProperty('content-type')
    for (const { headers } of server.requests) expect(headers['x-correlation-id']).toMatch(/^[0-9a-f-]{36}$/)
    expect(post!.headers['x-correlation-id']).not.toBe(get!.headers['x-correlation-id'])
    expect(post!.headers).not.toHaveProperty('authorization')
  })

  it('carries the correlation id and the trace that it is given, and no malformed trace', async () => {
    const server = await listen((answer) => answerJson(answer))
    const client = connect(server.url)
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    await client.getKeys({ correlationId: 'Order 12.3_a-b', traceparent })
    await client.getKeys({ traceparent: `${traceparent}\r\nx-more: 1` })
    expect(server.requests[0]!.headers).toMatchObject({ 'x-correlation-id': 'Order 12.3_a-b', traceparent })
    expect(server.requests[1]!.headers).not.toHaveProperty('traceparent')
  })

  it.each(['', 'a'.repeat(65), 'a\nb', '4000001234567899,', 'ü'])(
    'is not sent with the correlation id %j',
    async (id) => {
      const server = await listen((answer) => answerJson(answer))
      const error = await errorOf(connect(server.url).getKeys({ correlationId: id }))
      expect(error).toMatchObject({ code: 'ERR_REQUEST_INVALID', reason: 'CORRELATION_ID', mayHaveHappened: false })
      expect(error.status).toBeUndefined()
      expect(error.correlationId).toBe('')
      expect(server.requests).toHaveLength(0)
    },
  )

  it.each([undefined, null, { pan: 1n }])('is not sent without a body that JSON can say: %s', async (body) => {
    const server = await listen((answer) => answerJson(answer))
    const error = await errorOf(connect(server.url).translatePinBlock(body as never))
    expect(error).toMatchObject({ code: 'ERR_REQUEST_INVALID', reason: 'BODY', mayHaveHappened: false })
    expect(server.requests).toHaveLength(0)
  })
})

describe('connections', () => {
  it('are kept', async () => {
    const server = await listen((answer) => answerJson(answer))
    const client = connect(server.url)
    for (let i = 0; i < 5; i++) await client.getKeys()
    expect(server.connections()).toBe(1)
  })

  it('that are idle are closed before the server does it: what it was sent just then would be lost', async () => {
    const server = await listen((answer) => answerJson(answer, 200, ANSWER, { 'keep-alive': 'timeout=2' }))
    const client = connect(server.url)
    await client.getKeys()
    await server.idle()
    expect(await client.getKeys()).toEqual(ANSWER)
    expect(server.connections()).toBe(2)
  })

  it('are as many as told, and calls wait for one', async () => {
    const server = await listen((answer) => setImmediate(() => answerJson(answer)))
    const client = connect(server.url, { connections: 2 })
    await Promise.all(Array.from({ length: 20 }, () => client.getKeys()))
    expect(server.requests).toHaveLength(20)
    expect(server.connections()).toBe(2)
  })

  it('trust the CA that was given, and no other', async () => {
    const server = await listen((answer) => answerJson(answer))
    const error = await errorOf(connect(server.url, { ca: elsewhere.ca }).getKeys())
    expect(error).toMatchObject({ code: 'NO_ANSWER', mayHaveHappened: false })
    expect(error.reason).toMatch(/^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/)
    expect(server.requests).toHaveLength(0)
  })

  it('trust no more where the environment says so', async () => {
    vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
    try {
      const server = await listen((answer) => answerJson(answer))
      expect(await errorOf(connect(server.url, { ca: elsewhere.ca }).getKeys())).toMatchObject({
        mayHaveHappened: false,
      })
      expect(server.requests).toHaveLength(0)
    } finally {
      vi.unstubAllEnvs()
    }
  })

  it('are to the host that the certificate names', async () => {
    const server = await startTlsServer(elsewhere, (answer) => answerJson(answer))
    open.unshift(server)
    const error = await errorOf(connect(server.url, { ca: elsewhere.ca }).getKeys())
    expect(error).toMatchObject({
      code: 'NO_ANSWER',
      reason: 'ERR_TLS_CERT_ALTNAME_INVALID',
      mayHaveHappened: false,
    })
    expect(server.requests).toHaveLength(0)
  })

  it('that are refused have carried nothing', async () => {
    const error = await errorOf(connect(`https://127.0.0.1:${await closedPort()}`).translatePinBlock(BODY))
    expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'ECONNREFUSED', mayHaveHappened: false })
  })

  it.each(['http://127.0.0.1:1', 'https://127.0.0.1:1/v1', 'https://user@127.0.0.1:1', 'https://127.0.0.1:1?a=b', ''])(
    'are not made to %j',
    (url) => {
      expect(() => createClient({ url, ca: certificates.ca, cert, key })).toThrow(TypeError)
    },
  )

  it.each(
    [0, -1, 1.5, Number.NaN, Infinity, 2 ** 31].flatMap((value) =>
      (['timeoutMs', 'attemptTimeoutMs', 'connections', 'retries'] as const)
        .filter((name) => !(name === 'retries' && value === 0))
        .map((name) => ({ [name]: value })),
    ),
  )('are not made with %j', (wrong) => {
    expect(() => createClient({ url: 'https://127.0.0.1:1', ca: certificates.ca, cert, key, ...wrong })).toThrow(
      RangeError,
    )
  })

  it('wait for as long as a timer can', async () => {
    const server = await listen((answer) => answerJson(answer))
    const longest = { timeoutMs: 2 ** 31 - 1, attemptTimeoutMs: 2 ** 31 - 1 }
    expect(await connect(server.url, longest).getKeys()).toEqual(ANSWER)
  })

  it.each([
    ['an empty CA', { ca: '' }],
    ['a CA that is none', { ca: 'text' }],
    ['a certificate that is none', { cert: 'text' }],
    ["another's key", { key: certificates.clients.find(({ id }) => id === 'auditor')!.privateKey }],
  ])('take no %s', (_, wrong) => {
    expect(() => createClient({ url: 'https://127.0.0.1:1', ca: certificates.ca, cert, key, ...wrong })).toThrow()
  })
})

describe('what is sent again', () => {
  it('is a 503 with Retry-After, with the same body and correlation id', async () => {
    const server = await listen((answer, number) =>
      number < 2 ? answerProblem(answer, 503, 'ERR_HSM_BUSY', { 'retry-after': '0' }) : answerJson(answer),
    )
    expect(await connect(server.url).translatePinBlock(BODY)).toEqual(ANSWER)
    expect(server.requests).toHaveLength(3)
    expect(new Set(server.requests.map(({ body }) => body))).toEqual(new Set([JSON.stringify(BODY)]))
    expect(new Set(server.requests.map(({ headers }) => headers['x-correlation-id'])).size).toBe(1)
  })

  it('waits as long as Retry-After says', async () => {
    const server = await listen((answer, number) =>
      number < 1 ? answerProblem(answer, 503, 'ERR_HSM_UNAVAILABLE', { 'retry-after': '1' }) : answerJson(answer),
    )
    const startMs = performance.now()
    await connect(server.url).getKeys()
    // A timer may be a millisecond early by this clock.
    expect(performance.now() - startMs).toBeGreaterThan(990)
  })

  it.each([
    [undefined, 3],
    [0, 1],
    [1, 2],
  ])('with retries: %s is sent %i times', async (retries, times) => {
    const server = await listen((answer) => answerProblem(answer, 503, 'ERR_HSM_BUSY', { 'retry-after': '0' }))
    const error = await errorOf(connect(server.url, { retries }).getKeys({ correlationId: 'c-1' }))
    expect({ ...error }).toMatchObject({
      code: 'ERR_HSM_BUSY',
      status: 503,
      requestId: REQUEST_ID,
      correlationId: 'c-1',
      retryAfterS: 0,
      mayHaveHappened: false,
    })
    expect(server.requests).toHaveLength(times)
  })

  it('is not what would have to wait past the time limit: that ends at once', async () => {
    const server = await listen((answer) => answerProblem(answer, 503, 'ERR_HSM_BUSY', { 'retry-after': '30' }))
    const error = await errorOf(connect(server.url, { timeoutMs: 30_000 }).getKeys())
    expect(error).toMatchObject({ code: 'ERR_HSM_BUSY', retryAfterS: 30 })
    expect(server.requests).toHaveLength(1)
  })

  it.each<[string, Answering]>([
    ['a 503 without Retry-After', (answer) => answerProblem(answer, 503, 'ERR_HSM_BUSY')],
    ['a Retry-After that is a date', (answer) => answerProblem(answer, 503, 'ERR_HSM_BUSY', { 'retry-after': 'now' })],
    ['a 429', (answer) => answerProblem(answer, 429, 'ERR_RATE_LIMITED', { 'retry-after': '0' })],
    ['a 500', (answer) => answerProblem(answer, 500, 'ERR_INTERNAL', { 'retry-after': '0' })],
    ["a proxy's 503", (answer) => answer.writeHead(503, { 'retry-after': '0' }).end('<html>')],
    ['a 401 without a token', (answer) => answerProblem(answer, 401, 'ERR_CLIENT_UNAUTHENTICATED')],
    ['a connection that breaks', (answer) => answer.destroy()],
  ])('is not %s', async (_, answering) => {
    const server = await listen(answering)
    await errorOf(connect(server.url).translatePinBlock(BODY))
    expect(server.requests).toHaveLength(1)
  })
})

describe('a time limit', () => {
  const hang = () =>
    listen((answer, number) => {
      if (number === 0) answerJson(answer)
    })

  it.each(['timeoutMs', 'attemptTimeoutMs'])(
    '%s ends a call that may have happened, and it is not repeated',
    async (limit) => {
      const server = await hang()
      const client = connect(server.url, { [limit]: 1000 })
      await client.getKeys()
      // The connection is there: the request leaves long before the limit.
      const error = await errorOf(client.translatePinBlock(BODY))
      expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'TIMEOUT', mayHaveHappened: true })
      expect(server.requests.length).toBeLessThanOrEqual(2)
    },
  )

  it('is for an answer that began, too', async () => {
    const server = await listen(
      (answer) => void answer.writeHead(200, { 'content-type': 'application/json' }).write('{'),
    )
    const client = connect(server.url, { timeoutMs: 1000 })
    expect(await errorOf(client.getKeys())).toMatchObject({ reason: 'TIMEOUT' })
  })

  it('in the queue for a connection ends a call of which nothing has left', async () => {
    const server = await hang()
    const client = connect(server.url, { connections: 1 })
    await client.getKeys()
    const ahead = new AbortController()
    const first = errorOf(client.getKeys({ signal: ahead.signal }))
    const behind = new AbortController()
    const second = errorOf(client.getKeys({ signal: behind.signal }))
    setImmediate(() => behind.abort())
    expect(await second).toMatchObject({ reason: 'ABORTED', mayHaveHappened: false })
    ahead.abort()
    expect(await first).toMatchObject({ reason: 'ABORTED', mayHaveHappened: true })
  })

  it('ends the wait before a retry', async () => {
    const stop = new AbortController()
    const server = await listen((answer) => {
      answerProblem(answer, 503, 'ERR_HSM_BUSY', { 'retry-after': '20' })
      answer.once('close', () => setTimeout(() => stop.abort(), 50))
    })
    const error = await errorOf(connect(server.url).getKeys({ signal: stop.signal }))
    expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'ABORTED' })
    expect(server.requests).toHaveLength(1)
  })
})

describe('an AbortSignal', () => {
  it('ends a call under way', async () => {
    const stop = new AbortController()
    const server = await listen(() => stop.abort())
    const error = await errorOf(connect(server.url).translatePinBlock(BODY, { signal: stop.signal }))
    expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'ABORTED', mayHaveHappened: true })
  })

  it('that is aborted lets nothing be sent, and asks for no token', async () => {
    const server = await listen((answer) => answerJson(answer))
    const token = vi.fn(async () => 'abc')
    for (const client of [connect(server.url), connect(server.url, { token })]) {
      const error = await errorOf(client.translatePinBlock(BODY, { signal: AbortSignal.abort() }))
      expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'ABORTED', mayHaveHappened: false })
    }
    expect(token).not.toHaveBeenCalled()
    expect(server.requests).toHaveLength(0)
  })
})

describe('a broken answer', () => {
  it.each<[string, Answering]>([
    ['reset before it began', (answer) => answer.destroy()],
    [
      'reset in its midst',
      (answer) => answer.writeHead(200, { 'content-length': '100' }).write('{', () => answer.destroy()),
    ],
    ['that is no HTTP', (answer) => void answer.socket!.end('4000001234567899\r\n\r\n')],
  ])('%s leaves open what has happened', async (_, answering) => {
    const server = await listen(answering)
    const error = await errorOf(connect(server.url).translatePinBlock(BODY))
    expect(error).toMatchObject({ code: 'NO_ANSWER', mayHaveHappened: true })
    expect(error.reason).toMatch(/^(?:ECONNRESET|HPE_[A-Z_]+)$/)
  })

  it('leaves it open for a call that waited for its connection', async () => {
    const server = await listen((answer, number) => (number === 0 ? answerJson(answer) : answer.destroy()))
    const client = connect(server.url, { connections: 1 })
    const [, second] = await Promise.all([client.getKeys(), errorOf(client.getKeys())])
    expect(server.requests).toHaveLength(2)
    expect(second).toMatchObject({ code: 'NO_ANSWER', mayHaveHappened: true })
  })

  it('of more than 4 MiB is not read to its end', async () => {
    const server = await listen((answer) => answerJson(answer, 200, { text: 'a'.repeat(6 * 1024 * 1024) }))
    const error = await errorOf(connect(server.url).getKeys())
    expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'ANSWER_TOO_LARGE', mayHaveHappened: true })
  })
})

describe('an answer of somebody else', () => {
  const html = { 'content-type': 'text/html' }
  it.each<[string, number, Answering]>([
    ["a proxy's 502", 502, (answer) => answer.writeHead(502, html).end('<h1>Bad gateway</h1>')],
    ['a 200 that is HTML', 200, (answer) => answer.writeHead(200, html).end('<h1>Hello</h1>')],
    [
      'a 200 that is no JSON',
      200,
      (answer) => answer.writeHead(200, { 'content-type': 'application/json' }).end('{"pan":4000'),
    ],
    [
      'a 200 that is no object',
      200,
      (answer) => answer.writeHead(200, { 'content-type': 'application/json' }).end('7'),
    ],
    ['a 200 that is a list', 200, (answer) => answer.writeHead(200, { 'content-type': 'application/json' }).end('[]')],
    ['a 204', 204, (answer) => answer.writeHead(204).end()],
    ['a redirection', 302, (answer) => answer.writeHead(302, { location: '/v1/jwks' }).end()],
    [
      "a problem of another's",
      403,
      (answer) => answerJson(answer, 403, problem(403, 'ERR_KEY_USE_FORBIDDEN', { type: 'about:blank' })),
    ],
    ['a problem with a code of another form', 403, (answer) => answerJson(answer, 403, problem(403, 'ERR_4000 0012'))],
    [
      'a problem that says it is plain JSON',
      403,
      (answer) =>
        answerJson(answer, 403, problem(403, 'ERR_KEY_USE_FORBIDDEN'), { 'content-type': 'application/json' }),
    ],
  ])('%s is no answer, and says so', async (_, status, answering) => {
    const server = await listen(answering)
    const error = await errorOf(connect(server.url).translatePinBlock(BODY))
    expect({ ...error }).toMatchObject({ code: 'NO_ANSWER', reason: 'NOT_PINBRIDGE', status, mayHaveHappened: true })
    expect(error.requestId).toBeUndefined()
    expect(server.requests).toHaveLength(1)
  })
})

describe('an error of the service', () => {
  it.each([
    [403, 'ERR_KEY_USE_FORBIDDEN', false],
    [422, 'ERR_PIN_BLOCK_INVALID', false],
    [500, 'ERR_INTERNAL', true],
  ])('%i %s is its code; mayHaveHappened: %s', async (status, code, mayHaveHappened) => {
    const server = await listen((answer) => answerProblem(answer, status, code))
    const error = await errorOf(connect(server.url).translatePinBlock(BODY, { correlationId: 'c-2' }))
    expect(error.message).toBe(`${code} ${status}`)
    expect({ ...error }).toEqual({
      name: 'PinbridgeError',
      code,
      status,
      requestId: REQUEST_ID,
      correlationId: 'c-2',
      mayHaveHappened,
      retryAfterS: undefined,
      serviceCode: undefined,
      reason: undefined,
    })
  })

  it('that this client does not know has a code for that, and keeps its own', async () => {
    const server = await listen((answer) => answerProblem(answer, 409, 'ERR_CARD_ASLEEP'))
    const error = await errorOf(connect(server.url).translatePinBlock(BODY))
    expect(error).toMatchObject({
      code: 'UNKNOWN_CODE',
      serviceCode: 'ERR_CARD_ASLEEP',
      status: 409,
      mayHaveHappened: false,
    })
  })

  it('that this client does not know is waited out, if it is a 503 with Retry-After', async () => {
    const server = await listen((answer, number) =>
      number < 1 ? answerProblem(answer, 503, 'ERR_TIRED', { 'retry-after': '0' }) : answerJson(answer),
    )
    expect(await connect(server.url).getKeys()).toEqual(ANSWER)
  })

  it.each<[string, Answering]>([
    [
      'a problem that says the request back',
      (answer, _, { body }) =>
        answerJson(
          answer,
          400,
          problem(400, 'ERR_REQUEST_INVALID', { title: body, requestId: body, detail: body, status: body }),
        ),
    ],
    [
      'JSON that is cut',
      (answer, _, { body }) => answer.writeHead(200, { 'content-type': 'application/json' }).end(body.slice(0, -1)),
    ],
    ['HTML', (answer, _, { body }) => answer.writeHead(502, { 'content-type': 'text/html' }).end(body)],
    ['no HTTP', (answer, _, { body }) => void answer.socket!.end(body)],
    ['nothing', (answer) => answer.destroy()],
  ])('holds nothing of the request, answered with %s', async (_, answering) => {
    const server = await listen(answering)
    const error = await errorOf(connect(server.url, { token: async () => 'secret-token' }).translatePinBlock(BODY))
    const everything = inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error) + String(error.stack)
    for (const secret of [BODY.card.pan, BODY.pinBlock, 'zpk-in', 'secret-token', 'PRIVATE KEY']) {
      expect(everything).not.toContain(secret)
    }
    expect(error).not.toHaveProperty('cause')
  })
})

describe('a token', () => {
  const refuseUnless =
    (token: string): Answering =>
    (answer, _, { headers }) =>
      headers.authorization === `Bearer ${token}`
        ? answerJson(answer)
        : answerProblem(answer, 401, 'ERR_CLIENT_UNAUTHENTICATED')

  it('is asked for at each call', async () => {
    const server = await listen((answer) => answerJson(answer))
    const tokens = ['a', 'b']
    const client = connect(server.url, { token: async () => tokens.shift()! })
    await client.getKeys()
    await client.getKeys()
    expect(server.requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer a', 'Bearer b'])
  })

  it('that is refused is renewed, once', async () => {
    const server = await listen(refuseUnless('new'))
    const asked: unknown[] = []
    const token = async (refused?: string) => {
      asked.push(refused)
      return refused === undefined ? 'old' : 'new'
    }
    expect(await connect(server.url, { token }).translatePinBlock(BODY)).toEqual(ANSWER)
    expect(asked).toEqual([undefined, 'old'])
    expect(
      new Set(server.requests.map(({ body, headers }) => `${body} ${headers['x-correlation-id'] as string}`)).size,
    ).toBe(1)
  })

  it('that is refused again is not', async () => {
    const server = await listen(refuseUnless('right'))
    let number = 0
    const error = await errorOf(connect(server.url, { token: async () => `wrong${number++}` }).getKeys())
    expect(error).toMatchObject({ code: 'ERR_CLIENT_UNAUTHENTICATED', status: 401, mayHaveHappened: false })
    expect(server.requests).toHaveLength(2)
  })

  it('that is refused and stays the same is not sent again', async () => {
    const server = await listen(refuseUnless('right'))
    await errorOf(connect(server.url, { token: async () => 'wrong' }).getKeys())
    expect(server.requests).toHaveLength(1)
  })

  it.each<[string, () => Promise<string>]>([
    ['rejects', () => Promise.reject(new Error('client_secret=4000001234567899'))],
    [
      'throws',
      () => {
        throw new Error('client_secret')
      },
    ],
    ['gives what is no token', async () => 'a b\r\nx-more: 1'],
    ['gives nothing', async () => undefined as never],
  ])('that its source %s lets nothing be sent', async (_, token) => {
    const server = await listen((answer) => answerJson(answer))
    const error = await errorOf(connect(server.url, { token }).getKeys())
    expect(error).toMatchObject({ code: 'NO_ANSWER', reason: 'TOKEN', mayHaveHappened: false })
    expect(inspect(error)).not.toContain('4000')
    expect(server.requests).toHaveLength(0)
  })

  it('that never comes ends with the time limit', async () => {
    const server = await listen((answer) => answerJson(answer))
    const client = connect(server.url, { token: () => new Promise(() => {}), timeoutMs: 100 })
    expect(await errorOf(client.getKeys())).toMatchObject({ reason: 'TIMEOUT', mayHaveHappened: false })
  })
})

describe('close', () => {
  it('waits for what is under way, takes nothing more and leaves no connection', async () => {
    const answers: ServerResponse[] = []
    let arrived = (): void => {}
    const here = new Promise<void>((resolve) => (arrived = resolve))
    const server = await listen((answer) => {
      answers.push(answer)
      arrived()
    })
    const client = connect(server.url)
    const call = client.translatePinBlock(BODY)
    await here
    let isClosed = false
    const closing = client.close().then(() => (isClosed = true))
    expect(await errorOf(client.getKeys())).toMatchObject({
      code: 'NO_ANSWER',
      reason: 'CLOSED',
      mayHaveHappened: false,
    })
    expect(isClosed).toBe(false)
    answerJson(answers[0]!)
    expect(await call).toEqual(ANSWER)
    await closing
    await server.idle()
    expect(server.requests).toHaveLength(1)
  })
})
