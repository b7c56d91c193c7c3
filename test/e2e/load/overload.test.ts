/** Four times as many requests as the HSM can take, sent at their times whatever becomes of those before. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'
import { childrenOf, isAlive, recordsOf, until } from '../processes/processes.ts'
import { openConnections, type Connection } from './connections.ts'
import { NO_ANSWER, pinChangeQuestions, put, quantile, tallyOf, type Question, type Verdict } from './questions.ts'
import { rssMiBOf } from './rss.ts'

const HSM_MS = 4000
const SHUTDOWN_MS = 10_000
/** What each call of the HSM takes: so few requests a second are many for it, and few for this machine. */
const CALL_US = 40_000
const OVERLOAD = 4
const SECONDS = process.env['PINBRIDGE_FULL'] ? 60 : 8
/** For the queue to fill. */
const FILLING_MS = 2000
/** As many as are accepted at a time, and those that are being refused. */
const CONNECTIONS = 700

const folder = temporaryFolder()
const shim = new Shim(folder.path)
let service: Service
let questions: Question[]
let connections: Connection[]
let perSecond: number

beforeAll(async () => {
  const setUp = await makeSetUp(folder.path, (config) => {
    config.hsm.vaults = 2
    Object.assign(config.limits, { hsmMs: HSM_MS, shutdownMs: SHUTDOWN_MS })
    shim.insert(config.hsm)
  })
  // From the start: how calls are made is decided by what they take then.
  for (const name of ['C_Decrypt', 'C_Encrypt'] as const) shim.inject({ function: name, kind: 'delay', value: CALL_US })
  service = await startService(setUp)
  questions = await pinChangeQuestions(service, 'jwe-rsa', 50)
  connections = await openConnections(service, CONNECTIONS)
})
afterAll(async () => {
  for (const { close } of connections) close()
  await service.stop()
  shim.close()
  folder.dispose()
})

let asked = 0
let answered = 0
async function ask(connection: Connection): Promise<Verdict> {
  const verdict = await put(questions[asked++ % questions.length]!, connection)
  if (verdict.name !== NO_ANSWER) answered++
  return verdict
}

/** How many a second are answered where each caller waits for its answer. */
async function measureCapacity(): Promise<number> {
  const CALLERS = 32
  const MEASURED_MS = 2000
  let answered = 0
  let running = true
  const callers = connections.slice(0, CALLERS).map(async (connection) => {
    while (running) if ((await ask(connection)).name === '200') answered++
  })
  await sleep(500)
  const before = answered
  await sleep(MEASURED_MS)
  const perSecond = ((answered - before) / MEASURED_MS) * 1000
  running = false
  await Promise.all(callers)
  return perSecond
}

/** Sends so many a second until it is told to stop; none waits for another. */
function openLoop(perSecond: number) {
  const free = [...connections]
  const asked: Promise<Verdict>[] = []
  let running = true
  let unsent = 0
  const startedMs = performance.now()
  const sending = (async () => {
    for (let due = 0; running;) {
      await sleep(2)
      for (; due < ((performance.now() - startedMs) / 1000) * perSecond; due++) {
        const connection = free.pop()
        if (connection === undefined) {
          unsent++
          continue
        }
        asked.push(
          ask(connection).then((verdict) => {
            if (connection.isOpen()) free.push(connection)
            return verdict
          }),
        )
      }
    }
  })()
  return {
    /** Sends nothing more; gives how each ended, and how many found no free connection. */
    stop: async () => {
      running = false
      await sending
      return { verdicts: await Promise.all(asked), unsent }
    },
  }
}

/** How it was, in one line. */
function textOf(verdicts: readonly Verdict[]): string {
  return Object.keys(tallyOf(verdicts))
    .map((name) => {
      const ms = verdicts.filter((verdict) => verdict.name === name).map((verdict) => verdict.ms)
      const [p50, p99] = [quantile(ms, 0.5), quantile(ms, 0.99)].map(Math.round)
      return `${ms.length} ${name} in ${p50} ms, p99 ${p99} ms`
    })
    .join('; ')
}

const memory = () => {
  const { gateways, vaults } = childrenOf(service.ready.pid)
  return { gateway: rssMiBOf(gateways[0]!)!, vaults: vaults.map((pid) => rssMiBOf(pid)!) }
}
const processes = () => childrenOf(service.ready.pid)

