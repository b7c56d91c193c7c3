import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createMetrics } from '../../src/gateway/metrics.ts'
import { createStatusKeeper } from '../../src/gateway/status.ts'
import { testCertificates } from '../support/certificates.ts'
import { openTestStore, openTestStoreUp, until, type TestStore } from '../support/limit-store.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { temporaryFolder } from '../support/service.ts'
import { start, statusOf, VALID, type Harness } from './harness.ts'

const TIMEOUT_MS = 4000
const TRANSLATE = VALID['/v1/pin-blocks/translate']
const block = (n: number) => n.toString(16).padStart(16, '0')

let redis: TestRedis
let store: TestStore
let http: Harness

/** Opens a gateway whose vault takes every block for wrong. */
async function open(whenGone: 'refuse' | 'memory' = 'refuse') {
  store = await openTestStoreUp(redis, { timeoutMs: TIMEOUT_MS, whenGone })
  http = await start({ limitStore: store, counterOnceKeys: ['jwe-ec'], guesses: { perCard: 3 } })
  http.answers.translatePinBlocks = ({ items }) => ({
    format: 'ISO-0',
    key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
    rejected: Array.from({ length: items }, (_, i) => i),
    packed: Buffer.alloc(8 * items),
  })
}
const translate = (n: number, pan = '4111111111111111') =>
  http.send('POST', '/v1/pin-blocks/translate', { ...TRANSLATE, pinBlock: block(n), card: { pan } })
const statuses = async (...numbers: number[]) => {
  const seen: number[] = []
  for (const n of numbers) seen.push((await translate(n)).status)
  return seen
}

