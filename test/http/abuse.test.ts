/** HTTP as nobody should speak it, over real TLS sockets: what is answered, by how many answers, and who else is still served. */
import { connect as connectTcp } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readAll, start, VALID, type Harness } from './harness.ts'
import type { TestClient } from '../support/certificates.ts'

let http: Harness
beforeAll(async () => {
  http = await start()
})
afterAll(() => http.close())

/** Writes bytes and reads until the server closes, or until as many answers as wanted are there. */
async function exchange(bytes: string | Buffer, options: { wanted?: number; client?: TestClient } = {}) {
  const { wanted = 1, client = 'cms' } = options
  const socket = await http.openSocket(client)
  socket.on('error', () => undefined)
  socket.write(bytes)
  let text = ''
  try {
    for await (const chunk of socket) {
      text += (chunk as Buffer).toString('latin1')
      if (statusesOf(text).length >= wanted && /\}\s*$|\r\n\r\n$/.test(text)) break
    }
  } catch {
    // A reset is an end too.
  }
  socket.destroy()
  return { text, statuses: statusesOf(text) }
}

function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1])).filter((status) => status !== 100)
}

/** The routes of the requests that were recorded while `work` ran; it says how many answers there were. */
async function routesDuring(work: () => Promise<number>): Promise<unknown[]> {
  const recorded = () => http.records.filter(({ event }) => event === 'request')
  const before = recorded().length
  const answers = await work()
  // Once a later request is answered, whatever was going to become of the bytes before it has.
  expect((await http.send('GET', '/v1/keys', undefined, { client: 'auditor' })).status).toBe(200)
  await http.requestRecords(before + answers + 1)
  return recorded()
    .slice(before)
    .filter(({ clientId }) => clientId !== 'auditor')
    .map(({ route }) => route)
}

const BODY = JSON.stringify(VALID['/v1/mac/verify'])
const SMUGGLED = 'GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n'
const post = (headers: string, body: string) =>
  `POST /v1/mac/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${headers}\r\n\r\n${body}`
const chunked = (body: string) => `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`

