import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, isAlive, until } from './processes.ts'
import { pinChanges, startTraffic, tally, translations, type Outcome } from './traffic.ts'

const HSM_MS = 1000
const CALLERS = 12

describe('a vault that is lost under traffic', () => {
  const folder = temporaryFolder()
  let service: Service

  beforeAll(async () => {
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 2
      config.limits.hsmMs = HSM_MS
    })
    service = await startService(setUp)
  })

  afterAll(async () => {
    await service.stop()
    folder.dispose()
  })

  const vaults = () => childrenOf(service.ready.pid).vaults
  const readyVaults = async () => {
    const { json } = await service.manage('/readyz')
    return json.vaults.filter(({ state }: any) => state === 'ready') as { id: number; inFlight: number }[]
  }

  /** Waits until two vaults serve that are none of `gone`. */
  const recovered = (gone: readonly number[]) =>
    until('two ready vaults', async () => {
      const pids = vaults()
      return pids.length === 2 && !pids.some((pid) => gone.includes(pid)) && (await readyVaults()).length === 2
    })

  function expectOnlyLosses(outcomes: readonly Outcome[]): Outcome[] {
    const lost = outcomes.filter(({ status }) => status !== 200)
    expect(Object.keys(tally(outcomes)).filter((name) => name !== '200' && name !== '503 ERR_HSM_UNAVAILABLE')).toEqual(
      [],
    )
    expect(lost.filter(({ retryAfter }) => !/^[1-9]\d*$/.test(retryAfter ?? ''))).toEqual([])
    return lost
  }

  it('answers 503 with Retry-After for what a killed vault held and 200 for the rest, and has a new vault at once', async () => {
    const traffic = startTraffic(service, translations(service), { concurrency: CALLERS, pauseMs: 1 })
    await sleep(500)
    const times: number[] = []
    for (let round = 0; round < 3; round++) {
      const victim = vaults()[0]!
      const heldBefore = (await readyVaults()).map(({ id }) => id)
      // Stopped for a moment first, so that it surely holds something when it dies.
      process.kill(victim, 'SIGSTOP')
      await sleep(100)
      process.kill(victim, 'SIGKILL')
      const { ms } = await recovered([victim])
      expect((await readyVaults()).map(({ id }) => id)).not.toEqual(heldBefore)
      times.push(Math.round(ms))
      expect((await service.manage('/readyz')).status).toBe(200)
      await sleep(300)
    }
    const outcomes = await traffic.stop()
    const lost = expectOnlyLosses(outcomes)
    console.log(`SIGKILL to two ready vaults: ${times.join(', ')} ms;`, tally(outcomes))
    // What the vaults held and no more: translations share messages, so that is one of every caller at most.
    expect(lost.length).toBeGreaterThanOrEqual(3)
    expect(lost.length).toBeLessThanOrEqual(3 * CALLERS)
    expect(Math.max(...outcomes.map(({ ms }) => ms))).toBeLessThan(HSM_MS + 1500)
    expect(times[0]).toBeLessThan(3000)
  })

  it('answers 503 after the deadline for what a stopped vault holds, kills and replaces it, and goes on meanwhile', async () => {
    // PIN changes share no message, so that the credit window of 8 leaves some callers to the other vault.
    const traffic = startTraffic(service, await pinChanges(service), { concurrency: CALLERS, pauseMs: 1 })
    await sleep(300)
    const victim = vaults()[0]!
    const stoppedAt = performance.now()
    process.kill(victim, 'SIGSTOP')
    const killed = await until('the stopped vault to be killed', () => !isAlive(victim))
    const { ms } = await recovered([victim])
    await sleep(300)
    const outcomes = await traffic.stop()
    const lost = expectOnlyLosses(outcomes)
    console.log(
      `SIGSTOP: killed after ${Math.round(killed.ms)} ms, replaced ${Math.round(ms)} ms later;`,
      tally(outcomes),
      'lost after',
      lost.map((outcome) => Math.round(outcome.ms)).join(' '),
    )
    expect(lost.length).toBeGreaterThan(0)
    expect(lost.length).toBeLessThanOrEqual(8)
    expect(lost.every((outcome) => outcome.ms < HSM_MS + 500)).toBe(true)
    expect(Math.max(...lost.map((outcome) => outcome.ms))).toBeGreaterThan(HSM_MS - 50)
    expect(killed.ms).toBeGreaterThan(HSM_MS - 100)
    expect(killed.ms).toBeLessThan(HSM_MS + 1000)
    const meanwhile = outcomes.filter(
      ({ startedAt, status }) => status === 200 && startedAt > stoppedAt && startedAt < stoppedAt + HSM_MS - 100,
    )
    expect(meanwhile.length).toBeGreaterThan(20)
    expect(service.output()).toContain('a vault did not answer within its deadline')
  })

  it('answers 503 while both vaults are gone and recovers by itself', async () => {
    const traffic = startTraffic(service, translations(service), { concurrency: 8, pauseMs: 1 })
    await sleep(300)
    const both = vaults()
    expect(both).toHaveLength(2)
    for (const pid of both) process.kill(pid, 'SIGKILL')
    await until('not ready', async () => (await service.manage('/readyz')).status === 503)
    expect((await service.manage('/healthz')).status).toBe(200)
    const { ms } = await recovered(both)
    await sleep(200)
    const outcomes = await traffic.stop()
    const lost = expectOnlyLosses(outcomes)
    console.log(`both vaults killed, ready again after ${Math.round(ms)} ms;`, tally(outcomes))
    expect(lost.length).toBeGreaterThan(8)
    expect(outcomes.slice(-10).every(({ status }) => status === 200)).toBe(true)
    expect(childrenOf(service.ready.pid).gateways).toEqual([service.ready.gateway])
  })

  it('answers every key set and every management route throughout, and logs no error of its own', () => {
    expect(service.output()).not.toContain('ERR_INTERNAL')
    expect(service.output()).not.toMatch(/unhandled|TypeError|\n\s+at /i)
  })
})