describe('a limit store that is gone', () => {
  beforeEach(async () => {
    redis = await startRedis()
  })
  afterEach(async () => {
    await http.close()
    store.close()
    await redis.dispose()
  })

  it.each<[string, string, (redis: TestRedis) => unknown, (redis: TestRedis) => unknown]>([
    ['hangs', 'timeout', (server) => server.hang(), (server) => server.goOn()],
    ['dies', 'connection', (server) => server.kill(), (server) => server.startAgain()],
    [
      'is full',
      'OOM',
      (server) => server.command('CONFIG', 'SET', 'maxmemory', '1'),
      (server) => server.command('CONFIG', 'SET', 'maxmemory', '0'),
    ],
    [
      'is a read-only replica',
      'READONLY',
      (server) => server.command('REPLICAOF', '127.0.0.1', '1'),
      (server) => server.command('REPLICAOF', 'NO', 'ONE'),
    ],
  ])(
    'refuses everything that guesses while it %s, and goes on when it is back',
    async (what, reason, breakIt, mend) => {
      await open()
      expect(await statuses(1, 2)).toEqual([422, 422])
      await breakIt(redis)
      const before = http.calls.length
      const began = performance.now()
      const set = { ...VALID['/v1/pin/set'], change: { counter: '0001' } }
      const answers = await Promise.all([
        ...Array.from({ length: 20 }, (_, i) => translate(10 + i, '4111111111111129')),
        http.send('POST', '/v1/pin-blocks/translate-batch', VALID['/v1/pin-blocks/translate-batch']),
        http.send('POST', '/v1/prw/verify', VALID['/v1/prw/verify']),
        http.send('POST', '/v1/pin/set', set),
      ])
      for (const { status, json, headers } of answers) {
        expect([status, json['code'], headers['retry-after']]).toEqual([503, 'ERR_HSM_UNAVAILABLE', '1'])
      }
      // Not the vault's answer, which nobody could count; and not after more than the time-out, and a busy machine's delay.
      expect(http.calls.length).toBe(before)
      expect(performance.now() - began).toBeLessThan(10 * TIMEOUT_MS)
      // What guesses nothing goes on.
      expect((await http.send('POST', '/v1/mac/generate', VALID['/v1/mac/generate'])).status).toBe(200)
      await until(() => !store.isUp, 'the store is gone')
      expect(store.records.at(-1)).toEqual({ event: 'limit-store', reason })
      const records = http.records.filter(({ event, status }) => event === 'request' && status === 503)
      expect(records[0]).toMatchObject({ code: 'ERR_HSM_UNAVAILABLE', reason: 'limit-store-gone' })

      await mend(redis)
      await until(() => store.isUp, 'the store is back')
      // What was spent is known where the server did not lose it.
      const forgot = what === 'dies'
      expect(await statuses(3, 4)).toEqual([422, forgot ? 422 : 429])
    },
  )

  it('gets back by the next connection what was taken by one that was lost, and keeps that one', async () => {
    store = await openTestStoreUp(redis, { timeoutMs: TIMEOUT_MS })
    http = await start({ limitStore: store, guesses: { perCard: 2 } })
    const { translatePinBlocks } = http.answers
    let go = () => {}
    const held = new Promise<void>((resolve) => (go = resolve))
    http.answers.translatePinBlocks = async (body) => {
      await held
      return translatePinBlocks(body)
    }
    const under = [translate(1), translate(1)]
    await until(() => http.calls.length === 2, 'both are at the vault')
    expect((await translate(1)).status).toBe(429)
    await redis.command('CLIENT', 'KILL', 'TYPE', 'normal')
    await until(() => store.records.length === 3, 'there is another connection')
    go()
    expect((await Promise.all(under)).map(({ status }) => status)).toEqual([200, 200])
    await until(async () => (await translate(1)).status === 200, 'the points are back')
    expect(store.records).toEqual([
      { event: 'limit-store' },
      { event: 'limit-store', reason: 'connection' },
      { event: 'limit-store' },
    ])
  })

  it('keeps back a PIN block that was made, if nobody can note what it was made from', async () => {
    await open()
    http.answers.translatePinBlocks = async () => {
      await redis.kill()
      return {
        format: 'ISO-0',
        key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
        rejected: [],
        packed: Buffer.alloc(8, 7),
      }
    }
    const { status, text } = await translate(1)
    expect(status).toBe(503)
    expect(text).not.toContain('0707')
  })

  it('keeps back the answer whose change counter cannot be kept', async () => {
    await open()
    const { openSetPin } = http.answers
    http.answers.openSetPin = async (body) => {
      await redis.kill()
      return openSetPin(body)
    }
    const set = { ...VALID['/v1/pin/set'], to: undefined, issue: { prw: 'prw' }, change: { counter: '0001' } }
    expect((await http.send('POST', '/v1/pin/set', set)).status).toBe(503)
  })

  it('is made up for by memory if the configuration says so, but not for change counters', async () => {
    await open('memory')
    expect(await statuses(1, 2)).toEqual([422, 422])
    await redis.kill()
    await until(() => !store.isUp, 'the store is gone')
    expect(await statuses(3, 4, 5, 6)).toEqual([422, 422, 422, 429])
    const batch = { ...VALID['/v1/pin-blocks/translate-batch'] }
    const { json } = await http.send('POST', '/v1/pin-blocks/translate-batch', batch)
    expect((json['items'] as object[])[0]).toEqual({ id: 'row-1', code: 'ERR_RATE_LIMITED' })
    const set = { ...VALID['/v1/pin/set'], card: { pan: '4111111111111129' }, change: { counter: '0001' } }
    expect((await http.send('POST', '/v1/pin/set', set)).status).toBe(503)
  })
})

