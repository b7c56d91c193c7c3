/** Every route, as the OpenAPI document lists them, against every caller who may not use it: a new route is in it by itself. */
import { connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeAuthority } from '../support/issued-certificates.ts'
import { start, VALID, type Harness } from './harness.ts'

const DAY_MS = 24 * 3600 * 1000
const authority = makeAuthority()
const otherAuthority = makeAuthority()

let http: Harness
let routes: { method: string; path: string; body: object | undefined }[]
beforeAll(async () => {
  http = await start({ clientCa: authority.ca })
  const { paths } = http.api.swagger() as { paths: Record<string, Record<string, unknown>> }
  routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => ({
      method: method.toUpperCase(),
      path,
      body: VALID[path as keyof typeof VALID],
    })),
  )
})
afterAll(() => http.close())

it('the routes are those that the tests have a valid request for', () => {
  const posts = routes.filter(({ method }) => method === 'POST').map(({ path }) => path)
  expect(posts.sort()).toEqual(Object.keys(VALID).sort())
  expect(routes.length).toBeGreaterThan(posts.length)
})

describe('who never gets past TLS', () => {
  const CALLERS: Readonly<Record<string, () => object>> = {
    'no certificate': () => ({}),
    'a certificate of another CA': () => otherAuthority.issue(),
    'an expired certificate': () => authority.issue({ notAfterMs: Date.now() - 60_000 }),
    'a certificate of tomorrow': () =>
      authority.issue({ notBeforeMs: Date.now() + DAY_MS, notAfterMs: Date.now() + 2 * DAY_MS }),
    "a server's certificate": () => authority.issue({ usage: 'serverAuth' }),
    'a certificate that a client issued': () => authority.issueByClient(),
    'TLS 1.2': () => ({ ...http.identity('cms'), maxVersion: 'TLSv1.2' }),
  }

  /** What comes back, in plain text, on a connection that sends a whole request. */
  function answerTo(identity: object, { method, path, body }: (typeof routes)[number]): Promise<string> {
    const json = JSON.stringify(body ?? '')
    const head = `${method} ${path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`
    return new Promise((resolve) => {
      let text = ''
      const socket = connect({ host: '127.0.0.1', port: http.port, ca: http.identity('cms').ca, ...identity })
      socket.on('secureConnect', () =>
        socket.write(body ? `${head}content-length: ${json.length}\r\n\r\n${json}` : `${head}\r\n`),
      )
      socket.on('data', (data: Buffer) => (text += data.toString('latin1')))
      socket.on('error', () => undefined)
      socket.on('close', () => resolve(text))
    })
  }

  it.each(Object.keys(CALLERS))('%s: no byte of HTTP on any route, no record and no call', async (caller) => {
    const [records, calls] = [http.records.length, http.calls.length]
    const identity = CALLERS[caller]!()
    for (const route of routes) expect([route.path, await answerTo(identity, route)]).toEqual([route.path, ''])
    expect([http.records.length, http.calls.length]).toEqual([records, calls])
  })

  it('a certificate of the same CA with nothing wrong is served', async () => {
    // The connection stays open, so that the request asks for its end.
    const identity = authority.issue()
    const socket = connect({ host: '127.0.0.1', port: http.port, ca: http.identity('cms').ca, ...identity })
    socket.write(`GET /v1/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`)
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
  })
})

/** An answer's status, headers and bytes, without what differs from one request to the next. */
async function bytesOf(...request: Parameters<Harness['send']>): Promise<string> {
  return bytesBy(http, ...request)
}

async function bytesBy(by: Harness, ...request: Parameters<Harness['send']>): Promise<string> {
  const { status, headers, text, json } = await by.send(...request)
  const { date, ...rest } = headers
  expect(date).toBeDefined()
  return JSON.stringify([status, rest, text.replace(String(json['requestId']), '')])
}

describe('who is refused on every route', () => {
  it.each(['stranger', 'wildcard', 'both', 'cn-only'] as const)(
    '%s: 401, one answer for all routes',
    async (client) => {
      const calls = http.calls.length
      const answers = new Set<string>()
      for (const { method, path, body } of routes) answers.add(await bytesOf(method, path, body, { client }))
      expect([...answers]).toEqual([expect.stringMatching(/^\[401,.*ERR_CLIENT_UNAUTHENTICATED/)])
      expect(http.calls.length).toBe(calls)
    },
  )

  it('a client without a right token, where tokens are required: 401, one answer for all routes', async () => {
    const bearer = { issuer: 'issuer', audience: 'pinbridge', clockSkewS: 30, required: true, keys: [] }
    const strict = await start({ authentication: { bearer } })
    try {
      const answers = new Set<string>()
      for (const { method, path, body } of routes) {
        for (const headers of [{}, { authorization: 'Bearer a.b.c' }])
          answers.add(await bytesBy(strict, method, path, body, { headers }))
      }
      expect([...answers]).toEqual([expect.stringMatching(/^\[401,.*ERR_CLIENT_UNAUTHENTICATED/)])
      expect(strict.calls).toEqual([])
    } finally {
      await strict.close()
    }
  })

  it('a client without the grant: 403, one answer for all routes', async () => {
    const calls = http.calls.length
    const answers = new Set<string>()
    for (const { method, path, body } of routes) {
      // The auditor may read the two lists and nothing else; this one may read neither.
      const client = method === 'GET' ? 'narrow' : 'auditor'
      answers.add(await bytesOf(method, path, body, { client }))
    }
    expect([...answers]).toEqual([expect.stringMatching(/^\[403,.*ERR_KEY_USE_FORBIDDEN/)])
    expect(http.calls.length).toBe(calls)
  })

  it('a key that is not granted and one that does not exist, in every place that names one: 403, one answer', async () => {
    const calls = http.calls.length
    const seen: string[] = []
    const answers = new Set<string>()
    for (const [path, body] of Object.entries({
      ...VALID,
      '/v1/pin/set': { ...VALID['/v1/pin/set'], issue: { prw: 'prw', mac: 'pin-mac' } },
    })) {
      for (const place of keyPlaces(body)) {
        seen.push(`${path} ${place.join('.')}`)
        for (const key of ['spare', 'no-such-key']) answers.add(await bytesOf('POST', path, replaced(body, place, key)))
      }
    }
    expect([...answers]).toEqual([expect.stringMatching(/^\[403,.*ERR_KEY_USE_FORBIDDEN/)])
    expect(http.calls.length).toBe(calls)
    expect(seen).toHaveLength(17)
  })

  const NAMES_A_KEY = [
    'jwe-ec',
    'zpk-in',
    'zpk-out',
    'zpk-aes',
    'seccos-pin',
    'prw',
    'pin-mac',
    'assertion',
    'd1-dev',
    'd1-data-dev',
  ]

  function keyPlaces(value: object): string[][] {
    return Object.entries(value).flatMap(([name, member]) => {
      if (typeof member === 'object' && member !== null) return keyPlaces(member).map((place) => [name, ...place])
      return NAMES_A_KEY.includes(member as string) ? [[name]] : []
    })
  }

  function replaced(body: object, place: readonly string[], key: string): object {
    const copy = structuredClone(body) as Record<string, any>
    const parent = place.slice(0, -1).reduce((node, name) => node[name] as Record<string, any>, copy)
    parent[place.at(-1)!] = key
    return copy
  }
})
