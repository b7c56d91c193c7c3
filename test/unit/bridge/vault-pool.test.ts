import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { ServiceError } from '../../../src/errors.ts'
import type { PoolLimits, VaultPool } from '../../../src/bridge/vault-pool.ts'
import { VAULT_START_MS } from '../../../src/supervisor/spawn.ts'
import { newSecret, openPool, type FakeVault, type Message, type PoolHarness } from './pool-harness.ts'

describe('VaultPool', () => {
  let harness: PoolHarness
  let pool: VaultPool
  let ready: number[]
  let overdue: number[]
  let dial: PoolHarness['dial']
  let serve: PoolHarness['serve']
  afterEach(() => harness.close())

  async function open(limits: Partial<PoolLimits> = {}): Promise<void> {
    harness = await openPool(limits)
    ;({ pool, ready, overdue, dial, serve } = harness)
  }

  const call = (n: number | string) => pool.call('generateMac', { key: String(n), pinBlock: '00' })
  const echo = (message: Message, vault: FakeVault) =>
    vault.channel.send({ id: message.id, answer: { mac: message.body.key, profile: 'p', key: {} } })
  const settled = (promise: Promise<any>) =>
    promise.then(
      (answer) => answer.mac as string,
      (error: unknown) => (error as ServiceError).code,
    )

  describe('admits', () => {
    it('the vault that shows its secret, and no other connection', async () => {
      await open()
      const secret = newSecret()
      pool.admit(1, secret, 'token')
      const flipped = `${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}`
      const refused: object[] = [
        { vault: 1, publicKeys: [] },
        { vault: 1, secret: '', publicKeys: [] },
        { vault: 1, secret: flipped, publicKeys: [] },
        { vault: 1, secret: secret.slice(2), publicKeys: [] },
        { vault: 1, secret: `${secret}00`, publicKeys: [] },
        { vault: 1, secret: [secret], publicKeys: [] },
        { vault: 2, secret, publicKeys: [] },
        { vault: '1', secret, publicKeys: [] },
        { vault: 1, secret },
        { vault: 1, secret, publicKeys: {} },
        [],
        { id: 1, answer: {} },
      ]
      for (const hello of refused) {
        const vault = dial()
        vault.channel.send(hello)
        await vault.closed
      }
      for (const text of ['null', '7', '"x"', '{']) {
        const vault = dial()
        const frame = Buffer.alloc(8 + text.length)
        frame.writeUInt32BE(4 + text.length)
        frame.writeUInt32BE(text.length, 4)
        frame.write(text, 8)
        vault.socket.write(frame)
        await vault.closed
      }
      expect(pool.ready).toBe(false)
      expect(pool.vaults).toEqual([])
      expect(ready).toEqual([])
      // All that guessing did not use the secret up.
      const vault = dial()
      vault.channel.send({ vault: 1, secret, publicKeys: [] })
      await expect.poll(() => pool.ready).toBe(true)
    })

    it('each secret once: a second connection with it is dropped, while the first serves and after it', async () => {
      await open()
      const secret = newSecret()
      pool.admit(1, secret, 'token')
      const first = dial(echo)
      first.channel.send({ vault: 1, secret, publicKeys: [] })
      await expect.poll(() => pool.ready).toBe(true)
      const second = dial()
      second.channel.send({ vault: 1, secret, publicKeys: [] })
      await second.closed
      expect(await settled(call('still here'))).toBe('still here')
      first.socket.destroy()
      await expect.poll(() => pool.ready).toBe(false)
      const third = dial()
      third.channel.send({ vault: 1, secret, publicKeys: [] })
      await third.closed
      expect(ready).toEqual([1])
    })

    it('nobody behind a hello that was refused, on the same connection', async () => {
      await open()
      const secret = newSecret()
      pool.admit(1, secret, 'token')
      const vault = dial()
      vault.channel.send({ vault: 1, secret: newSecret(), publicKeys: [] })
      vault.channel.send({ vault: 1, secret, publicKeys: [] })
      await vault.closed
      expect([pool.ready, ready]).toEqual([false, []])
      // And the secret, which came too late to be looked at, is still good.
      const second = dial()
      second.channel.send({ vault: 1, secret, publicKeys: [] })
      await expect.poll(() => pool.ready).toBe(true)
    })

    it('nobody who says nothing for longer than a vault takes to start', async () => {
      await open()
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      try {
        const connect = vi.spyOn(pool, 'connect')
        const silent = dial()
        while (connect.mock.calls.length === 0) await new Promise(setImmediate)
        const [socket] = connect.mock.calls[0]!
        vi.advanceTimersByTime(VAULT_START_MS)
        expect(socket.destroyed).toBe(false)
        vi.advanceTimersByTime(10_000)
        expect(socket.destroyed).toBe(true)
        await silent.closed
      } finally {
        vi.useRealTimers()
      }
    })
  })

  it('gives 5 000 concurrent calls over three vaults with random delays each its own answer', async () => {
    await open()
    const slow = (message: Message, vault: FakeVault) => void sleep(Math.random() * 4).then(() => echo(message, vault))
    const vaults = await Promise.all([1, 2, 3].map((id) => serve(id, slow)))
    const answers = await Promise.all(Array.from({ length: 5000 }, (_, n) => settled(call(n))))
    expect(answers).toEqual(Array.from({ length: 5000 }, (_, n) => String(n)))
    for (const { received } of vaults) expect(received.length).toBeGreaterThan(1000)
    expect(vaults.reduce((sum, { received }) => sum + received.length, 0)).toBe(5000)
    expect(pool.vaults.map(({ inFlight }) => inFlight)).toEqual([0, 0, 0])
    expect(pool.queued).toBe(0)
  })

  it('never has more under way at a vault than its credit', async () => {
    await open({ inFlightPerVault: 3 })
    let under = 0
    let most = 0
    await serve(1, (message, vault) => {
      most = Math.max(most, ++under)
      void sleep(2).then(() => {
        under--
        echo(message, vault)
      })
    })
    await Promise.all(Array.from({ length: 200 }, (_, n) => settled(call(n))))
    expect(most).toBe(3)
  })

  it('takes no answer of a vault for what another holds, and none to an unknown id', async () => {
    await open()
    const first = await serve(1)
    const asked = settled(call('mine'))
    await expect.poll(() => first.received.length).toBe(1)
    const second = await serve(2)
    const { id } = first.received[0]!
    second.channel.send({ id, answer: { mac: 'stolen' } })
    second.channel.send({ id: 999, answer: { mac: 'nobody asked' } })
    await sleep(50)
    first.channel.send({ id, answer: { mac: 'mine' } })
    first.channel.send({ id, answer: { mac: 'again' } })
    expect(await asked).toBe('mine')
    expect(pool.vaults.map(({ id: vault }) => vault)).toEqual([1, 2])
  })

  it('passes on codes of the closed set and takes any other for ERR_INTERNAL', async () => {
    await open()
    await serve(1, (message, vault) => vault.channel.send({ id: message.id, code: message.body.key }))
    expect(await settled(call('ERR_PIN_BLOCK_INVALID'))).toBe('ERR_PIN_BLOCK_INVALID')
    expect(await settled(call('constructor'))).toBe('ERR_INTERNAL')
    expect(await settled(call('4711'))).toBe('ERR_INTERNAL')
  })

  it.each(['null', '7', '"x"', '[]', '{}'])(
    'ends or ignores a vault that replies %s, and hangs nobody',
    async (text) => {
      await open({ hsmMs: 200 })
      const vault = await serve(1)
      const asked = settled(call('x'))
      vault.channel.send(JSON.parse(text) as object)
      expect(await asked).toBe('ERR_HSM_UNAVAILABLE')
      await vault.closed
    },
  )

  it('ends a vault that talks nonsense, and answers what it held ERR_HSM_UNAVAILABLE', async () => {
    await open()
    const vault = await serve(1)
    const asked = settled(call('x'))
    vault.socket.write(Buffer.from('ffffffff', 'hex'))
    expect(await asked).toBe('ERR_HSM_UNAVAILABLE')
    await vault.closed
  })

  it('answers ERR_HSM_UNAVAILABLE at once where there is no vault', async () => {
    await open()
    expect(await settled(call('x'))).toBe('ERR_HSM_UNAVAILABLE')
  })

  it('answers ERR_HSM_BUSY beyond the queue at once', async () => {
    await open({ queue: 2, inFlightPerVault: 1 })
    const vault = await serve(1)
    const held = [1, 2, 3].map((n) => settled(call(n)))
    await expect.poll(() => [vault.received.length, pool.queued]).toEqual([1, 2])
    const started = performance.now()
    expect(await settled(call(4))).toBe('ERR_HSM_BUSY')
    expect(performance.now() - started).toBeLessThan(100)
    vault.socket.destroy()
    expect(await Promise.all(held)).toEqual(Array(3).fill('ERR_HSM_UNAVAILABLE'))
    expect(pool.queued).toBe(0)
  })

  it('drops a vault that is overdue, once, with all that it held, while the others go on', async () => {
    await open({ hsmMs: 300, inFlightPerVault: 4 })
    const hung = await serve(1)
    const held = Array.from({ length: 4 }, (_, n) => settled(call(n)))
    await serve(2, echo)
    expect(await settled(call('goes on'))).toBe('goes on')
    expect(await Promise.all(held)).toEqual(Array(4).fill('ERR_HSM_UNAVAILABLE'))
    await hung.closed
    expect(overdue).toEqual([1])
    expect(pool.vaults.map(({ id }) => id)).toEqual([2])
    expect(await settled(call('still'))).toBe('still')
  })

  it('answers ERR_HSM_BUSY to what waits longer than the deadline, and does not take the busy vault for a hung one', async () => {
    await open({ hsmMs: 300, inFlightPerVault: 1 })
    await serve(1, (message, vault) => void sleep(200).then(() => echo(message, vault)))
    // The second is handed over after 200 of its 300 ms: what it waited is not the vault's doing.
    const answers = await Promise.all([1, 2, 3].map((n) => settled(call(n))))
    expect(answers).toEqual(['1', '2', 'ERR_HSM_BUSY'])
    expect(overdue).toEqual([])
    expect(pool.ready).toBe(true)
  })

  it('drains a vault: nothing new, what it holds is answered, then its channel ends', async () => {
    await open()
    const old = await serve(1)
    const held = settled(call('held'))
    await expect.poll(() => old.received.length).toBe(1)
    const fresh = await serve(2, echo)
    pool.drain(1)
    const later = await Promise.all(Array.from({ length: 50 }, (_, n) => settled(call(n))))
    expect(later).toEqual(Array.from({ length: 50 }, (_, n) => String(n)))
    expect([old.received.length, fresh.received.length]).toEqual([1, 50])
    expect(pool.vaults).toContainEqual(expect.objectContaining({ id: 1, state: 'draining', inFlight: 1 }))
    echo(old.received[0]!, old)
    expect(await held).toBe('held')
    await old.closed
    await expect.poll(() => pool.vaults.map(({ id }) => id)).toEqual([2])
  })

  it('is not ready while every vault drains, and shows the public keys of the newest', async () => {
    await open()
    await serve(1, echo)
    expect(pool.publicKeys).toEqual([{ kid: 'of-1' }])
    await serve(2)
    expect(pool.publicKeys).toEqual([{ kid: 'of-2' }])
    for (const { id } of pool.vaults) pool.drain(id)
    expect(pool.ready).toBe(false)
    expect(await settled(call('x'))).toBe('ERR_HSM_UNAVAILABLE')
    await expect.poll(() => pool.vaults).toEqual([])
  })
})
