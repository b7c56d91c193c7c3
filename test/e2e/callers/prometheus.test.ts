/** What operators have: a real Prometheus asks a real service to which things happen, and answers every query that we ship. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { iso0Block } from '../../d1/simulator.ts'
import { testCertificates } from '../../support/certificates.ts'
import { promtool, startPrometheus, type TestPrometheus } from '../../support/prometheus.ts'
import { startRedis, type TestRedis } from '../../support/redis.ts'
import { editConfig, makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { until } from '../processes/processes.ts'
import { cardAndPin, keyValue, tdea } from '../processes/traffic.ts'

const DEPLOY = new URL('../../../deploy', import.meta.url).pathname
const ALERTS = join(DEPLOY, 'prometheus/alerts.yml')
const DAY_MS = 86_400_000
const dayFrom = (ms: number) => new Date(Date.now() + ms).toISOString().slice(0, 10)

interface Target {
  readonly panel: string
  readonly expr: string
}

const folder = temporaryFolder()
let redis: TestRedis
let service: Service
let prometheus: TestPrometheus
/** Begun first: it keeps a processor busy for seconds, and needs nothing of what is started meanwhile. */
let rulesTested: ReturnType<typeof promtool>

beforeAll(async () => {
  rulesTested = promtool(['test', 'rules', join(DEPLOY, 'prometheus/alerts.test.yml')])
  const { ca } = await testCertificates()
  writeFileSync(join(folder.path, 'store-ca.pem'), ca)
  redis = await startRedis({ tls: true })
  const setUp = await makeSetUp(folder.path, (config) => {
    config.hsm.vaults = 1
    // Nobody is the auditor here: its certificate is trusted, and names no client.
    config.clients = config.clients.filter(({ id }: { id: string }) => id === 'cms-adapter')
    for (const key of config.keys) key.created = dayFrom(-100 * DAY_MS)
    config.keys.find(({ id }: { id: string }) => id === 'zpk-in').expires = dayFrom(10 * DAY_MS)
    config.limits.guesses = { ...config.limits.guesses, perCard: 1 }
    config.limits.store = { url: redis.url, caFile: join(folder.path, 'store-ca.pem'), timeoutMs: 5000 }
    config.audit.sealEveryMs = 3_600_000
  })
  service = await startService(setUp)
  prometheus = await startPrometheus([new URL(service.ready.management).host], [ALERTS])
  // What grows is seen to grow only from a sample on that there was before.
  await until(
    'a first sample',
    async () => (await prometheus.query('pinbridge_pan_variation_alarms_total == 0')).length > 0,
  )
  await traffic()
})
afterAll(async () => {
  await prometheus?.dispose()
  await service?.stop()
  await redis?.dispose()
  folder.dispose()
})

/** One round of everything that a metric tells of: right and wrong, refused, forbidden, unknown, and not even TLS. */
let round = 0
async function traffic(): Promise<void> {
  const first = 1000 * round++
  const translate = (pinBlock: string, pan: string, key = 'zpk-in') => {
    const zones = { from: { key, format: 'ISO-0' }, to: { key: 'zpk-out', format: 'ISO-0' } }
    return service.call('POST', '/v1/pin-blocks/translate', { pinBlock, ...zones, card: { pan } })
  }
  const right = (n: number) => {
    const { pan, pin } = cardAndPin(first + n)
    return [tdea(keyValue(service, 'zpk-in'), iso0Block(pin, pan)), pan] as const
  }
  for (let n = 0; n < 5; n++) expect((await translate(...right(n))).status).toBe(200)
  const { pan } = cardAndPin(first + 5)
  expect((await translate(String(first).padStart(16, '0'), pan)).status).toBe(422)
  expect((await translate(...right(5))).status).toBe(429)
  const block = right(6)[0]
  const statuses = []
  for (const n of [6, 7, 8]) statuses.push((await translate(block, cardAndPin(first + n).pan)).status)
  expect(statuses.at(-1)).toBe(429)
  expect((await translate(block, pan, 'no-such-key')).status).toBe(403)
  expect((await service.call('GET', '/v1/keys', undefined, { client: 'auditor' })).status).toBe(401)
  const { port } = new URL(service.ready.url)
  await new Promise((resolve) => {
    connect({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false })
      .once('close', resolve)
      .on('error', () => {})
  })
}

/** The value of a metric that has one sample. */
const valueOf = async (expression: string) => (await prometheus.query(expression))[0]?.value

describe('promtool', () => {
  it('has nothing to say against the metrics of a running service', async () => {
    const { text } = await service.manage('/metrics')
    expect(text).toContain('pinbridge_ready 1')
    expect(await promtool(['check', 'metrics'], text)).toEqual({ code: 0, output: '' })
    const misnamed = '# HELP pinbridge_bad_total x\n# TYPE pinbridge_bad_total gauge\npinbridge_bad_total 1\n'
    expect((await promtool(['check', 'metrics'], text + misnamed)).output).toContain('pinbridge_bad_total')
  })

  it('takes the example configuration and the rules', async () => {
    const checked = await promtool(['check', 'config', join(DEPLOY, 'prometheus/prometheus.yml')])
    expect(checked).toMatchObject({ code: 0, output: expect.stringContaining('1 rule files found') })
    expect((await promtool(['check', 'rules', ALERTS])).code).toBe(0)
  })

  it('sees every alert fire when it should, and not when it should not', async () => {
    expect(await rulesTested).toMatchObject({ code: 0, output: expect.stringContaining('SUCCESS') })
  })
})

