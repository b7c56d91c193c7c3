import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { VaultPool } from '../../../src/bridge/vault-pool.ts'
import { ServiceError } from '../../../src/errors.ts'
import { openPool, type Answer, type FakeVault, type Message, type PoolHarness } from './pool-harness.ts'
import { answer, answerTo, pair, serveAll, settled, translation, type Translation } from './translations.ts'

let harness: PoolHarness
let pool: VaultPool
afterEach(() => harness.close())

async function open(limits?: Parameters<typeof openPool>[0]): Promise<void> {
  harness = await openPool(limits)
  ;({ pool } = harness)
}

const POLL = { interval: 2, timeout: 10_000 }
const translate = (body: Translation) => settled(pool.call('translatePinBlocks', body))
const mac = (key: string) => pool.call('generateMac', { key, pinBlock: '00' })
const received = (vault: FakeVault, messages: number) => expect.poll(() => vault.received.length, POLL).toBe(messages)

/** How a call ended. */
interface Outcome {
  readonly code: string
  readonly ms: number
  readonly retryAfterS: number | undefined
}

async function observe(asked: Promise<unknown>): Promise<Outcome> {
  const startedMs = performance.now()
  const ended = (code: string, retryAfterS?: number) => ({ code, ms: performance.now() - startedMs, retryAfterS })
  try {
    await asked
    return ended('answered')
  } catch (error) {
    const { code, retryAfterS } = error as ServiceError
    return ended(code, retryAfterS)
  }
}

/** A vault that works on one message at a time, for as long as the message tells. */
function oneAtATime(workMs: (message: Message) => number): Answer {
  let work = Promise.resolve()
  return (message, vault) => {
    work = work.then(() => sleep(workMs(message))).then(() => serveAll(message, vault))
  }
}

// A machine that is busy with something else stops the clock of none of these: they are tried a second time.
describe('more calls than the vaults can take', { retry: 1 }, () => {
  const HSM_MS = 1000

  it('are answered within the deadline or refused at once, and the vaults have work all the time', async () => {
    await open({ hsmMs: HSM_MS, inFlightPerVault: 4 })
    for (const id of [1, 2])
      await harness.serve(
        id,
        oneAtATime(() => 10),
      )
    const calls: Promise<Outcome>[] = []
    const SECONDS = 3
    const startedMs = performance.now()
    for (let ms = 0; ms < SECONDS * 1000; ms = performance.now() - startedMs) {
      // Four times what two vaults do at 10 ms a message; a timer that comes late catches up.
      while (calls.length < ms * 0.8) calls.push(observe(mac(String(calls.length))))
      await sleep(1)
    }
    expect(pool.overloaded).toBe(true)
    const outcomes = await Promise.all(calls)
    const answered = outcomes.filter(({ code }) => code === 'answered')
    const refused = outcomes.filter(({ code }) => code === 'ERR_HSM_BUSY')
    expect(answered.length + refused.length).toBe(outcomes.length)
    expect(Math.max(...answered.map(({ ms }) => ms))).toBeLessThan(HSM_MS)
    expect(Math.max(...refused.map(({ ms }) => ms))).toBeLessThan(HSM_MS / 4)
    expect(new Set(refused.map(({ retryAfterS }) => retryAfterS))).toEqual(new Set([1]))
    expect(answered.length).toBeGreaterThan(0.5 * SECONDS * 200)
    expect(pool.queued).toBe(0)
    expect(harness.overdue).toEqual([])
    await expect.poll(() => pool.overloaded, { timeout: 2000 }).toBe(false)
  })

  it('are told when what waits will have gone, in whole seconds', async () => {
    await open({ hsmMs: 20_000, inFlightPerVault: 1, queue: 100 })
    await harness.serve(
      1,
      oneAtATime(() => 50),
    )
    for (let n = 0; n < 10; n++) await mac('pace')
    const waiting = Array.from({ length: 101 }, (_, n) => observe(mac(String(n))))
    await expect.poll(() => pool.queued, POLL).toBe(100)
    const { code, retryAfterS } = await observe(mac('one too many'))
    expect(code).toBe('ERR_HSM_BUSY')
    // A hundred of 50 ms each, and timers that come late.
    expect(retryAfterS).toBeGreaterThanOrEqual(5)
    expect(retryAfterS).toBeLessThanOrEqual(8)
    expect((await Promise.all(waiting)).every((outcome) => outcome.code === 'answered')).toBe(true)
  })

  it('are not refused while a vault can take one, however slow it is', async () => {
    await open({ hsmMs: 600, inFlightPerVault: 2 })
    await harness.serve(1, (message, vault) => void sleep(350).then(() => serveAll(message, vault)))
    for (let round = 0; round < 3; round++) {
      const outcomes = await Promise.all([observe(mac('a')), observe(mac('b'))])
      expect(outcomes.map(({ code }) => code)).toEqual(['answered', 'answered'])
    }
    expect(pool.overloaded).toBe(false)
  })

  it('are refused soon after the only vault has fallen silent, and not only when it is overdue', async () => {
    await open({ hsmMs: 2000, inFlightPerVault: 2 })
    let silent = false
    await harness.serve(1, (message, vault) => {
      if (!silent) serveAll(message, vault)
    })
    for (let n = 0; n < 10; n++) await mac('pace')
    silent = true
    const held = Array.from({ length: 12 }, (_, n) => observe(mac(String(n))))
    await sleep(500)
    const late = await observe(mac('late'))
    expect(late.code).toBe('ERR_HSM_BUSY')
    expect(late.ms).toBeLessThan(250)
    expect((await Promise.all(held)).map(({ code }) => code)).toEqual(Array(12).fill('ERR_HSM_UNAVAILABLE'))
  })
})

