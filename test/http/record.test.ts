import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ServiceError } from '../../src/errors.ts'
import { start, VALID, type Harness } from './harness.ts'

let http: Harness
beforeEach(async () => {
  http = await start()
})
afterEach(() => http.close())

const ALLOWED = [
  ...['level', 'time', 'pid', 'hostname', 'event', 'requestId', 'correlationId', 'traceId', 'route', 'clientId'],
  ...['operation', 'keys', 'code', 'status', 'durationMs', 'ckr', 'method', 'errorType'],
]

describe('the request record', () => {
  it('says who asked for what by which keys, and how it ended', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    http.answers.translatePinBlocks = () => {
      throw new ServiceError('ERR_HSM_UNAVAILABLE', { ckr: 'CKR_DEVICE_ERROR', method: 'C_Decrypt' })
    }
    const headers = { 'x-correlation-id': 'order-1', traceparent }
    await http.send('POST', '/v1/pin-blocks/translate', VALID['/v1/pin-blocks/translate'], { headers })
    const records = await http.requestRecords(1)
    expect(records.length).toBe(1)
    expect(records[0]).toMatchObject({
      level: 30,
      correlationId: 'order-1',
      traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
      route: '/v1/pin-blocks/translate',
      clientId: 'cms-adapter',
      operation: 'pin-blocks/translate',
      keys: [
        { id: 'zpk-in', kcv: 'A1A1A1' },
        { id: 'zpk-out', kcv: 'B2B2B2' },
      ],
      code: 'ERR_HSM_UNAVAILABLE',
      status: 503,
      ckr: 'CKR_DEVICE_ERROR',
      method: 'C_Decrypt',
    })
  })

  it('is written once for each request, of listed members only, and holds nothing that was sent', async () => {
    const canary = '4999888877776666'
    const hex = 'C0FFEEC0FFEEC0FF'
    let sent = 0
    const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
      const answer = await http.send(method, path, body, { headers })
      expect(answer.text).not.toMatch(/4999888877776666|C0FFEE/i)
      sent++
    }
    for (const [path, body] of Object.entries(VALID)) {
      const full = { ...body, pinBlock: hex, encryptedPinBlock: hex, card: { pan: canary } }
      const known = Object.fromEntries(Object.entries(full).filter(([name]) => name in body || name === 'card'))
      await send('POST', path, known)
      await send('POST', path, { ...known, [canary]: canary })
      await send('POST', path, { ...known, key: canary, from: { key: canary, format: 'ISO-0' } })
      await send('POST', `${path}?pan=${canary}`, known)
      await send('POST', path, canary, { 'content-type': canary })
      await send('POST', path, known, { 'x-correlation-id': `/${canary}`, traceparent: canary, 'user-agent': canary })
    }
    await send('GET', `/v1/${canary}`)
    await send('PUT', `/v1/keys?${canary}`)
    await send('GET', '/v1/keys', undefined, { authorization: canary, cookie: canary })
    const records = await http.requestRecords(sent)
    expect(records.length).toBe(sent)
    expect(records.flatMap(Object.keys).filter((name) => !ALLOWED.includes(name))).toEqual([])
    expect(new Set(records.map(({ requestId }) => requestId)).size).toBe(sent)
    expect(JSON.stringify(http.records)).not.toMatch(/4999888877776666|C0FFEE/i)
    expect(await http.metrics.render()).not.toMatch(/4999888877776666|C0FFEE/i)
  })

  it('tells a client that left from one that was answered', async () => {
    let finish = () => {}
    http.answers.verifyMac = () => new Promise((resolve) => (finish = () => resolve({ verified: true })))
    const body = JSON.stringify(VALID['/v1/mac/verify'])
    const socket = await http.openSocket()
    socket.write(
      `POST /v1/mac/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    while (http.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    socket.destroy()
    const [record] = await http.requestRecords(1)
    finish()
    expect(record).toMatchObject({ code: 'ABORTED', route: '/v1/mac/verify' })
    expect(record).not.toHaveProperty('status')
  })

  it('counts requests by route, status and code', async () => {
    await http.send('GET', '/v1/keys')
    await http.send('GET', '/nowhere')
    await http.requestRecords(2)
    const metrics = await http.metrics.render()
    expect(metrics).toContain('pinbridge_requests_total{route="/v1/keys",status="200",code="OK"} 1')
    expect(metrics).toContain('pinbridge_requests_total{route="unmatched",status="404",code="ERR_NOT_FOUND"} 1')
    expect(metrics).toMatch(/pinbridge_request_duration_seconds_count\{route="\/v1\/keys"\} 1/)
  })
})