describe('Prometheus', () => {
  it('has data for every query of the dashboard and every metric of the alerts', async () => {
    const { panels } = JSON.parse(readFileSync(join(DEPLOY, 'grafana/pinbridge.json'), 'utf8')) as {
      panels: { title: string; targets?: { expr: string }[] }[]
    }
    const variables: Record<string, string> = { $instance: '.*', $__rate_interval: '15s', $__range: '1m' }
    const targets: Target[] = panels.flatMap(({ title, targets: own = [] }) =>
      own.map(({ expr }) => ({ panel: title, expr: expr.replaceAll(/\$\w+/g, (name) => variables[name]!) })),
    )
    const { groups } = parse(readFileSync(ALERTS, 'utf8')) as { groups: { rules: { alert: string; expr: string }[] }[] }
    const alerts = groups.flatMap(({ rules }) => rules).map(({ alert, expr }) => ({ panel: alert, expr }))
    // A query that falls back to 0 would hide that what it selects is not there.
    const selectors: Target[] = [...targets, ...alerts].flatMap(({ panel, expr }) =>
      [...expr.matchAll(/\b(?:(?:pinbridge|process|nodejs)_\w+|up\b)(?:\{[^}]*\})?/g)].map(([selector]) => ({
        panel,
        expr: selector,
      })),
    )
    expect(targets.length).toBeGreaterThan(50)
    expect(selectors.length).toBeGreaterThan(100)

    let missing: readonly Target[] = [...targets, ...selectors]
    const isAnswered = async () => {
      await traffic()
      const left: Target[] = []
      for (const target of missing) {
        const samples = await prometheus.query(target.expr)
        if (samples.length === 0 || samples.every(({ value }) => Number.isNaN(value))) left.push(target)
      }
      missing = left
      return left.length === 0
    }
    await until('an answer to each', isAnswered, 40_000).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${missing.map(({ panel, expr }) => `${panel}: ${expr}`).join('\n')}`)
    })
  })

  it('is told what happened, by client, key and certificate', async () => {
    const client = 'client="cms-adapter"'
    for (const expression of [
      `pinbridge_client_requests_total{${client},outcome="ok"} > 4`,
      `pinbridge_client_requests_total{${client},outcome="refused"} > 1`,
      `pinbridge_client_requests_total{${client},outcome="limited"} > 1`,
      `pinbridge_guesses_total{${client}} > 0`,
      `pinbridge_guess_refusals_total{${client}} > 0`,
      'pinbridge_pan_variation_alarms_total > 0',
      'pinbridge_tls_refusals_total > 0',
      'sum(pinbridge_requests_total{code="ERR_CLIENT_UNAUTHENTICATED"}) > 0',
      'sum(pinbridge_hsm_call_duration_seconds_count{outcome="ok"}) > 9',
      'pinbridge_limit_store_up == 1',
      'pinbridge_audit_records_total > 9',
      // The day after its last is the end.
      'abs(pinbridge_key_expiry_timestamp_seconds{id="zpk-in"} - time()) / 86400 <= 11',
      '(time() - pinbridge_key_created_timestamp_seconds{id="zpk-in"}) / 86400 > 99',
      'pinbridge_certificate_expiry_timestamp_seconds{certificate="limit-store-ca"} > time()',
      'abs(timestamp(pinbridge_time_seconds) - pinbridge_time_seconds) < 60',
    ]) {
      await until(expression, async () => (await prometheus.query(expression)).length > 0)
    }
  })

  it('evaluates every rule, and the alarms of this service fire', async () => {
    const isEvaluated = async () => {
      const { groups } = await prometheus.ask('/api/v1/rules')
      const rules = groups.flatMap((group: any) => group.rules)
      return rules.length > 30 && rules.every(({ health }: any) => health !== 'unknown') && rules
    }
    const { value: rules } = await until('every rule evaluated', isEvaluated)
    expect(rules.filter(({ health }: any) => health !== 'ok')).toEqual([])
    const firing = async () => {
      const { alerts } = await prometheus.ask('/api/v1/alerts')
      return alerts.filter(({ state }: any) => state === 'firing').map(({ labels }: any) => labels.alertname as string)
    }
    await until('the alarms', async () => {
      const names = await firing()
      return ['PinbridgeDevelopmentMode', 'PinbridgePanVariation'].every((name) => names.includes(name))
    })
  })

  it('sees a configuration taken over, another refused, and a limit store that is gone', async () => {
    const hashOf = async () => (await prometheus.query('pinbridge_config_info'))[0]?.labels['sha256']
    const before = await hashOf()
    expect(before).toMatch(/^[0-9a-f]{64}$/)
    const good = readFileSync(service.setUp.config, 'utf8')
    writeFileSync(service.setUp.config, `${good}\n# changed\n`)
    service.process.kill('SIGHUP')
    await until('another hash', async () => ![before, undefined].includes(await hashOf()))
    expect(await valueOf('pinbridge_config_last_reload_successful')).toBe(1)

    editConfig(service.setUp.config, (config) => (config.surprise = true))
    service.process.kill('SIGHUP')
    await until('refused', async () => (await valueOf('pinbridge_config_last_reload_successful')) === 0)
    writeFileSync(service.setUp.config, good)
    service.process.kill('SIGHUP')
    await until('taken over', async () => (await valueOf('pinbridge_config_last_reload_successful')) === 1)
    await until('the first hash', async () => (await hashOf()) === before)

    await redis.kill()
    const reason = 'pinbridge_not_ready_reason{reason="limit-store-gone"} == 1'
    await until('not ready', async () => (await prometheus.query(reason)).length > 0)
    expect(await valueOf('pinbridge_limit_store_up')).toBe(0)
    expect(await valueOf('pinbridge_ready')).toBe(0)
  })
})
