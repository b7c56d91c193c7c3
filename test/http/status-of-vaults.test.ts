/** A real vault pool behind the real management listener, and vaults of the test that report what they like. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { request } from 'undici'
import { Channel } from '../../src/bridge/channel.ts'
import { HSM_CALL_BOUNDS_S, type RequestOf, type StatusReport } from '../../src/bridge/contract.ts'
import { VaultPool } from '../../src/bridge/vault-pool.ts'
import { buildManagement } from '../../src/gateway/app.ts'
import { createMetrics } from '../../src/gateway/metrics.ts'
import { createStatusKeeper } from '../../src/gateway/status.ts'
import { testConfig } from './harness.ts'

const QUEUE = 2
const TOKEN = 'hsm-a'
const MAC: RequestOf<'generateMac'> = { key: 'pin-mac', pinBlock: '0123456789ABCDEF' }

let service: Awaited<ReturnType<typeof begin>>
beforeEach(async () => {
  service = await begin()
})
afterEach(() => service.close())

/** The gateway without its API, put together as its entry does. */
async function begin() {
  const folder = mkdtempSync(join(tmpdir(), 'pinbridge-test-'))
  const path = join(folder, 'bridge.sock')
  const sockets = new Set<Socket>()
  const ready: number[] = []
  const overdue: number[] = []
  const pool = new VaultPool(
    { hsmMs: 2000, queue: QUEUE, inFlightPerVault: 1 },
    {
      onReady: (id) => ready.push(id),
      onOverdue: (id) => overdue.push(id),
      onGive: (waitedMs) => metrics.queueWait(waitedMs / 1000),
      onStatus: (token, { calls }) => metrics.hsmCalls(token, calls),
    },
  )
  const keeper = createStatusKeeper(pool)
  const nothing = { keys: () => [], clients: () => [], development: false, queue: QUEUE }
  const metrics = createMetrics({ status: keeper.read, ...nothing })
  const management = buildManagement({
    config: testConfig(),
    metrics,
    status: keeper.read,
    openApi: () => ({}),
  })
  const url = await management.listen({ host: '127.0.0.1', port: 0 })
  const bridge = createServer((socket) => {
    sockets.add(socket)
    pool.connect(socket)
  })
  await new Promise<void>((resolve) => bridge.listen(path, resolve))

  const manage = async (route: string) => {
    const answer = await request(`${url}${route}`)
    return { status: answer.statusCode, text: await answer.body.text() }
  }
  return {
    pool,
    keeper,
    overdue,
    /** Connects a vault; it answers each request at once if `answers`, and else when `next` is called. */
    serve: async (id: number, { token = TOKEN, answers = true } = {}) => {
      const secret = randomBytes(32).toString('hex')
      pool.admit(id, secret, token)
      const socket = connect(path)
      sockets.add(socket)
      const held: number[] = []
      const answer = (n: number) => channel.send({ id: n, answer: { mac: '01234567', profile: 'p', key: {} } })
      const channel = new Channel(socket, (message) => {
        const { id: n } = message as { id: number }
        if (answers) answer(n)
        else held.push(n)
      })
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
      channel.send({ vault: id, secret, publicKeys: [] })
      await expect.poll(() => ready.includes(id), { interval: 2 }).toBe(true)
      return {
        report: (status: unknown) => channel.send({ status }),
        next: () => answer(held.shift()!),
        held,
        kill: () => socket.destroy(),
        closed,
      }
    },
    readyz: async () => {
      const { status, text } = await manage('/readyz')
      const json = JSON.parse(text) as { ready: boolean; reason?: string; configuration?: unknown }
      return { status, ...(json as typeof json & { vaults: any[]; tokens: any[] }) }
    },
    metrics: async () => (await manage('/metrics')).text,
    close: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => bridge.close(resolve))
      await management.close()
      rmSync(folder, { recursive: true })
    },
  }
}

