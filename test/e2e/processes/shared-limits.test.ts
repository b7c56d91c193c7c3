import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { JWK } from 'jose'
import { iso0Block, iso0Payload, seal } from '../../d1/simulator.ts'
import { until } from '../../support/limit-store.ts'
import { startRedis, type TestRedis } from '../../support/redis.ts'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { keyValue, tdea } from './traffic.ts'

const PASSWORD = 'of-the-limit-store'
const TIMEOUT_MS = 4000
const PAN = '4123456789012345'
const OTHER_PAN = '4999999999990000'

/** Two services with the same keys, as two nodes have them, and one real Redis. */
describe('two nodes that share a limit store', () => {
  const folder = temporaryFolder()
  let redis: TestRedis
  let nodes: [Service, Service]

  beforeAll(async () => {
    redis = await startRedis({ password: PASSWORD })
    const passwordFile = join(folder.path, 'password')
    writeFileSync(passwordFile, PASSWORD, { mode: 0o600 })
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 1
      config.limits = {
        guesses: { windowMs: 600_000, perClient: 1000, perCard: 6, perPinBlock: 1000 },
        store: { url: redis.url, passwordFile, timeoutMs: TIMEOUT_MS },
      }
      config.d1.profiles[0].counterOnce = true
    })
    nodes = [await startService(setUp), await startService(setUp)]
    await everyNode((ready) => ready.status === 200, 'ready')
  })
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.stop()))
    await redis.dispose()
    folder.dispose()
  })

  const everyNode = (isSo: (readyz: Awaited<ReturnType<Service['manage']>>) => boolean, what: string) =>
    until(async () => (await Promise.all(nodes.map((node) => node.manage('/readyz')))).every(isSo), what)
  const blockOf = (pin: string, pan: string) => tdea(keyValue(nodes[0], 'zpk-in'), iso0Block(pin, pan))
  const zones = { from: { key: 'zpk-in', format: 'ISO-0' }, to: { key: 'zpk-out', format: 'ISO-3' } }
  const translate = (i: number, pinBlock: string, pan: string) =>
    nodes[i % 2]!.call('POST', '/v1/pin-blocks/translate', { ...zones, pinBlock, card: { pan } })
  const statusesOf = (answers: readonly { status: number }[]) => answers.map(({ status }) => status).toSorted()
  /** A block that is wrong for PAN, another each time. */
  const wrongBlock = (n: number) => blockOf(String(1000 + n), OTHER_PAN)

  it('give a card one budget together, to requests that race', async () => {
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => translate(i, wrongBlock(i), PAN)))
    expect(statusesOf(answers)).toEqual([...Array<number>(6).fill(422), ...Array<number>(24).fill(429)])
    expect((await translate(0, blockOf('4711', PAN), PAN)).status).toBe(429)
    expect((await translate(1, blockOf('4711', PAN), PAN)).status).toBe(429)
  })

  it('give a card one budget together, to batches that race', async () => {
    const pan = '4500000555000000'
    const batchOf = (node: number) =>
      Array.from({ length: 20 }, (_, i) => ({
        id: `row-${i}`,
        pinBlock: wrongBlock(100 + 20 * node + i),
        card: { pan },
      }))
    const answers = await Promise.all(
      nodes.map((node, n) => node.call('POST', '/v1/pin-blocks/translate-batch', { ...zones, items: batchOf(n) })),
    )
    const codes = answers.flatMap(({ json }) => (json.items as { code: string }[]).map(({ code }) => code))
    const countOf = (code: string) => codes.filter((each) => each === code).length
    expect([countOf('ERR_PIN_BLOCK_INVALID'), countOf('ERR_RATE_LIMITED')]).toEqual([6, 34])
  })

  it('refuse the third PAN of a block, and of one that was made from it, whichever saw the first two', async () => {
    // Digits that differ by 9 make a filler of format 3 wrong, whichever it is.
    const pans = ['4200000000000000', '4200000000009990', '4200000009990000']
    const first = await translate(0, blockOf('4711', pans[0]!), pans[0]!)
    expect(first.status).toBe(200)
    const made = { ...zones, from: zones.to, to: zones.to, pinBlock: first.json.pinBlock }
    const retry = (i: number, pan: string) =>
      nodes[i]!.call('POST', '/v1/pin-blocks/translate', { ...made, card: { pan } })
    expect((await retry(1, pans[1]!)).status).toBe(422)
    expect((await retry(1, pans[2]!)).status).toBe(429)
    expect((await translate(1, blockOf('4711', pans[0]!), pans[2]!)).status).toBe(429)
  })

  it('use a change counter once, and answer the same PIN change again on either', async () => {
    const pan = '4300000000000000'
    const keys = (await nodes[0].call('GET', '/v1/jwks')).json.keys as JWK[]
    const jwk = keys.find(({ kid }) => kid === 'jwe-ec')!
    const bodyOf = async (pin: string) => ({
      type: 'ISO0',
      encryptedPinBlock: await seal(iso0Payload(pin, pan), jwk),
      card: { pan },
      change: { counter: '9999', transactionId: '21430919092023091909' },
      to: zones.to,
    })
    const set = (i: number, body: object) => nodes[i]!.call('POST', '/v1/pin/set', body)
    const [body, other] = [await bodyOf('4711'), await bodyOf('8105')]
    expect((await set(0, body)).status).toBe(200)
    const refused = await set(1, other)
    expect([refused.status, refused.json.code]).toEqual([409, 'ERR_COUNTER_REPLAYED'])
    expect((await set(1, body)).status).toBe(200)
    expect((await set(0, { ...other, change: { ...other.change, counter: '0000' } })).status).toBe(200)
    const { change: _, ...without } = other
    expect((await set(0, without)).status).toBe(400)
  })

  it('refuse while it hangs, say so, and serve again once it goes on', async () => {
    const pan = '4400000555000000'
    const right = blockOf('4711', pan)
    expect((await translate(0, right, pan)).status).toBe(200)
    const under = Array.from({ length: 20 }, (_, i) => translate(i, right, pan))
    redis.hang()
    const began = performance.now()
    const answers = await Promise.all([...under, ...Array.from({ length: 20 }, (_, i) => translate(i, right, pan))])
    // The rest waits for no server; a busy machine is given more time than the time-out.
    expect(performance.now() - began).toBeLessThan(10 * TIMEOUT_MS)
    for (const { status, json } of answers) {
      if (status !== 200) expect([status, json.code]).toEqual([503, 'ERR_HSM_UNAVAILABLE'])
    }
    expect(answers.slice(20).map(({ status }) => status)).toEqual(Array<number>(20).fill(503))
    await everyNode(({ status, json }) => status === 503 && json.reason === 'limit-store-gone', 'not ready')
    expect((await nodes[0].manage('/metrics')).text).toContain('pinbridge_limit_store_up 0')

    redis.goOn()
    await everyNode(({ status }) => status === 200, 'ready again')
    expect((await nodes[1].manage('/metrics')).text).toContain('pinbridge_limit_store_up 1')
    expect((await translate(1, right, pan)).status).toBe(200)
    expect((await translate(1, wrongBlock(99), PAN)).status).toBe(429)
  })

  it('show the store no PAN and no PIN block', async () => {
    const keys = (await redis.command('KEYS', '*')) as string[]
    expect(keys.length).toBeGreaterThan(20)
    const values = await Promise.all(keys.map((key) => redis.command('GET', key)))
    const all = [...keys, ...values].join(' ')
    for (const pan of [PAN, OTHER_PAN, '4300000000000000']) expect(all).not.toContain(pan)
    for (const node of nodes) expect(node.output()).not.toContain(PASSWORD)
    expect(all.toUpperCase()).not.toContain(blockOf('4711', '4400000555000000').toUpperCase())
  })
})
