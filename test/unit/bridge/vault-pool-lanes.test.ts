import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { VaultPool } from '../../../src/bridge/vault-pool.ts'
import { openPool, type FakeVault, type PoolHarness } from './pool-harness.ts'
import { answer, answerTo, pair, serveAll, settled, translation, type Translation } from './translations.ts'

let harness: PoolHarness
let pool: VaultPool
afterEach(() => harness.close())

async function open(limits?: Parameters<typeof openPool>[0]): Promise<void> {
  harness = await openPool(limits)
  ;({ pool } = harness)
}

const translate = (body: Translation) => settled(pool.call('translatePinBlocks', body))
const mac = (key: string) => settled(pool.call('generateMac', { key, pinBlock: '00' }))
const POLL = { interval: 2, timeout: 10_000 }
const received = (vault: FakeVault, messages: number) => expect.poll(() => vault.received.length, POLL).toBe(messages)
const pans = ({ packed, items }: { packed: Buffer; items: number }) => packed.subarray(0, 10 * items).toString('hex')
/** The PANs of the message that came last, and those of these requests in order. */
const expectLast = (vault: FakeVault, bodies: readonly Translation[]) => {
  const { body, packed } = vault.received.at(-1)!
  expect(pans({ packed, items: body.items as number })).toBe(bodies.map(pans).join(''))
}

const turn = () => new Promise((resolve) => setImmediate(resolve))
/** Asks in a turn of the event loop each, so that none finds company; the promises are wrapped, or they would be awaited. */
async function oneByOne(bodies: readonly Translation[]): Promise<{ asked: Promise<unknown> }[]> {
  const calls: { asked: Promise<unknown> }[] = []
  for (const body of bodies) {
    calls.push({ asked: translate(body) })
    await turn()
  }
  return calls
}

/** Has the usual pair of keys seen as quick, so that a message may hold as many of its blocks as any. */
async function warmUp(): Promise<void> {
  const vault = await harness.serve(99, answer)
  for (let items = 64; items <= 10_000; items *= 2) await translate(translation(items))
  pool.drain(99)
  await vault.closed
}

/** A vault that is silent and holds as many messages of the usual pair of keys as it may. */
async function busyVault(id = 1): Promise<{ vault: FakeVault; held: Promise<unknown>[] }> {
  const vault = await harness.serve(id)
  const held = await oneByOne([translation(), translation()])
  await received(vault, 2)
  return { vault, held: held.map(({ asked }) => asked) }
}