const report = (over: Partial<StatusReport> = {}): StatusReport => ({
  sessions: { total: 4, inUse: 2, waiting: 0 },
  selfTestAgeMs: 0,
  calls: [],
  ...over,
})
/** Counts with `count` calls in each of the classes, 0 in all others. */
const counts = (classes: Record<number, number>) =>
  Array.from({ length: HSM_CALL_BOUNDS_S.length + 1 }, (_, place) => classes[place] ?? 0)
const calls = (call: 'decipherBlocks' | 'fillRandom', outcome: 'ok' | 'error', classes: object, seconds: number) => ({
  call,
  outcome,
  counts: counts(classes as Record<number, number>),
  seconds,
})
/** The samples of a metric by their labels, as the text has them. */
const samplesOf = (text: string, name: string) =>
  Object.fromEntries(
    [...text.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (.+)$`, 'gm'))].map(([, labels = '', value]) => [
      labels,
      Number(value),
    ]),
  )
const DURATION = 'pinbridge_hsm_call_duration_seconds'
const DECIPHER_OK = 'token="hsm-a",call="decipherBlocks",outcome="ok"'

describe('HSM calls that vaults report', () => {
  it('are added up by token, call and outcome, in classes that each hold the ones below', async () => {
    const [first, second, other] = [
      await service.serve(1),
      await service.serve(2),
      await service.serve(3, { token: 'hsm-b' }),
    ]
    first.report(report({ calls: [calls('decipherBlocks', 'ok', { 0: 3, 5: 2 }, 0.0015)] }))
    second.report(report({ calls: [calls('decipherBlocks', 'ok', { 5: 1, 17: 1 }, 7.001)] }))
    first.report(report({ calls: [calls('decipherBlocks', 'error', { 16: 1 }, 4.5)] }))
    other.report(report({ calls: [calls('fillRandom', 'ok', { 1: 9 }, 0.0003)] }))
    await expect.poll(service.metrics).toContain('call="fillRandom"')
    await expect.poll(service.metrics).toContain('outcome="error"')
    const text = await service.metrics()
    expect(samplesOf(text, `${DURATION}_count`)).toEqual({
      [DECIPHER_OK]: 7,
      'token="hsm-a",call="decipherBlocks",outcome="error"': 1,
      'token="hsm-b",call="fillRandom",outcome="ok"': 9,
    })
    expect(samplesOf(text, `${DURATION}_sum`)[DECIPHER_OK]).toBeCloseTo(7.0025, 9)
    const buckets = samplesOf(text, `${DURATION}_bucket`)
    const bucket = (le: string) => buckets[`${DECIPHER_OK},le="${le}"`]
    expect([bucket('0.00002'), bucket('0.0005'), bucket('0.001'), bucket('5'), bucket('+Inf')]).toEqual([3, 3, 6, 6, 7])
    expect(Object.keys(buckets)).toHaveLength(3 * 18)
    expect(text).toMatch(new RegExp(`^# TYPE ${DURATION} histogram$`, 'm'))
  })

  it('stay counted when their vault is gone and another has taken its place', async () => {
    const old = await service.serve(1)
    old.report(report({ calls: [calls('decipherBlocks', 'ok', { 2: 40 }, 0.004)] }))
    await expect.poll(service.metrics).toContain(`${DURATION}_count{${DECIPHER_OK}} 40`)
    old.kill()
    await old.closed
    expect(await service.metrics()).toContain(`${DURATION}_count{${DECIPHER_OK}} 40`)
    const fresh = await service.serve(2)
    fresh.report(report({ calls: [calls('decipherBlocks', 'ok', { 2: 2 }, 0.0002)] }))
    await expect.poll(service.metrics).toContain(`${DURATION}_count{${DECIPHER_OK}} 42`)
  })

  it('are still taken from a vault that was drained, with its last report', async () => {
    const vault = await service.serve(1)
    service.pool.drain(1)
    vault.report(report({ calls: [calls('decipherBlocks', 'ok', { 2: 5 }, 0.0005)] }))
    await expect.poll(service.metrics).toContain(`${DURATION}_count{${DECIPHER_OK}} 5`)
  })

  it.each([
    ['no report', 1],
    ['null', null],
    ['a report without sessions', { selfTestAgeMs: 0, calls: [] }],
    ['a member that the contract does not have', report({ pin: '1234' } as object)],
    ['an age that is negative', report({ selfTestAgeMs: -1 })],
    ['an age that is no number', report({ selfTestAgeMs: '0' as never })],
    ['a call of another name', report({ calls: [{ ...calls('fillRandom', 'ok', {}, 0), call: 'x' as never }] })],
    ['another outcome', report({ calls: [{ ...calls('fillRandom', 'ok', {}, 0), outcome: 'x' as never }] })],
    ['a class too few', report({ calls: [{ ...calls('fillRandom', 'ok', {}, 0), counts: [1] }] })],
    ['a count that is negative', report({ calls: [calls('fillRandom', 'ok', { 0: -1 }, 0)] })],
    ['time that is negative', report({ calls: [calls('fillRandom', 'ok', { 0: 1 }, -1)] })],
    ['more calls than there are', report({ calls: Array(15).fill(calls('fillRandom', 'ok', { 0: 1 }, 1)) })],
  ])('end the connection of a vault that sends %s, and count nothing', async (_name, status) => {
    const vault = await service.serve(1)
    vault.report(status)
    await vault.closed
    await expect.poll(() => service.pool.vaults).toEqual([])
    expect(samplesOf(await service.metrics(), `${DURATION}_count`)).toEqual({})
  })
})

