import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ServiceError } from '../../src/errors.ts'
import { openTestStoreUp, until, type TestStore } from '../support/limit-store.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { start, VALID, type Harness, type HarnessOptions } from './harness.ts'

let http: Harness
let store: TestStore | undefined
let redis: TestRedis
beforeAll(async () => {
  redis = await startRedis()
})
afterEach(async () => {
  await http.close()
  store?.close()
})
afterAll(() => redis.dispose())

/** What holds wherever budgets are counted. */
const everywhere = (title: string, tests: () => void) =>
  describe.each(['memory', 'Redis'])(`${title}, counted in %s`, (where) => {
    beforeEach(async () => {
      store = where === 'Redis' ? await openTestStoreUp(redis) : undefined
    })
    tests()
  })

const TRANSLATE = VALID['/v1/pin-blocks/translate']
const PRW = VALID['/v1/prw/verify']
const card = (n: number) => ({ pan: String(4111111111111111n + BigInt(n)) })
const block = (n: number) => n.toString(16).padStart(16, '0')

async function startWith(guesses: NonNullable<HarnessOptions['guesses']>) {
  http = await start({ guesses, limitStore: store })
  http.answers.translatePinBlocks = (body) => ({
    format: 'ISO-0',
    key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
    // Block 0… is right, every other is wrong.
    rejected: body.packed.subarray(10).equals(Buffer.alloc(8)) ? [] : [0],
    packed: Buffer.alloc(8),
  })
}
const translate = (pinBlock: string, n = 0) =>
  http.send('POST', '/v1/pin-blocks/translate', { ...TRANSLATE, pinBlock, card: card(n) })

/** The statuses of requests one after the other. */
async function statuses(count: number, send: (i: number) => Promise<{ status: number }>) {
  const seen: number[] = []
  for (let i = 0; i < count; i++) seen.push((await send(i)).status)
  return seen
}

everywhere('the guess budget', () => {
  it('per client: whatever the card and block, then 429 before the vault is asked', async () => {
    await startWith({ perClient: 3, windowMs: 90_000 })
    expect(await statuses(5, (i) => translate(block(i + 1), i))).toEqual([422, 422, 422, 429, 429])
    expect(http.calls.length).toBe(3)
    const answer = await translate(block(0))
    expect(answer.json).toMatchObject({ code: 'ERR_RATE_LIMITED', status: 429 })
    const retryAfter = Number(answer.headers['retry-after'])
    expect(retryAfter).toBeGreaterThan(80)
    expect(retryAfter).toBeLessThanOrEqual(90)
    expect(await http.metrics.render()).toContain('pinbridge_guesses_total{client="cms-adapter"} 3')
  })

  it('per card: whatever the block', async () => {
    await startWith({ perCard: 2 })
    expect(await statuses(4, (i) => translate(block(i + 1)))).toEqual([422, 422, 429, 429])
    expect((await translate(block(9), 1)).status).toBe(422)
  })

  it('per key and block: whatever the case of its hex, and another key is another block', async () => {
    await startWith({ perPinBlock: 2 })
    const hex = 'abcdefabcdefabcd'
    const send = (i: number) => translate(i % 2 === 0 ? hex : hex.toUpperCase())
    expect(await statuses(4, send)).toEqual([422, 422, 429, 429])
    const other = { ...TRANSLATE, from: { key: 'zpk-out', format: 'ISO-0' }, pinBlock: hex }
    expect((await http.send('POST', '/v1/pin-blocks/translate', other)).status).toBe(422)
  })

  it('what succeeds, and what fails for another reason, costs nothing', async () => {
    await startWith({ perClient: 1, perCard: 1, perPinBlock: 1 })
    expect(await statuses(5, () => translate(block(0)))).toEqual([200, 200, 200, 200, 200])
    http.answers.sealGetPin = () => {
      throw new ServiceError('ERR_HSM_BUSY')
    }
    expect(await statuses(3, () => http.send('POST', '/v1/pin/get', VALID['/v1/pin/get']))).toEqual([503, 503, 503])
    expect((await translate(block(1))).status).toBe(422)
  })

  it('verified: false and ERR_PIN_CHANGE_NOT_VERIFIED spend the same budget', async () => {
    await startWith({ perCard: 3 })
    http.answers.verifyPrw = () => ({ verified: false })
    http.answers.verifyMac = () => ({ verified: false })
    http.answers.openSetPin = () => {
      throw new ServiceError('ERR_PIN_CHANGE_NOT_VERIFIED')
    }
    const sent = [
      await http.send('POST', '/v1/prw/verify', PRW),
      await http.send('POST', '/v1/mac/verify', { ...VALID['/v1/mac/verify'], card: PRW.card }),
      await http.send('POST', '/v1/pin/set', VALID['/v1/pin/set']),
      await http.send('POST', '/v1/prw/verify', PRW),
    ]
    expect(sent.map(({ status }) => status)).toEqual([200, 200, 422, 429])
  })

  it('mac/verify without a card spends the block budget', async () => {
    await startWith({ perPinBlock: 2 })
    http.answers.verifyMac = () => ({ verified: false })
    const send = () => http.send('POST', '/v1/mac/verify', VALID['/v1/mac/verify'])
    expect(await statuses(3, send)).toEqual([200, 200, 429])
  })

  it('a JWE stands for its block, in its own case', async () => {
    await startWith({ perPinBlock: 1 })
    http.answers.openSetPin = () => {
      throw new ServiceError('ERR_PIN_BLOCK_INVALID')
    }
    const send = (encryptedPinBlock: string) =>
      http.send('POST', '/v1/pin/set', { ...VALID['/v1/pin/set'], encryptedPinBlock })
    expect((await send('a.b.c')).status).toBe(422)
    expect((await send('a.b.c')).status).toBe(429)
    expect((await send('a.b.C')).status).toBe(422)
  })

  it('concurrent requests cannot overspend, and unspent reservations come back', async () => {
    await startWith({ perCard: 5 })
    const { translatePinBlocks } = http.answers
    http.answers.translatePinBlocks = async (body) => {
      await new Promise((resolve) => setTimeout(resolve, 30))
      return translatePinBlocks(body)
    }
    // 50 honest requests at once compete for 5 points, and none of the points is lost.
    await Promise.all(Array.from({ length: 50 }, () => translate(block(0))))
    http.calls.length = 0
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => translate(block(i + 1))))
    expect(answers.filter(({ status }) => status === 422).length).toBe(5)
    expect(answers.filter(({ status }) => status === 429).length).toBe(45)
    expect(http.calls.length).toBe(5)
    expect((await translate(block(99))).status).toBe(429)
  })

  it('PINs that were set have a budget of their own, per card', async () => {
    await startWith({ perCardMade: 2, perCard: 3 })
    const set = (jwe: string, n = 0) =>
      http.send('POST', '/v1/pin/set', { ...VALID['/v1/pin/set'], encryptedPinBlock: jwe, card: card(n) })
    const { openSetPin } = http.answers
    http.answers.openSetPin = () => {
      throw new ServiceError('ERR_JWE_DECRYPTION_FAILED')
    }
    expect(await statuses(3, (i) => set(`a.${i}`))).toEqual([422, 422, 422])
    http.answers.openSetPin = openSetPin
    expect(await statuses(4, (i) => set(`b.${i}`))).toEqual([200, 200, 429, 429])
    expect((await set('c', 1)).status).toBe(200)
    // They are no guesses: the card's other budget is whole.
    expect(await statuses(4, (i) => translate(block(i + 1)))).toEqual([422, 422, 422, 429])
  })

  it('a budget refills when its window is over', async () => {
    await startWith({ perCard: 1, windowMs: 2000 })
    expect(await statuses(2, () => translate(block(1)))).toEqual([422, 429])
    await until(async () => (await translate(block(1))).status === 422, 'there is a guess again')
  })
})