describe('translations of one pair of keys', () => {
  it('go to a free vault alone at the end of the turn that brought them: nobody waits on purpose', async () => {
    await open()
    const vault = await harness.serve(1)
    for (let n = 1; n <= 2; n++) {
      void translate(translation())
      await turn()
      expect([pool.queued, pool.vaults[0]?.inFlight]).toEqual([0, n])
    }
    await received(vault, 2)
    expect(vault.received.map(({ body }) => body.items as number)).toEqual([1, 1])
  })

  it('go together if they came in one turn, also to a free vault', async () => {
    await open()
    const vault = await harness.serve(1)
    const bodies = [1, 2, 3].map((items) => translation(items))
    const asked = bodies.map(translate)
    await received(vault, 1)
    expectLast(vault, bodies)
    answer(vault.received[0]!, vault)
    expect(await Promise.all(asked)).toEqual(bodies.map(answerTo))
  })

  it('gather while every vault holds two of their messages, and go together and in order when one falls free', async () => {
    await open()
    const vaults = [await harness.serve(1), await harness.serve(2)]
    const first = Array.from({ length: 4 }, () => translation())
    const asked = (await oneByOne(first)).map(({ asked }) => asked)
    const waiting = [1, 3, 2, 50, 1].map((items) => translation(items))
    asked.push(...waiting.map(translate))
    await Promise.all(vaults.map((vault) => received(vault, 2)))
    expect([pool.queued, pool.vaults.map(({ inFlight }) => inFlight)]).toEqual([5, [2, 2]])
    answer(vaults[1]!.received[1]!, vaults[1]!)
    await received(vaults[1]!, 3)
    expect([pool.queued, pool.vaults.map(({ inFlight }) => inFlight)]).toEqual([0, [2, 6]])
    expectLast(vaults[1]!, waiting)
    for (const vault of vaults) for (const message of vault.received) answer(message, vault)
    expect(await Promise.all(asked)).toEqual([...first, ...waiting].map(answerTo))
    expect(vaults.map((vault) => vault.received.length)).toEqual([2, 3])
  })

  it('never make a message of more than 10 000 blocks, and still go in order', async () => {
    await open({ hsmMs: 20_000 })
    await warmUp()
    const { vault } = await busyVault()
    const waiting = [4000, 6000, 1, 9000, 2000, 10_000, 1, 1].map((items) => translation(items))
    const asked = waiting.map(translate)
    const MESSAGES = 7
    for (let n = 0; n < MESSAGES; n++) {
      if (n === 1) {
        // The first 10 000 have gone, and what still takes more goes on taking them.
        waiting.push(translation())
        asked.push(translate(waiting.at(-1)!))
      }
      answer(vault.received[n]!, vault)
      await received(vault, Math.min(n + 3, MESSAGES))
    }
    expect(await Promise.all(asked)).toEqual(waiting.map(answerTo))
    const sizes = vault.received.slice(2).map(({ body }) => body.items as number)
    expect(sizes).toEqual([10_000, 9001, 2000, 10_000, 3])
  })

  it('hold up neither another pair of keys nor another operation while they wait for credit', async () => {
    await open()
    const { vault } = await busyVault()
    const waiting = translate(translation())
    void translate(translation(1, pair('in', 'other')))
    void mac('m')
    await received(vault, 4)
    expect(vault.received.slice(2).map(({ operation }) => operation)).toEqual(['translatePinBlocks', 'generateMac'])
    expect(vault.received[2]!.body.to.key).toBe('other')
    expect(pool.queued).toBe(1)
    answer(vault.received[0]!, vault)
    await received(vault, 5)
    answer(vault.received[4]!, vault)
    expect(await waiting).toHaveProperty('rejected')
  })

  it('go, as every call, to the vault that has the fewest blocks before it, however many its messages', async () => {
    await open()
    const vaults = [await harness.serve(1), await harness.serve(2)]
    await oneByOne([translation(50)])
    for (const key of ['a', 'b', 'c']) {
      void mac(key)
      await turn()
    }
    await oneByOne([translation()])
    await received(vaults[1]!, 4)
    expect(vaults[0]!.received).toHaveLength(1)
  })

  it('wait with all others, and in their order, where a vault has no credit at all', async () => {
    await open({ inFlightPerVault: 1 })
    const vault = await harness.serve(1)
    const bodies = Array.from({ length: 4 }, () => translation())
    const asked: Promise<unknown>[] = [mac('first'), mac('second'), translate(bodies[0]!), mac('third')]
    // These join the one that waits before the third.
    asked.push(...bodies.slice(1).map(translate))
    await received(vault, 1)
    expect(pool.queued).toBe(6)
    for (let n = 1; n <= 3; n++) {
      serveAll(vault.received.at(-1)!, vault)
      await received(vault, n + 1)
    }
    expect(vault.received.map(({ body }) => (body.key ?? body.items) as unknown)).toEqual([
      'first',
      'second',
      4,
      'third',
    ])
    serveAll(vault.received.at(-1)!, vault)
    await Promise.all(asked)
  })

  it('share no message with a check alone, with one that makes PRWs, or with another pair of keys or formats', async () => {
    await open({ inFlightPerVault: 1 })
    const vault = await harness.serve(1)
    void mac('busy')
    const prw = { key: 'prw', cards: [{}] }
    const bodies = [
      translation(),
      translation(1, { ...pair(), checkOnly: true }),
      translation(1, { ...pair(), checkOnly: true }),
      translation(1, { ...pair(), prw }),
      translation(1, { ...pair(), prw }),
      translation(1, pair('in', 'other')),
      translation(1, pair('other', 'out')),
      translation(1, pair('in', 'out', 'ISO-3')),
      translation(1, pair('in', 'out', 'ISO-0', 'ISO-4')),
      translation(1, pair('in', 'out', 'ISO-4', 'ISO-0')),
      { ...translation(), packed: Buffer.alloc(26) },
    ]
    const asked = bodies.map((body) => pool.call('translatePinBlocks', body))
    for (let n = 1; n <= bodies.length; n++) {
      await received(vault, n)
      const { id, body, packed, operation } = vault.received.at(-1)!
      if (operation === 'generateMac') serveAll(vault.received.at(-1)!, vault)
      else {
        const { packed: blocks, ...json } = answerTo({ ...body, packed })
        vault.channel.send({ id, answer: { ...json, ...(body.prw && { prws: [null] }) } }, blocks)
      }
    }
    await received(vault, bodies.length + 1)
    expect(vault.received.slice(1).map(({ body, packed }) => ({ ...body, packed }) as unknown)).toEqual(bodies)
    serveAll(vault.received.at(-1)!, vault)
    await Promise.all(asked)
  })

  it('count one by one against the queue, and as requests in flight', async () => {
    await open({ queue: 3 })
    const { vault, held } = await busyVault()
    const waiting = [1, 2, 3].map((items) => translate(translation(items)))
    expect(pool.queued).toBe(3)
    expect(await translate(translation())).toBe('ERR_HSM_BUSY')
    expect(await mac('other')).toBe('ERR_HSM_BUSY')
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    expect([pool.queued, pool.vaults[0]?.inFlight]).toEqual([0, 4])
    for (const message of vault.received.slice(1)) answer(message, vault)
    await Promise.all([...held, ...waiting])
    expect(pool.vaults[0]?.inFlight).toBe(0)
  })
})