describe('readiness', () => {
  it('needs a vault: 503 no-vault before the first and after the last', async () => {
    expect(await service.readyz()).toMatchObject({ status: 503, ready: false, reason: 'no-vault', vaults: [] })
    const vault = await service.serve(1)
    expect(await service.readyz()).toMatchObject({ status: 200, ready: true })
    vault.kill()
    await expect.poll(async () => (await service.readyz()).reason).toBe('no-vault')
  })

  it('does not count a vault that drains', async () => {
    const vault = await service.serve(1, { answers: false })
    const held = service.pool.call('generateMac', MAC)
    await expect.poll(() => vault.held.length).toBe(1)
    service.pool.drain(1)
    expect(await service.readyz()).toMatchObject({ status: 503, reason: 'no-vault', vaults: [{ state: 'draining' }] })
    vault.next()
    await held
  })

  it('needs one vault whose known answers are 35 seconds old at most', async () => {
    const [first, second] = [await service.serve(1), await service.serve(2)]
    first.report(report({ selfTestAgeMs: 36_000 }))
    await expect.poll(async () => (await service.readyz()).vaults[0].selfTestAgeMs).toBeGreaterThanOrEqual(36_000)
    expect(await service.readyz()).toMatchObject({ status: 200, ready: true })
    second.report(report({ selfTestAgeMs: 35_001 }))
    await expect.poll(async () => (await service.readyz()).reason).toBe('self-test-overdue')
    expect((await service.readyz()).status).toBe(503)
    second.report(report({ selfTestAgeMs: 30_000 }))
    await expect.poll(async () => (await service.readyz()).status).toBe(200)
  })

  it('ends for a second when a call is refused because the vaults are busy', async () => {
    const vault = await service.serve(1, { answers: false })
    const asked = Array.from({ length: 1 + QUEUE }, () => service.pool.call('generateMac', MAC))
    await expect.poll(() => vault.held.length).toBe(1)
    expect(await service.readyz()).toMatchObject({ status: 200, ready: true })
    await expect(Promise.all(Array.from({ length: 2 }, () => service.pool.call('generateMac', MAC)))).rejects.toThrow(
      'The HSM is busy; try again later.',
    )
    expect(await service.readyz()).toMatchObject({ status: 503, ready: false, reason: 'overloaded' })
    for (const call of asked) {
      await expect.poll(() => vault.held.length).toBe(1)
      vault.next()
      await call
    }
    await expect.poll(async () => (await service.readyz()).status, { timeout: 3000 }).toBe(200)
  })

  it('ends when the service stops, whatever else is wrong, while what was accepted is answered', async () => {
    const vault = await service.serve(1, { answers: false })
    const held = service.pool.call('generateMac', MAC)
    await expect.poll(() => vault.held.length).toBe(1)
    service.keeper.stop()
    expect(await service.readyz()).toMatchObject({ status: 503, reason: 'stopping', vaults: [{ inFlight: 1 }] })
    vault.next()
    expect(await held).toMatchObject({ mac: '01234567' })
    vault.kill()
    await vault.closed
    expect(await service.readyz()).toMatchObject({ status: 503, reason: 'stopping' })
  })

  it('says how tokens are as the supervisor told, and how many vaults of each serve', async () => {
    await service.serve(1)
    await service.serve(2, { token: 'hsm-b' })
    await service.serve(3, { token: 'hsm-b' })
    expect((await service.readyz()).tokens).toEqual([])
    const restarts = { ended: 1, overdue: 2, unhealthy: 3, recycled: 4, 'start-failed': 5, 'start-timeout': 6 }
    const tokens = [
      { name: 'hsm-a', state: 'serving', wanted: 2 },
      { name: 'hsm-b', state: 'serving', wanted: 2 },
      { name: 'hsm-c', state: 'refused', wanted: 1 },
    ] as const
    const configuration = { inUse: '0a'.repeat(32), refused: '0b'.repeat(32), renewing: 2 }
    service.keeper.learn({ type: 'tokens', tokens, configuration, restarts: { ...restarts, 'gateway-lost': 7 } })
    expect((await service.readyz()).configuration).toEqual(configuration)
    expect(samplesOf(await service.metrics(), 'pinbridge_vaults_renewing')).toEqual({ '': 2 })
    expect((await service.readyz()).tokens).toEqual([
      { name: 'hsm-a', state: 'serving', wanted: 2, serving: 1 },
      { name: 'hsm-b', state: 'serving', wanted: 2, serving: 2 },
      { name: 'hsm-c', state: 'refused', wanted: 1, serving: 0 },
    ])
    expect(samplesOf(await service.metrics(), 'pinbridge_vault_restarts_total')).toEqual({
      'cause="ended"': 1,
      'cause="overdue"': 2,
      'cause="unhealthy"': 3,
      'cause="recycled"': 4,
      'cause="start-failed"': 5,
      'cause="start-timeout"': 6,
      'cause="gateway-lost"': 7,
    })
  })
})

describe('the queue', () => {
  it('shows how many wait and how long each of them waited', async () => {
    const vault = await service.serve(1, { answers: false })
    const asked = [1, 2, 3].map(() => service.pool.call('generateMac', MAC))
    await expect.poll(() => vault.held.length).toBe(1)
    const text = await service.metrics()
    expect(samplesOf(text, 'pinbridge_queue_length')).toEqual({ '': 2 })
    expect(samplesOf(text, 'pinbridge_requests_in_flight')).toEqual({ '': 1 })
    await new Promise((resolve) => setTimeout(resolve, 60))
    for (let n = 0; n < 3; n++) {
      await expect.poll(() => vault.held.length).toBe(1)
      vault.next()
    }
    await Promise.all(asked)
    const after = await service.metrics()
    expect(samplesOf(after, 'pinbridge_queue_wait_seconds_count')).toEqual({ '': 3 })
    expect(samplesOf(after, 'pinbridge_queue_wait_seconds_bucket')['le="0.05"']).toBe(1)
    expect(samplesOf(after, 'pinbridge_queue_wait_seconds_sum')['']).toBeGreaterThan(0.12)
    expect(samplesOf(after, 'pinbridge_queue_length')).toEqual({ '': 0 })
  })
})