describe('what may end in two readings of where a request ends', () => {
  it.each([
    ['a length and chunks', post('content-length: 4\r\ntransfer-encoding: chunked', `${chunked(BODY)}${SMUGGLED}`)],
    [
      'chunks and a length',
      post(`transfer-encoding: chunked\r\ncontent-length: ${BODY.length}`, `0\r\n\r\n${SMUGGLED}`),
    ],
    ['two lengths', post(`content-length: ${BODY.length}\r\ncontent-length: 0`, `${BODY}${SMUGGLED}`)],
    ['two lengths in one header', post(`content-length: ${BODY.length}, 0`, `${BODY}${SMUGGLED}`)],
    ['a length with a sign', post(`content-length: +${BODY.length}`, `${BODY}${SMUGGLED}`)],
    ['a length in hex', post('content-length: 0x10', `${BODY}${SMUGGLED}`)],
    ['a negative length', post('content-length: -1', `${BODY}${SMUGGLED}`)],
    ['a length beyond 64 bits', post('content-length: 18446744073709551617', `x${SMUGGLED}`)],
    ['a length with a letter behind it', post('content-length: 0a', SMUGGLED)],
    ['an empty length', post('content-length:', SMUGGLED)],
    ['space before the colon', post('content-length : 0\r\ntransfer-encoding: chunked', `0\r\n\r\n${SMUGGLED}`)],
    ['chunked, and not last', post('transfer-encoding: chunked, identity', `${chunked(BODY)}${SMUGGLED}`)],
    ['chunked twice', post('transfer-encoding: chunked, chunked', `${chunked(BODY)}${SMUGGLED}`)],
    ['a coding that only ends in chunked', post('transfer-encoding: xchunked', `0\r\n\r\n${SMUGGLED}`)],
    ['chunked behind a vertical tab', post('transfer-encoding: \x0bchunked', `0\r\n\r\n${SMUGGLED}`)],
    ['chunked in quotes', post('transfer-encoding: "chunked"', `0\r\n\r\n${SMUGGLED}`)],
    ['a folded header', post('transfer-encoding:\r\n chunked\r\ncontent-length: 0', `0\r\n\r\n${SMUGGLED}`)],
    ['a size of a chunk beyond 64 bits', post('transfer-encoding: chunked', `10000000000000000\r\n${SMUGGLED}`)],
    ['a size of a chunk with 0x', post('transfer-encoding: chunked', `0x0\r\n\r\n${SMUGGLED}`)],
    ['a size of a chunk with a sign', post('transfer-encoding: chunked', `-1\r\n\r\n${SMUGGLED}`)],
    ['a chunk longer than its size', post('transfer-encoding: chunked', `1\r\n${BODY}\r\n0\r\n\r\n${SMUGGLED}`)],
    ['a bare line feed behind a size', post('transfer-encoding: chunked', `0\n\n${SMUGGLED}`)],
    [
      'a bare carriage return in a header',
      `GET /v1/jwks HTTP/1.1\r\nhost: x\r\nx: a\rcontent-length: 40\r\n\r\n${SMUGGLED}`,
    ],
    ['a NUL in a header', `GET /v1/jwks HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n${SMUGGLED}`],
    [
      'a length among the trailers',
      post('transfer-encoding: chunked', `${chunked(BODY).slice(0, -2)}content-length: 1\r\n\r\n${SMUGGLED}`),
    ],
  ])('%s: refused once, the connection closed, and nothing behind it is a request', async (_, bytes) => {
    const routes = await routesDuring(async () => {
      const { statuses, text } = await exchange(bytes, { wanted: 2 })
      expect(statuses).toEqual([400])
      expect(text).toMatch(/^connection: close\r$/im)
      return statuses.length
    })
    expect(routes).not.toContain('/v1/keys')
  })

  it.each([
    [
      'chunk extensions',
      post('transfer-encoding: chunked', `${BODY.length.toString(16)};a=b;c="d"\r\n${BODY}\r\n0\r\n\r\n`),
    ],
    [
      'trailers that name a length, a client and a type',
      post('transfer-encoding: chunked', `${chunked(BODY).slice(0, -2)}x-client: auditor\r\ncontent-type: x\r\n\r\n`),
    ],
    [
      'a body in chunks of one byte',
      post('transfer-encoding: chunked', `${[...BODY].map((c) => `1\r\n${c}\r\n`).join('')}0\r\n\r\n`),
    ],
    ['a line break before the request', `\r\n\r\n${post(`content-length: ${BODY.length}`, BODY)}`],
    [
      'an upgrade to h2c, which is not taken',
      post(
        `connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: ${BODY.length}`,
        BODY,
      ),
    ],
    [
      'an upgrade to a web socket, which is not taken',
      post(`connection: upgrade\r\nupgrade: websocket\r\ncontent-length: ${BODY.length}`, BODY),
    ],
    ['a wish to be told to go on', post(`expect: 100-continue\r\ncontent-length: ${BODY.length}`, BODY)],
  ])('%s: one request, served', async (_, bytes) => {
    const routes = await routesDuring(async () => {
      expect((await exchange(bytes)).statuses).toEqual([200])
      return 1
    })
    expect(routes).toEqual(['/v1/mac/verify'])
  })

  it('the body of a GET is no request, though the GET is refused without a look at it', async () => {
    const head = `GET /v1/jwks HTTP/1.1\r\nhost: x\r\ncontent-length: ${SMUGGLED.length}\r\n\r\n`
    const routes = await routesDuring(async () => {
      const { statuses } = await exchange(`${head}${SMUGGLED}GET /v1/mac/verify HTTP/1.1\r\nhost: x\r\n\r\n`, {
        wanted: 2,
      })
      expect(statuses).toEqual([400, 405])
      return statuses.length
    })
    expect(routes).not.toContain('/v1/keys')
  })

  it('something behind a request is another request: the first is served or cut off, and what follows is refused', async () => {
    const { statuses } = await exchange(`${post(`content-length: ${BODY.length}`, BODY)}{"x":1}\r\n\r\n`, { wanted: 2 })
    expect([[], [200], [200, 400], [400]]).toContainEqual(statuses)
  })

  it('fifty requests at once on one connection are answered one by one, in their order', async () => {
    const ids = Array.from({ length: 50 }, (_, i) => `order-${i}`)
    const bytes = ids.map((id) => `GET /v1/keys HTTP/1.1\r\nhost: x\r\nx-correlation-id: ${id}\r\n\r\n`).join('')
    const { text } = await exchange(bytes, { wanted: 50 })
    expect([...text.matchAll(/x-correlation-id: (order-\d+)/gi)].map((match) => match[1])).toEqual(ids)
  })
})

