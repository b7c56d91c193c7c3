import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ServiceError } from '../../src/errors.ts'
import { createSharedCounters } from '../../src/gateway/shared-counters.ts'
import { openTestStoreUp, until, type TestStore } from '../support/limit-store.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { start, VALID, type Harness } from './harness.ts'

let redis: TestRedis
let store: TestStore | undefined
let http: Harness
beforeAll(async () => {
  redis = await startRedis()
})
afterAll(() => redis.dispose())

const SET = { ...VALID['/v1/pin/set'], change: { counter: '0007', transactionId: 'tx-1' } }
const set = (over: object = {}, to = http) => to.send('POST', '/v1/pin/set', { ...SET, ...over })
const statusesOf = async (bodies: readonly object[]) => {
  const seen: number[] = []
  for (const body of bodies) seen.push((await set(body)).status)
  return seen
}

/** Holds every pin/set at the vault until it is let go. */
function holdVault() {
  let go = () => {}
  const held = new Promise<void>((resolve) => (go = resolve))
  let arrived = () => {}
  const isThere = new Promise<void>((resolve) => (arrived = resolve))
  const { openSetPin } = http.answers
  http.answers.openSetPin = async (body) => {
    arrived()
    await held
    return openSetPin(body)
  }
  return { go, isThere }
}

describe.each(['memory', 'Redis'])('a change counter that is accepted once, kept in %s', (where) => {
  beforeEach(async () => {
    store = where === 'Redis' ? await openTestStoreUp(redis) : undefined
    http = await start({ counterOnceKeys: ['jwe-ec'], limitStore: store })
  })
  afterEach(async () => {
    await http.close()
    store?.close()
  })

  it('answers the same request again, and 409 to any other with the card and the counter', async () => {
    expect(await statusesOf([{}, {}, {}])).toEqual([200, 200, 200])
    // Carried out again: nothing of an answer is kept.
    expect(http.calls.length).toBe(3)
    const others = [
      { encryptedPinBlock: 'f30.e30.e30.e30.e30' },
      { change: { counter: '0007', transactionId: 'tx-2' } },
      { change: { counter: '0007' } },
      { type: '3DES_SECCOS' },
      { to: { key: 'zpk-out', format: 'ISO-3' } },
      { to: { key: 'zpk-in', format: 'ISO-0' } },
      { issue: { prw: 'prw' } },
      { card: { ...SET.card, expiry: '2712' } },
    ]
    expect(await statusesOf(others)).toEqual(others.map(() => 409))
    expect(http.calls.length).toBe(3)
    expect((await set(others[0])).json).toMatchObject({ code: 'ERR_COUNTER_REPLAYED', status: 409 })
  })

  it('takes another counter, also a smaller one and 0000 after 9999, and another card', async () => {
    const counters = ['9999', '0000', '0006', '0008'].map((counter) => ({ change: { counter, transactionId: 'tx-1' } }))
    expect(await statusesOf([{}, ...counters])).toEqual([200, 200, 200, 200, 200])
    expect(await statusesOf(counters.map((change) => ({ ...change, encryptedPinBlock: 'x' })))).toEqual([
      409, 409, 409, 409,
    ])
    expect((await set({ card: { pan: '4111111111111129' }, encryptedPinBlock: 'f30' })).status).toBe(200)
    const second = { card: { ...SET.card, panSequenceNumber: '02' }, encryptedPinBlock: 'f31' }
    expect((await set(second)).status).toBe(200)
  })

  it('frees the counter of a request that fails', async () => {
    const { openSetPin } = http.answers
    http.answers.openSetPin = () => {
      throw new ServiceError('ERR_JWE_DECRYPTION_FAILED')
    }
    expect((await set({ encryptedPinBlock: 'wrong' })).status).toBe(422)
    http.answers.openSetPin = openSetPin
    expect(await statusesOf([{}, {}, { encryptedPinBlock: 'wrong' }])).toEqual([200, 200, 409])
  })

  it('does not free what an earlier answer used up when the same request fails later', async () => {
    expect((await set()).status).toBe(200)
    http.answers.openSetPin = () => {
      throw new ServiceError('ERR_HSM_UNAVAILABLE')
    }
    expect(await statusesOf([{}, { encryptedPinBlock: 'other' }])).toEqual([503, 409])
  })

  it('lets one of two different requests win that come at once', async () => {
    const { go, isThere } = holdVault()
    const first = set()
    await isThere
    expect((await set({ encryptedPinBlock: 'other' })).status).toBe(409)
    go()
    expect((await first).status).toBe(200)
    const racing = await Promise.all(
      Array.from({ length: 20 }, (_, i) => set({ encryptedPinBlock: `r${i}`, change: { counter: '0100' } })),
    )
    expect(racing.map(({ status }) => status).toSorted()).toEqual([200, ...Array<number>(19).fill(409)])
  })

  it('tells of a used one before it counts any guess, so that it is kept last of all', async () => {
    await http.close()
    http = await start({ counterOnceKeys: ['jwe-ec'], limitStore: store, guesses: { perCard: 1 } })
    const { go, isThere } = holdVault()
    const first = set()
    await isThere
    expect((await set({ encryptedPinBlock: 'other' })).status).toBe(409)
    const limited = { encryptedPinBlock: 'other', change: { counter: '0008' } }
    expect((await set(limited)).status).toBe(429)
    go()
    expect((await first).status).toBe(200)
    // Whom the limits refused has used nothing up.
    await until(
      async () => (await set({ ...limited, encryptedPinBlock: 'third' })).status === 200,
      'there is a guess again',
    )
  })

  it('asks whoever repeats a request that is under way to come back', async () => {
    const { go, isThere } = holdVault()
    const first = set()
    await isThere
    const second = await set()
    expect([second.status, second.json['code'], second.headers['retry-after']]).toEqual([503, 'ERR_HSM_BUSY', '1'])
    go()
    expect((await first).status).toBe(200)
    expect((await set()).status).toBe(200)
  })

  it('is asked of no client whose keys do not say so', async () => {
    await http.close()
    http = await start({ limitStore: store })
    expect(await statusesOf([{}, { encryptedPinBlock: 'other' }])).toEqual([200, 200])
  })

  it('leaves a request without a counter to the vault, which refuses it', async () => {
    expect((await set({ change: undefined })).status).toBe(200)
    expect(http.calls.length).toBe(1)
  })
})