describe('a deadline in the queue', () => {
  // The pool's clocks and no others: sockets and polls go on by themselves.
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  /** A pool whose one vault takes one message, and is kept busy by `mac` calls that are answered by hand. */
  async function openNarrow(): Promise<FakeVault> {
    await open({ hsmMs: 300, inFlightPerVault: 1 })
    return await harness.serve(1)
  }

  it('takes its own call out of what waits together, and leaves the others in their order', async () => {
    const vault = await openNarrow()
    void mac('first')
    void mac('second')
    await received(vault, 1)
    const [early, ...late] = Array.from({ length: 4 }, () => translation(3))
    const expired = translate(early!)
    vi.advanceTimersByTime(150)
    const asked = late.map(translate)
    vi.advanceTimersByTime(50)
    serveAll(vault.received[0]!, vault)
    await received(vault, 2)
    vi.advanceTimersByTime(100)
    expect(await expired).toBe('ERR_HSM_BUSY')
    expect(pool.queued).toBe(3)
    serveAll(vault.received[1]!, vault)
    await received(vault, 3)
    expectLast(vault, late)
    answer(vault.received[2]!, vault)
    expect(await Promise.all(asked)).toEqual(late.map(answerTo))
    expect(harness.overdue).toEqual([])
  })

  it('of the last one leaves nothing that waits, and the next call begins anew', async () => {
    const vault = await openNarrow()
    void mac('first')
    void mac('second')
    await received(vault, 1)
    const expired = [translate(translation()), translate(translation())]
    vi.advanceTimersByTime(200)
    serveAll(vault.received[0]!, vault)
    await received(vault, 2)
    vi.advanceTimersByTime(100)
    expect(await Promise.all(expired)).toEqual(['ERR_HSM_BUSY', 'ERR_HSM_BUSY'])
    expect(pool.queued).toBe(0)
    serveAll(vault.received[1]!, vault)
    await expect.poll(() => pool.vaults[0]?.inFlight, POLL).toBe(0)
    const next = translation()
    const asked = translate(next)
    await received(vault, 3)
    expectLast(vault, [next])
    answer(vault.received[2]!, vault)
    expect(await asked).toEqual(answerTo(next))
  })

  it('runs no more once a vault has the call, also for the last of many', async () => {
    const vault = await openNarrow()
    void mac('first')
    await received(vault, 1)
    const bodies = Array.from({ length: 3 }, () => translation())
    const asked = bodies.map(translate)
    vi.advanceTimersByTime(200)
    serveAll(vault.received[0]!, vault)
    await received(vault, 2)
    vi.advanceTimersByTime(200)
    answer(vault.received[1]!, vault)
    expect(await Promise.all(asked)).toEqual(bodies.map(answerTo))
    expect(harness.overdue).toEqual([])
  })

  it('of a vault is overdue once, for all that shared its messages', async () => {
    await open({ hsmMs: 200 })
    const { vault, held } = await busyVault()
    const together = Array.from({ length: 5 }, () => translate(translation(2)))
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    vi.advanceTimersByTime(200)
    expect(await Promise.all([held[1], ...together])).toEqual(Array(6).fill('ERR_HSM_UNAVAILABLE'))
    await vault.closed
    expect(harness.overdue).toEqual([1])
  })
})