describe('requests of another shape', () => {
  it.each([
    ['HTTP/0.9', 'GET /v1/keys\r\n\r\n'],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a version that does not exist', 'GET /v1/keys HTTP/9.9\r\nhost: x\r\n\r\n'],
    ['no target', 'GET HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['a method that does not exist', 'PINSET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['two hosts', 'GET /v1/keys HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n'],
    ['one host twice', 'GET /v1/keys HTTP/1.1\r\nhost: x\r\nHost: x\r\n\r\n'],
    ['an expectation that nobody can meet', 'GET /v1/keys HTTP/1.1\r\nhost: x\r\nexpect: 200-ok\r\n\r\n'],
    ['a header without a name', 'GET /v1/keys HTTP/1.1\r\nhost: x\r\n: y\r\n\r\n'],
    ['another protocol', Buffer.from('030000130ee000000000000100080003000000', 'hex')],
  ])('%s is 400 ERR_REQUEST_INVALID', async (_, bytes) => {
    const { statuses, text } = await exchange(bytes)
    expect(statuses).toEqual([400])
    expect(text).toContain('"code":"ERR_REQUEST_INVALID"')
    expect(text.toLowerCase()).toContain('content-type: application/problem+json')
  })

  it.each([
    ['the asterisk form', '*'],
    ['dots', '/v1/x/../keys'],
    ['encoded dots', '/v1/x/%2e%2e/keys'],
    ['an encoded slash', '/v1%2fkeys'],
    ['a matrix parameter', '/v1/keys;a=b'],
    ['a NUL, encoded', '/v1/keys%00'],
    ['a backslash', '/v1\\keys'],
  ])('%s names no route', async (_, target) => {
    const { statuses } = await exchange(`GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`)
    expect([400, 404]).toContain(statuses[0])
    expect(statuses).toHaveLength(1)
  })

  it.each([
    ['with digits and letters encoded', '/v1/%6beys'],
    ['in the absolute form', 'https://127.0.0.1/v1/keys'],
    ['of another host', 'http://elsewhere.test/v1/keys'],
    ['with a fragment', '/v1/keys#x'],
    ['behind two spaces', ' /v1/keys'],
  ])('a path %s is that path, and needs its grant', async (_, target) => {
    const statusFor = async (client: TestClient) =>
      (await exchange(`GET ${target} HTTP/1.1\r\nhost: x\r\n\r\n`, { client })).statuses
    expect(await statusFor('auditor')).toEqual([200])
    expect(await statusFor('narrow')).toEqual([403])
    expect(await statusFor('stranger')).toEqual([401])
  })

  it('CONNECT is not answered, and closes the connection', async () => {
    expect((await exchange('CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n')).text).toBe('')
  })

  it('as many headers as fit are one request, and more are 431', async () => {
    const headers = (count: number) => Array.from({ length: count }, () => 'a:b\r\n').join('')
    const request = (count: number) => `GET /v1/keys HTTP/1.1\r\nhost: x\r\n${headers(count)}\r\n`
    expect((await exchange(request(200))).statuses).toEqual([200])
    expect((await exchange(request(5000))).statuses).toEqual([431])
  })

  it('a chunk extension without an end is refused', async () => {
    const { statuses } = await exchange(post('transfer-encoding: chunked', `1;${'a'.repeat(40_000)}`))
    expect(statuses).toEqual([413])
  })
})

describe('bodies', () => {
  const PATHS = Object.keys(VALID) as (keyof typeof VALID)[]
  const refused = async (path: string, body: string | Buffer) => {
    const { status, json } = await http.send('POST', path, body)
    expect([path, body.toString('latin1').slice(0, 200), status, json['code']]).toEqual([
      path,
      body.toString('latin1').slice(0, 200),
      400,
      'ERR_REQUEST_INVALID',
    ])
  }
  /** The text of a valid body with something put in at each place where an object begins, or a string does. */
  const atEach = (path: keyof typeof VALID, place: RegExp, put: string) => {
    const text = JSON.stringify(VALID[path])
    return [...text.matchAll(place)].map(({ index }) => `${text.slice(0, index + 1)}${put}${text.slice(index + 1)}`)
  }
  const OBJECTS = /\{/g
  const VALUES = /(?<=:)"/g

  it.each(PATHS)(
    '%s: members that are names of JavaScript are refused at every level, and change nothing',
    async (path) => {
      const before = http.calls.length
      const names = [
        '__proto__',
        '\\u005f\\u005fproto\\u005f\\u005f',
        'constructor',
        'prototype',
        'toString',
        'hasOwnProperty',
      ]
      for (const name of names) {
        for (const body of atEach(path, OBJECTS, `"${name}":{"polluted":true,"prototype":{"polluted":true}},`)) {
          await refused(path, body)
        }
      }
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
      expect(http.calls.length).toBe(before)
    },
  )

  it.each(PATHS)('%s: what is no text of Unicode is refused in every value', async (path) => {
    const strings = ['\\ud800', '\\udc00\\ud800', '\\ud800x', '\\u00zz', '\\x41', '\x01', '\n']
    for (const put of strings) for (const body of atEach(path, VALUES, put)) await refused(path, body)
    for (const bytes of ['\xff', '\xc0\xaf', '\xed\xa0\x80', '\xf4\x90\x80\x80', '\xc3']) {
      for (const body of atEach(path, VALUES, bytes)) await refused(path, Buffer.from(body, 'latin1'))
    }
  })

  it.each(PATHS)('%s: a value of another kind, however large or deep, is refused in every place', async (path) => {
    const text = JSON.stringify(VALID[path])
    const values = [
      '1e999',
      '9'.repeat(400),
      '-0',
      'NaN',
      `${'['.repeat(2000)}${']'.repeat(2000)}`,
      '{"toString":1}',
      'null',
    ]
    for (const value of values) {
      const bodies = [...text.matchAll(/(?<=:)"[^"]*"/g)].map(
        ({ index, 0: old }) => text.slice(0, index) + value + text.slice(index + old.length),
      )
      for (const body of bodies) await refused(path, body)
    }
  })
})

describe('senders and readers that are slow', () => {
  const REQUEST_MS = 3000
  let slow: Harness
  beforeAll(async () => {
    slow = await start({ limits: { requestMs: REQUEST_MS } })
  })
  afterAll(() => slow.close())

  it('a hundred that dribble are ended in time, and stop nobody else', { timeout: 60_000 }, async () => {
    const sockets: TLSSocket[] = []
    const requests = [
      'GET /v1/keys HTTP/1.1\r\nhost: x\r\nx-slow: ',
      'POST /v1/mac/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{"key":"',
      'POST /v1/mac/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{"a',
    ]
    for (let i = 0; i < 100; i++) {
      const socket = await slow.openSocket()
      socket.on('error', () => undefined)
      socket.write(requests[i % requests.length]!)
      sockets.push(socket)
    }
    const answers = sockets.map((socket) => readAll(socket).catch(() => 'reset'))
    let isDone = false
    const all = Promise.all(answers).finally(() => (isDone = true))
    let served = 0
    while (!isDone) {
      for (const socket of sockets) if (socket.writable) socket.write('a')
      expect((await slow.send('POST', '/v1/mac/verify', VALID['/v1/mac/verify'])).status).toBe(200)
      served++
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(served).toBeGreaterThan(0)
    // A byte that meets the closing connection may reset it, and then the answer is lost.
    const read = await all
    for (const answer of read) expect(answer).toMatch(/^(?:HTTP\/1\.1 4(?:08|00) |reset$|$)/)
    expect(read.filter((answer) => answer.startsWith('HTTP/1.1 408')).length).toBeGreaterThan(0)
  })

  it('connections that never begin their TLS handshake are closed in time', { timeout: 60_000 }, async () => {
    const closed = Array.from({ length: 20 }, () => {
      const socket = connectTcp(slow.port, '127.0.0.1')
      socket.on('error', () => undefined)
      return new Promise((resolve) => socket.resume().once('close', resolve))
    })
    await Promise.all(closed)
    expect((await slow.send('GET', '/v1/keys')).status).toBe(200)
  })

  it('one that asks and does not read stops nobody else', async () => {
    const socket = await slow.openSocket()
    socket.on('error', () => undefined)
    socket.pause()
    for (let i = 0; i < 500; i++) socket.write('GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n')
    for (let i = 0; i < 20; i++) expect((await slow.send('GET', '/v1/keys')).status).toBe(200)
    socket.destroy()
  })
})
