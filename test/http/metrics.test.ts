/** The metrics beside what is done to the API: what is counted, what is there before anything happens, and what labels may say. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { HSM_CALLS } from '../../src/bridge/contract.ts'
import { ServiceError } from '../../src/errors.ts'
import { STATUS } from '../../src/gateway/problem.ts'
import { expiriesOf } from '../../src/gateway/reload.ts'
import { createMetrics } from '../../src/gateway/metrics.ts'
import { VERSION } from '../../src/version.ts'
import { testCertificates } from '../support/certificates.ts'
import { temporaryFolder } from '../support/service.ts'
import { start, statusOf, testConfig, VALID, type Harness } from './harness.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const TRANSLATE = VALID['/v1/pin-blocks/translate']
const BATCH = VALID['/v1/pin-blocks/translate-batch']

let http: Harness | undefined
afterEach(async () => {
  await http?.close()
  http = undefined
})

/** The samples of a metric by their labels, as the text has them. */
const samplesOf = (text: string, name: string) =>
  Object.fromEntries(
    [...text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (.+)$`, 'gm'))].map(([, labels = '', value]) => [
      labels,
      Number(value),
    ]),
  )
const ofClient = (text: string, client: string) =>
  Object.fromEntries(
    ['ok', 'refused', 'limited', 'failed', 'aborted'].map((outcome) => [
      outcome,
      samplesOf(text, 'pinbridge_client_requests_total')[`client="${client}",outcome="${outcome}"`],
    ]),
  )

describe('requests', () => {
  it('are there as 0 before the first one, for every route and client: what begins with 1 is not seen to grow', async () => {
    http = await start()
    const text = await http.metrics.render()
    const requests = samplesOf(text, 'pinbridge_requests_total')
    for (const route of [...Object.keys(VALID), '/v1/keys', '/v1/jwks']) {
      expect(requests[`route="${route}",status="200",code="OK"`]).toBe(0)
      // What alerts select by status, they have by every code of it.
      const watched = Object.entries(STATUS).filter(([, status]) => [401, 403, 429, 500, 503].includes(status))
      expect(watched).toHaveLength(7)
      for (const [code, status] of watched) {
        expect(requests[`route="${route}",status="${status}",code="${code}"`], `${route} ${code}`).toBe(0)
      }
      expect(samplesOf(text, 'pinbridge_request_duration_seconds_count')[`route="${route}"`]).toBe(0)
    }
    for (const client of ['cms-adapter', 'narrow', 'auditor']) {
      expect(ofClient(text, client)).toEqual({ ok: 0, refused: 0, limited: 0, failed: 0, aborted: 0 })
      for (const name of ['pinbridge_guesses_total', 'pinbridge_guess_refusals_total']) {
        expect(samplesOf(text, name)[`client="${client}"`]).toBe(0)
      }
    }
    const hsm = samplesOf(text, 'pinbridge_hsm_call_duration_seconds_count')
    for (const call of HSM_CALLS) expect(hsm[`token="hsm-a",call="${call}",outcome="error"`]).toBe(0)
  })

  it('of each client are counted by how they ended', async () => {
    http = await start({ guesses: { perClient: 1 } })
    const { answers, send } = http
    await send('POST', '/v1/pin-blocks/translate', TRANSLATE)
    await send('GET', '/v1/keys')
    await send('POST', '/v1/pin-blocks/translate', { ...TRANSLATE, card: {} })
    answers.generateMac = () => {
      throw new ServiceError('ERR_HSM_UNAVAILABLE')
    }
    await send('POST', '/v1/mac/generate', VALID['/v1/mac/generate'])
    answers.translatePinBlocks = () => ({
      format: 'ISO-0',
      key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
      rejected: [0],
      packed: Buffer.alloc(8),
    })
    await send('POST', '/v1/pin-blocks/translate', TRANSLATE)
    await send('POST', '/v1/pin-blocks/translate', TRANSLATE)
    await send('POST', '/v1/pin-blocks/translate-batch', BATCH)
    await send('GET', '/v1/keys', undefined, { client: 'auditor' })
    await http.requestRecords(8)
    const text = await http.metrics.render()
    expect(ofClient(text, 'cms-adapter')).toEqual({ ok: 2, refused: 2, limited: 2, failed: 1, aborted: 0 })
    expect(ofClient(text, 'auditor')).toEqual({ ok: 1, refused: 0, limited: 0, failed: 0, aborted: 0 })
    expect(samplesOf(text, 'pinbridge_guess_refusals_total')['client="cms-adapter"']).toBe(2)
    expect(samplesOf(text, 'pinbridge_guess_refusals_total')['client="auditor"']).toBe(0)
  })

  it('of a batch that are over the budget are counted item by item, and a client that hangs up is', async () => {
    http = await start({ guesses: { perClient: 2 } })
    http.answers.translatePinBlocks = ({ items }) => ({
      format: 'ISO-0',
      key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
      rejected: Array.from({ length: items }, (_, i) => i),
      packed: Buffer.alloc(8 * items),
    })
    const items = Array.from({ length: 5 }, (_, i) => ({
      id: `row-${i}`,
      pinBlock: `000000000000000${i}`,
      card: { pan: `411111111111111${i}` },
    }))
    expect((await http.send('POST', '/v1/pin-blocks/translate-batch', { ...BATCH, items })).status).toBe(200)
    let arrived = () => {}
    const isThere = new Promise<void>((resolve) => (arrived = resolve))
    let answer = () => {}
    http.answers.generateMac = async () => {
      arrived()
      await new Promise<void>((resolve) => (answer = resolve))
      return { mac: '01234567', profile: 'p', key: { id: 'pin-mac', version: 1, kcv: 'A1B2C3' } }
    }
    const socket = await http.openSocket()
    const body = JSON.stringify(VALID['/v1/mac/generate'])
    socket.write(
      `POST /v1/mac/generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    )
    await isThere
    socket.destroy()
    await http.requestRecords(2)
    answer()
    const text = await http.metrics.render()
    expect(samplesOf(text, 'pinbridge_guesses_total')['client="cms-adapter"']).toBe(2)
    expect(samplesOf(text, 'pinbridge_guess_refusals_total')['client="cms-adapter"']).toBe(3)
    expect(ofClient(text, 'cms-adapter')).toEqual({ ok: 1, refused: 0, limited: 0, failed: 0, aborted: 1 })
  })
})