everywhere('one PIN block under many PANs', () => {
  it('stops at the third PAN, also where it would have succeeded, and raises an alarm', async () => {
    await startWith({})
    const seen = await statuses(12, (i) => translate(block(1), i))
    expect(seen).toEqual([422, 422, ...Array<number>(10).fill(429)])
    expect(await statuses(3, (i) => translate(block(0), i))).toEqual([200, 200, 429])
    expect(http.calls.length).toBe(4)
    const alarms = http.records.filter(({ event }) => event === 'pan-variation')
    expect(alarms.length).toBe(11)
    expect(alarms[0]).toMatchObject({ level: 40, clientId: 'cms-adapter', operation: 'pin-blocks/translate' })
    expect(await http.metrics.render()).toContain('pinbridge_pan_variation_alarms_total 11')
  })

  it('goes on serving the first two PANs', async () => {
    await startWith({})
    expect(await statuses(6, (i) => translate(block(0), i % 3))).toEqual([200, 200, 429, 200, 200, 429])
  })

  it('counts across routes and clients, and through mac/verify', async () => {
    await startWith({})
    await translate(block(0), 0)
    await http.send('POST', '/v1/prw/generate', { ...VALID['/v1/prw/generate'], pinBlock: block(0), card: card(1) })
    const third = { ...VALID['/v1/pin/get'], pinBlock: block(0), card: card(2), recipient: 'own' }
    expect((await http.send('POST', '/v1/pin/get', third, { client: 'narrow' })).status).toBe(429)
    const mac = (i: number) => http.send('POST', '/v1/mac/verify', { ...VALID['/v1/mac/verify'], card: card(i) })
    expect(await statuses(3, mac)).toEqual([200, 200, 429])
  })

  it('counts one JWE under many PANs', async () => {
    await startWith({})
    const send = (i: number) => http.send('POST', '/v1/pin/set', { ...VALID['/v1/pin/set'], card: card(i) })
    expect(await statuses(3, send)).toEqual([200, 200, 429])
  })

  it('holds for requests that race', async () => {
    await startWith({})
    const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => translate(block(1), i)))
    expect(answers.filter(({ status }) => status === 422).length).toBe(2)
    expect(http.calls.length).toBe(2)
  })
})