describe('a call whose time in the queue is up', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('is answered ERR_HSM_UNAVAILABLE if no vault has said anything since it came: they are not busy, they hang', async () => {
    await open({ hsmMs: 300, inFlightPerVault: 1 })
    const vault = await harness.serve(1)
    // The second one's clock started before that of the vault.
    const held = [settled(mac('first')), settled(mac('second'))]
    await received(vault, 1)
    vi.advanceTimersByTime(300)
    expect(await Promise.all(held)).toEqual(Array(2).fill('ERR_HSM_UNAVAILABLE'))
    expect(pool.overloaded).toBe(false)
  })

  it('is not up for a long translation as long as parts of it are answered', async () => {
    await open({ hsmMs: 8000, inFlightPerVault: 1 })
    const vault = await harness.serve(1)
    const body = translation(64 * 4)
    const asked = translate(body)
    // Quick enough to be no reason for smaller parts, by the real clock; by the pool's clock, 7 s each.
    for (let n = 1; n <= 3; n++) {
      await received(vault, n)
      vi.advanceTimersByTime(7000)
      answer(vault.received.at(-1)!, vault)
    }
    expect(await asked).toEqual(answerTo(body))
    expect(vault.received.map(({ body: { items } }) => items as number)).toEqual([64, 128, 64])
  })
})

describe('among several vaults', () => {
  it('each has its turn where there is nothing to choose', async () => {
    await open()
    const vaults = [
      await harness.serve(1, serveAll),
      await harness.serve(2, serveAll),
      await harness.serve(3, serveAll),
    ]
    for (let n = 0; n < 30; n++) await mac(String(n))
    expect(vaults.map((vault) => vault.received.length)).toEqual([10, 10, 10])
  })

  it('one that has fallen silent is given next to nothing, though it holds less than the others', async () => {
    await open({ hsmMs: 5000, inFlightPerVault: 64 })
    let hangs = false
    const hung = await harness.serve(1, (message, vault) => {
      if (!hangs) serveAll(message, vault)
    })
    // It has a dozen before it all the time.
    await harness.serve(2, (message, vault) => void sleep(25).then(() => serveAll(message, vault)))
    for (let n = 0; n < 20; n++) await mac('pace')
    hangs = true
    const before = hung.received.length
    const outcomes: Promise<Outcome>[] = []
    for (let n = 0; n < 200; n++) {
      outcomes.push(observe(mac(String(n))))
      await sleep(2)
    }
    expect(hung.received.length - before).toBeGreaterThan(0)
    expect(hung.received.length - before).toBeLessThanOrEqual(4)
    hung.socket.destroy()
    const lost = (await Promise.all(outcomes)).filter(({ code }) => code !== 'answered')
    expect(lost).toHaveLength(hung.received.length - before)
    // The others are there: another try may go well at once.
    for (const { code, retryAfterS } of lost) expect([code, retryAfterS]).toEqual(['ERR_HSM_UNAVAILABLE', 1])
  })
})