describe('labels', () => {
  it('say nothing that stands in a request, whatever stands in it (M-42)', async () => {
    http = await start()
    const canary = 'canary4111111111111111'
    await http.send('GET', `/v1/${canary}`)
    await http.send('GET', `/v1/keys?${canary}`)
    await http.send('POST', '/v1/mac/generate', { key: canary, pinBlock: '00'.repeat(8) })
    await http.send('POST', '/v1/pin/get', { ...VALID['/v1/pin/get'], recipient: canary })
    await http.send('POST', '/v1/pin/get', `{"${canary}":`, {
      headers: { 'x-correlation-id': canary, 'user-agent': canary, traceparent: canary },
    })
    await http.send('GET', '/v1/keys', undefined, { client: 'stranger' })
    const socket = await http.openSocket()
    socket.write(`${canary} /${canary} HTTP/1.1\r\n\r\n`)
    await http.requestRecords(7)
    const text = await http.metrics.render()
    expect(text.toLowerCase()).not.toContain('canary')
    const names = [...text.matchAll(/^pinbridge_\w+\{(.+)\} /gm)].flatMap(([, labels]) =>
      [...labels!.matchAll(/(\w+)="/g)].map(([, name]) => name!),
    )
    const known = ['algorithm', 'call', 'client', 'code', 'id', 'le', 'outcome', 'purpose', 'reason', 'route']
    expect([...new Set(names)].sort()).toEqual([...known, 'state', 'status', 'token', 'version'])
    const values = (label: string) =>
      new Set([...text.matchAll(new RegExp(`[{,]${label}="([^"]*)"`, 'g'))].map(([, value]) => value!))
    const routes = [...Object.keys(VALID), '/v1/keys', '/v1/jwks', 'unmatched', 'none']
    expect([...values('route')].filter((route) => !routes.includes(route))).toEqual([])
    const codes = [...Object.keys(STATUS), 'OK', 'ABORTED']
    expect([...values('code')].filter((code) => !codes.includes(code))).toEqual([])
    const clients = testConfig().clients.map(({ id }) => id)
    expect([...values('client')].filter((client) => !clients.includes(client))).toEqual([])
  })
})

describe('keys and certificates', () => {
  const key = { purpose: 'zone-pin', direction: 'in', algorithm: 'AES-256', kcv: 'C3C3C3C3C3' } as const
  const render = (keys: ReturnType<typeof testConfig>['keys']) => {
    const sources = { status: () => statusOf(), keys: () => keys, clients: () => [], development: false, queue: 7 }
    return createMetrics(sources).render()
  }

  it('are shown by the days in the catalogue, a last day to its end, and a retired version by its name alone', async () => {
    const text = await render([
      { ...key, id: 'zpk', version: 1, state: 'retired', created: '2020-01-01', expires: '2021-01-01' },
      { ...key, id: 'zpk', version: 2, state: 'active', created: '2026-02-03', expires: '2028-12-31' },
      { ...key, id: 'other', version: 1, state: 'pending' },
    ])
    const info = (id: string, version: number, state: string) =>
      `id="${id}",version="${version}",purpose="zone-pin",algorithm="AES-256",state="${state}"`
    expect(samplesOf(text, 'pinbridge_key_info')).toEqual({
      [info('zpk', 1, 'retired')]: 1,
      [info('zpk', 2, 'active')]: 1,
      [info('other', 1, 'pending')]: 1,
    })
    const created = { 'id="zpk",version="2"': Date.UTC(2026, 1, 3) / 1000 }
    expect(samplesOf(text, 'pinbridge_key_created_timestamp_seconds')).toEqual(created)
    const expiry = { 'id="zpk",version="2"': Date.UTC(2029, 0, 1) / 1000 }
    expect(samplesOf(text, 'pinbridge_key_expiry_timestamp_seconds')).toEqual(expiry)
    expect(text).not.toContain('C3C3C3')
  })

  it('of the limit store are known where it has a CA of its own, and a file that is gone is no trouble', async () => {
    const { server, ca } = await testCertificates()
    const folder = temporaryFolder()
    try {
      const tls = { key: server.privateKey, cert: server.certificate, ca }
      const file = join(folder.path, 'ca.pem')
      expect(Object.keys(expiriesOf(tls, undefined))).toEqual(['server', 'client-ca'])
      expect(Object.keys(expiriesOf(tls, file))).toEqual(['server', 'client-ca'])
      writeFileSync(file, ca)
      const known = expiriesOf(tls, file)
      expect(known['limit-store-ca']).toBe(known['client-ca'])
      expect(() => expiriesOf({ ...tls, cert: 'none' }, file)).toThrow('no certificate')
    } finally {
      folder.dispose()
    }
  })

  it('and the program are told by version and configuration', async () => {
    expect((JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }).version).toBe(VERSION)
    let status = statusOf()
    const nothing = { keys: () => [], clients: () => [], development: false, queue: 7 }
    const metrics = createMetrics({ status: () => status, ...nothing })
    expect(await metrics.render()).toContain(`pinbridge_build_info{version="${VERSION}"} 1\n`)
    expect(await metrics.render()).toContain('pinbridge_queue_limit 7\n')
    const sha256 = '0a'.repeat(32)
    status = statusOf({ configuration: { inUse: sha256, renewing: 0 } })
    expect(samplesOf(await metrics.render(), 'pinbridge_config_info')).toEqual({ [`sha256="${sha256}"`]: 1 })

    const successful = async () => samplesOf(await metrics.render(), 'pinbridge_config_last_reload_successful')['']
    expect(await successful()).toBe(1)
    metrics.reload('refused')
    expect(await successful()).toBe(0)
    metrics.reload('applied')
    expect(await successful()).toBe(1)
    // As a gateway that has just taken the place of another is told.
    status = statusOf({ configuration: { inUse: sha256, refused: '0b'.repeat(32), renewing: 0 } })
    expect(await successful()).toBe(0)
  })
})

describe('README', () => {
  it('has a row for every metric with its type and labels, and no row of another', async () => {
    http = await start({
      status: () =>
        statusOf({
          audit: { isWritable: true, refuses: true, seq: 2, unsealed: 1, unsealedSinceMs: 1000, lost: 0 },
          isLimitStoreUp: true,
          configuration: { inUse: '0a'.repeat(32), renewing: 0 },
        }),
    })
    const text = await http.metrics.render()
    const types = new Map(
      [...text.matchAll(/^# TYPE (pinbridge_\w+) (\w+)$/gm)].map(([, name, type]) => [name!, type!]),
    )
    const rows = [...README.matchAll(/^\| `(pinbridge_\w+)` \| (\w+) \|(.*?)\| .+ \|$/gm)]
    expect(rows.map(([, name]) => name).sort()).toEqual([...types.keys()].sort())
    for (const [, name, type, cell] of rows) {
      expect(type, name).toBe(types.get(name!))
      const sample = new RegExp(`^${name}(?:_bucket)?\\{(.+)\\} `, 'm').exec(text)?.[1] ?? ''
      const labels = [...sample.matchAll(/(\w+)="/g)].map(([, label]) => label).filter((label) => label !== 'le')
      // Of what has no sample here, the labels cannot be seen.
      if (sample !== '')
        expect(
          [...cell!.matchAll(/`(\w+)`/g)].map(([, label]) => label),
          name,
        ).toEqual(labels)
    }
  })
})
