import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../processes/processes.ts'
import { tally, type Outcome } from '../processes/traffic.ts'
import {
  CALLERS,
  everyOperation,
  expectHealthyEnd,
  expectRightOr503,
  firstGoodAnswerMs,
  HSM_MS,
  isReady,
  makeFailingHsm,
  underTraffic,
  serveOn,
  type FailingHsm,
  type FailingService,
} from './failing-hsm.ts'

describe('a module that does not come back from a call', () => {
  let hsm: FailingHsm
  let failing: FailingService

  beforeAll(async () => {
    hsm = await makeFailingHsm()
    failing = await serveOn(hsm)
  })
  afterEach(() => hsm.shim.clear())
  afterAll(async () => {
    await failing.stop()
    hsm.dispose()
  })
  /** A service that has lost no vault before waits for none. */
  const restart = async () => {
    await failing.stop()
    failing = await serveOn(hsm)
  }

  /** Strikes one vault under traffic and waits for its successor. */
  async function strike(fault: {
    function: 'C_DecryptInit' | 'C_Decrypt' | 'C_Encrypt' | 'C_DeriveKey' | 'C_Sign'
    kind: 'hang' | 'crash'
  }) {
    const victim = failing.vaults()[0]!
    let struckAt = 0
    let replacedMs = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      const active = failing.shim.inject({ ...fault, process: victim, times: 1 })
      await until('the fault to strike', () => active.hits() > 0)
      struckAt = performance.now()
      await failing.recovered([victim])
      replacedMs = performance.now() - struckAt
      active.end()
    })
    const lost = expectRightOr503(outcomes)
    expect(lost.length).toBeGreaterThan(0)
    expect(lost.length).toBeLessThanOrEqual(CALLERS)
    expectHealthyEnd(outcomes)
    const meanwhile = outcomes.filter(
      ({ status, startedAt }) => status === 200 && startedAt > struckAt && startedAt < struckAt + HSM_MS - 100,
    )
    console.log(
      `${fault.kind} in ${fault.function}: replaced after ${Math.round(replacedMs)} ms, lost after ${lost.map(({ ms }) => Math.round(ms)).join(' ')};`,
      tally(outcomes),
    )
    return { lost, meanwhile }
  }
  const slowest = (outcomes: readonly Outcome[]) => Math.max(...outcomes.map(({ ms }) => ms))

  // C_Decrypt is RSA or ECB, in a thread or on the loop; C_DeriveKey and every Init block the loop.
  it.each(['C_DecryptInit', 'C_Decrypt', 'C_DeriveKey'] as const)(
    'and hangs in %s: the vault is replaced after the deadline, the rest goes on',
    async (function_) => {
      const { lost, meanwhile } = await strike({ function: function_, kind: 'hang' })
      expect(slowest(lost)).toBeLessThan(HSM_MS + 700)
      expect(meanwhile.length).toBeGreaterThan(20)
    },
  )

  it('and crashes: the vault is replaced at once', async () => {
    const { lost } = await strike({ function: 'C_Encrypt', kind: 'crash' })
    expect(slowest(lost)).toBeLessThan(HSM_MS)
  })

  it('and crashes in whatever it is asked, also at each start: not ready, no storm of starts, and back by itself', async () => {
    await restart()
    let backAt = 0
    let starts = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      const crash = failing.shim.inject({ function: '*', kind: 'crash' })
      const startsBefore = failing.shim.calls('C_Initialize')
      await until('not ready', async () => !(await isReady(failing.service)))
      await sleep(2500)
      starts = failing.shim.calls('C_Initialize') - startsBefore
      expect((await failing.service.manage('/healthz')).status).toBe(200)
      crash.end()
      backAt = performance.now()
      await failing.recovered()
    })
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
    const firstMs = Math.round(firstGoodAnswerMs(outcomes, backAt))
    console.log(
      `crashing for 2.5 s: ${starts} starts, first good answer ${firstMs} ms after the end of it;`,
      tally(outcomes),
    )
    // Doubling from 100 ms, there is no room for more.
    expect(starts).toBeLessThanOrEqual(8)
  })

  it('and hangs in all calls of both vaults: every request is answered in time, not ready, and back by itself', async () => {
    await restart()
    const both = failing.vaults()
    let backAt = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      const hangs = both.map((process) => failing.shim.inject({ function: '*', kind: 'hang', process }))
      backAt = performance.now()
      await until('both vaults to be replaced', () => failing.vaults().every((pid) => !both.includes(pid)))
      for (const hang of hangs) hang.end()
      await failing.recovered(both)
    })
    const lost = expectRightOr503(outcomes)
    expect(slowest(lost)).toBeLessThan(2 * HSM_MS + 700)
    expectHealthyEnd(outcomes)
    console.log(
      `both vaults hang: first good answer ${Math.round(firstGoodAnswerMs(outcomes, backAt))} ms after they began to, slowest 503 after ${Math.round(slowest(lost))} ms;`,
      tally(outcomes),
    )
  })

  // A start has 30 s, since an HSM that is slow needs them.
  it.each(process.env['PINBRIDGE_FULL'] ? ['C_Login' as const] : [])(
    'and hangs in %s at its start: the other vault goes on, and a third one is started',
    async (function_) => {
      const victim = failing.vaults()[0]!
      const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
        const hang = failing.shim.inject({ function: function_, kind: 'hang', times: 1 })
        process.kill(victim, 'SIGKILL')
        await until('the fault to strike', () => hang.hits() > 0)
        const stuck = failing.vaults().at(-1)!
        const ms = await failing.recovered([victim, stuck], 45_000)
        console.log(`a start that hangs: replaced after ${Math.round(ms)} ms`)
      })
      const lost = expectRightOr503(outcomes)
      expect(lost.length).toBeLessThanOrEqual(CALLERS)
      expectHealthyEnd(outcomes)
    },
  )
})
