/** The statuses that are of the transport and of the limits: who may connect, what is read, and when no vault answers. */
import { readFileSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { expectProblem, newPan, openIssuer, TO, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer((config) => {
    // Its certificate stays trusted; it just names nobody any more.
    config.clients = config.clients.filter(({ id }: { id: string }) => id !== 'auditor')
    config.limits = { guesses: { perClient: 1000, perCard: 3, perPinBlock: 1000 }, requestMs: 1000, hsmMs: 500 }
  })
})
afterAll(() => issuer.close())

/** Opens a TLS connection; without a certificate unless given one. */
function open(certificate: { cert?: string | Buffer; key?: string | Buffer } = {}): Promise<TLSSocket> {
  const { hostname, port } = new URL(issuer.service.ready.url)
  return new Promise((resolve, reject) => {
    const ca = readFileSync(issuer.service.setUp.ca)
    const socket = connect({ host: hostname, port: Number(port), ca, ...certificate }, () => resolve(socket))
    socket.once('error', reject)
  })
}

/** Sends a request as text and reads until the other side closes. */
async function exchange(socket: TLSSocket, text: string): Promise<string> {
  let answer = ''
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
  const ended = new Promise<void>((resolve, reject) => {
    socket.once('close', () => resolve())
    socket.once('error', reject)
  })
  socket.write(text)
  await ended
  return answer
}

const adapter = () => {
  const { cert, key } = issuer.service.setUp.clients.find(({ id }) => id === 'cms-adapter')!
  return { cert: readFileSync(cert), key: readFileSync(key) }
}
const KEYS_REQUEST = 'GET /v1/keys HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'

describe('who may connect', () => {
  it('no certificate, or one of another CA, gets no answer at all', async () => {
    const other = await makeDevelopmentCertificates({
      hosts: ['x'],
      clients: [{ id: 'cms-adapter', dnsNames: ['cms-adapter.pinbridge.test'] }],
    })
    const { certificate: cert, privateKey: key } = other.clients[0]!
    for (const shown of [{}, { cert, key }]) {
      // With TLS 1.3 the client may believe itself connected before the server has looked; then the line ends without a byte.
      const end = await open(shown)
        .then((socket) => exchange(socket, KEYS_REQUEST))
        .catch((error: unknown) => String((error as { code?: unknown }).code))
      expect(end).toMatch(/^$|^ERR_SSL_|^ECONNRESET$/)
    }
    expect(await exchange(await open(adapter()), KEYS_REQUEST)).toMatch(/^HTTP\/1\.1 200 /)
  })

  it('a trusted certificate that names no client is 401 ERR_CLIENT_UNAUTHENTICATED on every path', async () => {
    for (const path of ['/v1/keys', '/v1/jwks', '/nowhere']) {
      const answer = await issuer.service.call('GET', path, undefined, { client: 'auditor' })
      expectProblem(answer, 401, 'ERR_CLIENT_UNAUTHENTICATED')
    }
    expectProblem(await issuer.post('/v1/pin/set', '{', { client: 'auditor' }), 401, 'ERR_CLIENT_UNAUTHENTICATED')
  })

  it('TLS 1.2 gets no answer at all', async () => {
    const { hostname, port } = new URL(issuer.service.ready.url)
    const ca = readFileSync(issuer.service.setUp.ca)
    const attempt = new Promise((resolve, reject) => {
      connect({ host: hostname, port: Number(port), ca, ...adapter(), maxVersion: 'TLSv1.2' }, () =>
        resolve('connected'),
      ).once('error', reject)
    })
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' })
  })
})