describe('a vault that shares its messages among calls', () => {
  it('answers each of them 503 when it is lost, and what still waits goes to the others', async () => {
    await open()
    const { vault, held } = await busyVault()
    const together = Array.from({ length: 5 }, () => translate(translation(2)))
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    expect(vault.received[2]!.body.items).toBe(10)
    const waiting = [translation(), translation()]
    const asked = waiting.map(translate)
    expect(pool.queued).toBe(2)
    const other = await harness.serve(2)
    await received(other, 1)
    vault.socket.destroy()
    expect(await Promise.all(together)).toEqual(Array(5).fill('ERR_HSM_UNAVAILABLE'))
    expect(await held[1]).toBe('ERR_HSM_UNAVAILABLE')
    // Nothing that the lost vault held is done again.
    expectLast(other, waiting)
    answer(other.received[0]!, other)
    expect(await Promise.all(asked)).toEqual(waiting.map(answerTo))
    expect(other.received).toHaveLength(1)
  })

  it('takes what waits with it when it was the only one', async () => {
    await open()
    const { vault, held } = await busyVault()
    const waiting = Array.from({ length: 5 }, () => translate(translation()))
    vault.socket.destroy()
    expect(await Promise.all([...held, ...waiting])).toEqual(Array(7).fill('ERR_HSM_UNAVAILABLE'))
    expect(pool.queued).toBe(0)
    // A lane that was cut off is open again for the next vault.
    const next = await harness.serve(2, serveAll)
    const body = translation()
    expect(await translate(body)).toEqual(answerTo(body))
    expect(next.received).toHaveLength(1)
  })

  it('answers each of them with its code', async () => {
    await open()
    const { vault } = await busyVault()
    const together = Array.from({ length: 5 }, () => translate(translation(2)))
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    vault.channel.send({ id: vault.received[2]!.id, code: 'ERR_TRANSLATION_FORBIDDEN' })
    expect(await Promise.all(together)).toEqual(Array(5).fill('ERR_TRANSLATION_FORBIDDEN'))
  })

  it.each<[string, object, number]>([
    ['a block too few', { rejected: [] }, 32],
    ['a block too many', { rejected: [] }, 48],
    ['a place that is none', { rejected: [5] }, 40],
    ['places out of order', { rejected: [3, 1] }, 40],
    ['no places', {}, 40],
  ])('crosses no answers by one that does not fit, and goes on: %s', async (_name, json, bytes) => {
    await open()
    const vault = await harness.serve(1)
    const alone = [translation(), translation()]
    const asked = (await oneByOne(alone)).map(({ asked }) => asked)
    const together = [2, 1, 2].map((items) => translate(translation(items)))
    await received(vault, 2)
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    vault.channel.send({ id: vault.received[2]!.id, answer: json }, Buffer.alloc(bytes))
    expect(await Promise.all(together)).toEqual(Array(3).fill('ERR_INTERNAL'))
    answer(vault.received[1]!, vault)
    expect(await Promise.all(asked)).toEqual(alone.map(answerTo))
    expect(pool.ready).toBe(true)
  })

  it.each([[null], [7], ['x'], [[]]])('hangs nobody by an answer that cannot be read: %j', async (unreadable) => {
    await open()
    const { vault, held } = await busyVault()
    const together = [translate(translation()), translate(translation())]
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    vault.channel.send({ id: vault.received[2]!.id, answer: unreadable })
    const [one, other] = await Promise.all(together)
    expect(['ERR_INTERNAL', 'ERR_HSM_UNAVAILABLE']).toContain(one)
    expect(other).toBe(one)
    vault.socket.destroy()
    expect(await held[1]).toBe('ERR_HSM_UNAVAILABLE')
  })

  it('ends only when all of them are answered, if it drains', async () => {
    await open()
    const { vault, held } = await busyVault()
    const bodies = Array.from({ length: 5 }, () => translation(2))
    const together = bodies.map(translate)
    answer(vault.received[0]!, vault)
    await received(vault, 3)
    pool.drain(1)
    expect(pool.vaults).toMatchObject([{ id: 1, state: 'draining', inFlight: 6 }])
    answer(vault.received[1]!, vault)
    await held[1]
    expect(pool.vaults).toMatchObject([{ id: 1, state: 'draining', inFlight: 5 }])
    answer(vault.received[2]!, vault)
    expect(await Promise.all(together)).toEqual(bodies.map(answerTo))
    await vault.closed
  })
})