describe(`${OVERLOAD} times what the HSM can do`, () => {
  it(
    `is answered within the deadline or refused at once for ${SECONDS} seconds; readyz says so, and memory stays`,
    { timeout: SECONDS * 1000 + 60_000 },
    async () => {
      perSecond = await measureCapacity()
      const before = { memory: memory(), processes: processes() }
      expect((await service.manage('/readyz')).status).toBe(200)

      const load = openLoop(OVERLOAD * perSecond)
      const readiness: { status: number; reason: unknown }[] = []
      // The queue fills in the first seconds.
      await sleep(FILLING_MS)
      const endMs = performance.now() + SECONDS * 1000 - FILLING_MS
      while (performance.now() < endMs) {
        const { status, json } = await service.manage('/readyz')
        readiness.push({ status, reason: json.reason })
        await sleep(250)
      }
      const under = memory()
      const { verdicts, unsent } = await load.stop()
      const after = memory()

      const accepted = verdicts.filter(({ status }) => status === 200)
      const refused = verdicts.filter(({ status }) => status !== 200)
      console.log(
        `capacity ${perSecond.toFixed(0)} a second, ${(verdicts.length / SECONDS).toFixed(0)} sent a second: ${textOf(verdicts)};`,
        `RSS in MiB before, under and after: gateway`,
        [before.memory, under, after].map(({ gateway }) => gateway.toFixed(0)).join(', '),
        'vaults',
        [before.memory, under, after].map(({ vaults }) => vaults.map((miB) => miB.toFixed(0)).join('+')).join(', '),
      )

      expect(Object.keys(tallyOf(verdicts)).sort()).toEqual(['200', '503 ERR_HSM_BUSY'])
      expect(
        quantile(
          accepted.map(({ ms }) => ms),
          0.99,
        ),
      ).toBeLessThan(HSM_MS)
      // The HSM has work all the time: what is refused costs those that are accepted nothing.
      expect(accepted.length / SECONDS).toBeGreaterThan(0.7 * perSecond)
      expect(
        quantile(
          refused.map(({ ms }) => ms),
          0.99,
        ),
      ).toBeLessThan(HSM_MS / 4)
      expect(refused.filter(({ retryAfter }) => !/^[1-5]$/.test(retryAfter ?? ''))).toEqual([])
      expect(refused.length).toBeGreaterThan(verdicts.length / 2)
      expect(unsent).toBeLessThan(verdicts.length / 20)
      expect(readiness.filter(({ status, reason }) => status !== 503 || reason !== 'overloaded')).toEqual([])
      // Nobody was taken for hung, and nobody had to be replaced.
      expect(processes()).toEqual(before.processes)
      expect(after.gateway - before.memory.gateway).toBeLessThan(80)
      for (const [i, miB] of after.vaults.entries()) expect(miB - before.memory.vaults[i]!).toBeLessThan(40)

      const { ms } = await until('ready again', async () => (await service.manage('/readyz')).status === 200)
      console.log(`ready again ${Math.round(ms)} ms after the last answer`)
      expect(ms).toBeLessThan(2000)
      // A connection that was idle all the while is closed by now.
      const [fresh] = await openConnections(service, 1)
      connections.push(fresh!)
      expect((await ask(fresh!)).name).toBe('200')
    },
  )

  it('ends well on SIGTERM: everything accepted is answered, readyz says so meanwhile, and the exit code is 0', async () => {
    const children = processes()
    const load = openLoop(OVERLOAD * perSecond)
    await sleep(FILLING_MS)
    const toldMs = performance.now()
    const ended = new Promise<number | null>((resolve) => service.process.once('exit', resolve))
    const silent = new Promise((resolve) => service.process.once('close', resolve))
    service.process.kill('SIGTERM')
    await sleep(100)
    const readiness = await service.manage('/readyz').catch(() => undefined)
    expect(await ended).toBe(0)
    const tookMs = performance.now() - toldMs
    await silent
    const { verdicts } = await load.stop()

    // A request that is still on its way when the door closes meets none: what the gateway has read stands in its log.
    const unanswered = verdicts.filter(({ name }) => name === NO_ANSWER)
    expect(unanswered.filter(({ startedMs }) => startedMs < toldMs - 250)).toEqual([])
    const logged = recordsOf(service.output()).filter(
      ({ event, route }) => event === 'request' && route === '/v1/pin/set',
    )
    const statuses = new Set(logged.map(({ status }) => status as number))
    console.log(`SIGTERM under overload: ended after ${Math.round(tookMs)} ms; ${textOf(verdicts)}`)
    expect(statuses).toEqual(new Set([200, 503]))
    expect(logged).toHaveLength(answered)
    expect(Object.keys(tallyOf(verdicts)).sort()).toEqual(['200', '503 ERR_HSM_BUSY', NO_ANSWER])
    // What waited for the HSM when the signal came.
    const late = verdicts.filter(({ name, startedMs, ms }) => name === '200' && startedMs + ms > toldMs)
    expect(late.length).toBeGreaterThan(perSecond / 2)
    expect(readiness?.status).toBe(503)
    expect(readiness?.json.reason).toBe('stopping')
    expect(tookMs).toBeLessThan(HSM_MS + 2000)
    await until('no process left', () => ![...children.gateways, ...children.vaults].some(isAlive), 2000)
  })
})