describe('a change counter in Redis', () => {
  it('is used for every node, by one of them, and no card or counter stands there', async () => {
    store = await openTestStoreUp(redis, { prefix: 'shared:' })
    const other = await openTestStoreUp(redis, { prefix: 'shared:' })
    const hsmKey = { counterOnceKeys: ['jwe-ec'], hasLimitHashKey: true }
    http = await start({ ...hsmKey, limitStore: store })
    const second = await start({ ...hsmKey, limitStore: other })
    const racing = await Promise.all(
      Array.from({ length: 20 }, (_, i) => set({ encryptedPinBlock: `r${i}` }, i % 2 === 0 ? http : second)),
    )
    expect(racing.map(({ status }) => status).toSorted()).toEqual([200, ...Array<number>(19).fill(409)])
    const winner = racing.findIndex(({ status }) => status === 200)
    for (const node of [http, second]) {
      expect((await set({ encryptedPinBlock: `r${winner}` }, node)).status).toBe(200)
    }
    const keys = (await redis.command('KEYS', 'shared:*')) as string[]
    const values = await Promise.all(keys.map((key) => redis.command('GET', key)))
    expect(keys.filter((key) => key.startsWith('shared:counter:')).length).toBe(1)
    expect([...keys, ...values].join(' ')).not.toMatch(/4111|1111111111|e30|tx-1/)
    await Promise.all([http.close(), second.close()])
    store.close()
    other.close()
  })

  it('is not kept for a request whose reservation has run out, if another has it by then', async () => {
    store = await openTestStoreUp(redis)
    const counters = createSharedCounters(store, 20, 60_000)
    expect(await counters.claim('c', '1')).toBe('reserved')
    await until(async () => (await counters.claim('c', '2')) === 'reserved', 'the first reservation is over')
    expect(await counters.keep('c', '1')).toBe(false)
    await counters.free('c', '1')
    expect(await counters.claim('c', '3')).toBe('used')
    expect(await counters.keep('c', '2')).toBe(true)
    expect([await counters.claim('c', '1'), await counters.claim('c', '2')]).toEqual(['used', 'kept'])
    store.close()
  })

  it('is free again when the node that reserved it has died', async () => {
    store = await openTestStoreUp(redis, { prefix: 'died:' })
    http = await start({ counterOnceKeys: ['jwe-ec'], limitStore: store, limits: { hsmMs: 2000 } })
    const { isThere, go } = holdVault()
    const lost = set()
    await isThere
    const [key] = (await redis.command('KEYS', 'died:counter:*')) as string[]
    const left = Number(await redis.command('PTTL', key!))
    expect(left).toBeGreaterThan(0)
    expect(left).toBeLessThanOrEqual(2 * 2000 + 5000)
    go()
    expect((await lost).status).toBe(200)
    expect(Number(await redis.command('PTTL', key!))).toBeGreaterThan(30_000)
    await http.close()
    store.close()
  })
})