describe('what is read', () => {
  it('an unknown path is 404 ERR_NOT_FOUND, and the management routes are none of this listener', async () => {
    for (const path of [
      '/',
      '/v1/pin',
      '/v2/keys',
      '/healthz',
      '/metrics',
      '/openapi.json',
      '/docs',
      '/docs/main.js',
      '/v1/pin-blocks/translate-batch/x',
    ]) {
      expectProblem(await issuer.service.call('GET', path), 404, 'ERR_NOT_FOUND')
    }
  })

  it('another method is 405 ERR_METHOD_NOT_ALLOWED with Allow', async () => {
    const answer = await issuer.service.call('GET', '/v1/pin/set')
    expectProblem(answer, 405, 'ERR_METHOD_NOT_ALLOWED')
    expect(answer.headers['allow']).toBe('POST')
    expectProblem(await issuer.post('/v1/keys', {}), 405, 'ERR_METHOD_NOT_ALLOWED')
  })

  it('a query is 400 ERR_REQUEST_INVALID', async () => {
    expectProblem(await issuer.service.call('GET', '/v1/keys?pan=4000001234567899'), 400, 'ERR_REQUEST_INVALID')
  })

  it('a body over 64 KiB is 413 ERR_REQUEST_TOO_LARGE', async () => {
    expectProblem(await issuer.post('/v1/pin/set', `"${'a'.repeat(65_536)}"`), 413, 'ERR_REQUEST_TOO_LARGE')
  })

  it('another media type is 415 ERR_UNSUPPORTED_MEDIA_TYPE', async () => {
    for (const type of ['text/plain', 'application/jose', 'application/json; charset=iso-8859-1']) {
      const answer = await issuer.post('/v1/pin/set', '{}', { headers: { 'content-type': type } })
      expectProblem(answer, 415, 'ERR_UNSUPPORTED_MEDIA_TYPE')
    }
  })

  it('headers over 8 KiB are 431 ERR_HEADERS_TOO_LARGE', async () => {
    const answer = await issuer.service.call('GET', '/v1/keys', undefined, { headers: { 'x-long': 'a'.repeat(9000) } })
    expectProblem(answer, 431, 'ERR_HEADERS_TOO_LARGE')
  })

  it('a request that does not arrive is 408 ERR_REQUEST_TIMEOUT', async () => {
    const head = 'POST /v1/pin/set HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n'
    const answer = await exchange(await open(adapter()), `${head}{"type":`)
    expect(answer).toMatch(/^HTTP\/1\.1 408 /)
    expect(answer).toContain('"code":"ERR_REQUEST_TIMEOUT"')
  })
})

describe('what is limited', () => {
  it('guesses at one card end in 429 ERR_RATE_LIMITED with Retry-After, and other cards are still served', async () => {
    const pan = newPan()
    const from = { key: 'zpk-in', format: 'ISO-0' }
    const generate = (pinBlock: string) =>
      issuer.post('/v1/prw/generate', {
        pinBlock,
        from,
        card: { pan, panSequenceNumber: '01' },
        change: { counter: '0003' },
        key: 'prw',
      })
    for (let i = 0; i < 3; i++) {
      expectProblem(await generate(issuer.encipher('zpk-in', `FFFFFFFFFFFFFFF${i}`)), 422, 'ERR_PIN_BLOCK_INVALID')
    }
    const answer = await generate(issuer.block('zpk-in', 'ISO-0', '1234', pan))
    expectProblem(answer, 429, 'ERR_RATE_LIMITED')
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    const other = newPan()
    const body = { pinBlock: issuer.block('zpk-in', 'ISO-0', '1234', other), from, to: TO, card: { pan: other } }
    expect((await issuer.post('/v1/pin-blocks/translate', body)).status).toBe(200)
  })

  it('vaults that stand still end in 503 ERR_HSM_UNAVAILABLE or ERR_HSM_BUSY with Retry-After, and are replaced', async () => {
    const translate = () => {
      const pan = newPan()
      const from = { key: 'zpk-in', format: 'ISO-0' }
      return issuer.post('/v1/pin-blocks/translate', {
        pinBlock: issuer.block('zpk-in', 'ISO-0', '1234', pan),
        from,
        to: TO,
        card: { pan },
      })
    }
    for (const pid of issuer.service.ready.vaults) process.kill(pid, 'SIGSTOP')
    for (const answer of await Promise.all([translate(), translate(), translate()])) {
      expect(answer.status).toBe(503)
      expect(['ERR_HSM_UNAVAILABLE', 'ERR_HSM_BUSY']).toContain(answer.json.code)
      expectProblem(answer, 503, answer.json.code)
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    }
    await expect.poll(async () => (await translate()).status, { timeout: 20_000, interval: 200 }).toBe(200)
  })
})