describe('a limit store', () => {
  const folder = temporaryFolder()
  const opened: TestStore[] = []
  afterEach(async () => {
    for (const each of opened.splice(0)) each.close()
    await redis.dispose()
  })
  afterAll(() => folder.dispose())
  const openStore = (...parameters: Parameters<typeof openTestStore>) => {
    const made = openTestStore(...parameters)
    opened.push(made)
    return made
  }
  const goneFor = async ({ records }: TestStore, reason: string) =>
    until(() => records.some((record) => record.reason === reason), `gone for ${reason}`)

  it('is asked with the password of a file, which is read anew for each connection', async () => {
    redis = await startRedis({ password: 'right-password' })
    const passwordFile = join(folder.path, 'password')
    writeFileSync(passwordFile, 'wrong-password\n', { mode: 0o600 })
    chmodSync(passwordFile, 0o600)
    const made = openStore(redis, { passwordFile })
    await goneFor(made, 'WRONGPASS')
    await goneFor(openStore(redis), 'NOAUTH')
    writeFileSync(passwordFile, 'right-password\n')
    await until(() => made.isUp, 'the store is up')
  })

  it('needs no command but these of its user', async () => {
    const commands = ['get', 'set', 'del', 'pttl', 'mget', 'eval', 'info', 'multi', 'exec', 'auth']
    const user = `user limits on >of-the-user ~l:* resetchannels -@all ${commands.map((name) => `+${name}`).join(' ')}`
    redis = await startRedis({ settings: [user] })
    const passwordFile = join(folder.path, 'of-the-user')
    writeFileSync(passwordFile, 'of-the-user', { mode: 0o600 })
    const url = redis.url.replace('//', '//limits@')
    const made = openStore({ url }, { passwordFile, prefix: 'l:' })
    await until(() => made.isUp, 'the store is up')
    http = await start({ limitStore: made, counterOnceKeys: ['jwe-ec'] })
    const paths = ['/v1/pin/set', '/v1/pin-blocks/translate', '/v1/pin-blocks/translate-batch'] as const
    const change = { counter: '0001' }
    const answers = await Promise.all([
      http.send('POST', '/v1/pin/set', { ...VALID['/v1/pin/set'], change }),
      ...paths.map((path) => http.send('POST', path, VALID[path])),
    ])
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
    expect(made.records.length).toBe(1)
    await http.close()
  })

  it('over TLS is one whose certificate the CA has signed', async () => {
    redis = await startRedis({ tls: true })
    const { ca, clients } = await testCertificates()
    const caFile = join(folder.path, 'ca.pem')
    writeFileSync(caFile, ca)
    const made = openStore(redis, { caFile })
    await until(() => made.isUp, 'the store is up')
    expect(await made.ask((client) => client.get(`${made.prefix}none`))).toBe(null)
    await goneFor(openStore(redis), 'connection')
    const other = join(folder.path, 'other.pem')
    writeFileSync(other, clients[0]!.certificate)
    await goneFor(openStore(redis, { caFile: other }), 'connection')
  })

  it('forgets whom it counts nothing for, and is given back no point of a window that is over', async () => {
    redis = await startRedis()
    const made = openStore(redis)
    await until(() => made.isUp, 'the store is up')
    const client = await made.ask(async (each) => each)
    const budget = made.createBudget(client, `${made.prefix}budget`, 1, 60_000)
    const point = await budget.take(1)
    expect([point.isGranted, (await budget.take(1)).isGranted]).toEqual([true, false])
    await budget.giveBack(1, { ...point, untilMs: performance.now() - 1 })
    expect([(await budget.take(1)).isGranted, (await budget.take(2)).isGranted]).toEqual([false, true])
    await budget.giveBack(1, point)
    expect([await client.get(budget.keyOf(1)), await client.get(budget.keyOf(2))]).toEqual([null, '1'])
    expect((await budget.take(1)).isGranted).toBe(true)
  })

  it('is not one that drops keys when it is full', async () => {
    const settings = ['maxmemory 100mb', 'maxmemory-policy allkeys-lru']
    redis = await startRedis({ settings })
    const made = openStore(redis)
    await goneFor(made, 'evicting')
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    await until(() => made.isUp, 'the store is up')
  })
})

describe('a limit store that is not there', () => {
  it('makes a gateway not ready, unless memory makes up for it', () => {
    const pool = { vaults: [...statusOf().vaults], queued: 0, overloaded: false }
    const statusWith = (isUp: boolean, whenGone: 'refuse' | 'memory') =>
      createStatusKeeper(pool, { isUp, whenGone }).read()
    expect(statusWith(false, 'refuse')).toMatchObject({ reason: 'limit-store-gone', isLimitStoreUp: false })
    expect(statusWith(false, 'memory')).toMatchObject({ reason: undefined, isLimitStoreUp: false })
    expect(statusWith(true, 'refuse')).toMatchObject({ reason: undefined, isLimitStoreUp: true })
    expect(createStatusKeeper(pool).read().isLimitStoreUp).toBe(undefined)
  })

  it('is a metric where there should be one', async () => {
    const sampleOf = async (isLimitStoreUp: boolean | undefined) => {
      const status = () => statusOf({ isLimitStoreUp })
      const nothing = { keys: () => [], clients: () => [], development: true, queue: 1 }
      const metrics = createMetrics({ status, ...nothing })
      return /^pinbridge_limit_store_up .*$/m.exec(await metrics.render())?.[0]
    }
    expect(await sampleOf(false)).toBe('pinbridge_limit_store_up 0')
    expect(await sampleOf(true)).toBe('pinbridge_limit_store_up 1')
    expect(await sampleOf(undefined)).toBe(undefined)
  })
})