describe('a long translation', () => {
  it('goes in parts that are answered in good time, on a token that takes long for each block', async () => {
    const HSM_MS = 800
    await open({ hsmMs: HSM_MS })
    const vaults = [1, 2].map((id) =>
      harness.serve(
        id,
        oneAtATime(({ body }) => (body.items as number) * 1),
      ),
    )
    const [one, two] = await Promise.all(vaults)
    const body = translation(3000)
    const asked = translate(body)
    // Others of the same pair of keys meanwhile wait for parts and not for the whole.
    const singles: Outcome[] = []
    for (let n = 0; n < 5; n++) singles.push(await observe(pool.call('translatePinBlocks', translation())))
    expect(await asked).toEqual(answerTo(body))
    const sizes = [...one!.received, ...two!.received].map((message) => message.body.items as number)
    expect(Math.max(...sizes)).toBeLessThan(HSM_MS / 2)
    expect(singles.map(({ code }) => code)).toEqual(Array(5).fill('answered'))
    expect(Math.max(...singles.map(({ ms }) => ms))).toBeLessThan(HSM_MS)
    expect(harness.overdue).toEqual([])
  })

  it('gets through once a vault was lost with it: the next messages of its pair of keys are much smaller', async () => {
    const HSM_MS = 400
    await open({ hsmMs: HSM_MS })
    const slow = () => oneAtATime(({ body }) => (body.items as number) * 15)
    await harness.serve(1, slow())
    const body = translation(64)
    expect(await translate(body)).toBe('ERR_HSM_UNAVAILABLE')
    expect(harness.overdue).toEqual([1])
    const next = await harness.serve(2, slow())
    expect(await translate(body)).toEqual(answerTo(body))
    expect(Math.max(...next.received.map((message) => message.body.items as number))).toBeLessThanOrEqual(16)
    expect(harness.overdue).toEqual([1])
  })

  it('is refused as a whole, and no more of it goes, once a part is refused', async () => {
    await open({ inFlightPerVault: 1 })
    const vault = await harness.serve(1)
    const asked = translate(translation(64 * 10))
    await received(vault, 1)
    answer(vault.received[0]!, vault)
    await received(vault, 2)
    vault.channel.send({ id: vault.received[1]!.id, code: 'ERR_TRANSLATION_FORBIDDEN' })
    expect(await asked).toBe('ERR_TRANSLATION_FORBIDDEN')
    expect(pool.queued).toBe(0)
    // Its lane takes others as before.
    const body = translation(1, pair())
    const other = translate(body)
    await received(vault, 3)
    answer(vault.received[2]!, vault)
    expect(await other).toEqual(answerTo(body))
  })

  it('counts as waiting until the last of it has gone, and its parts as requests in flight', async () => {
    await open()
    const vault = await harness.serve(1)
    const asked = translate(translation(64 * 3))
    await received(vault, 2)
    expect([pool.queued, pool.vaults[0]?.inFlight]).toEqual([1, 2])
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    expect([pool.queued, pool.vaults[0]?.inFlight]).toEqual([0, 2])
    for (const message of vault.received.slice(1)) answer(message, vault)
    expect(await asked).toHaveProperty('packed')
    expect(pool.vaults[0]?.inFlight).toBe(0)
  })
})
