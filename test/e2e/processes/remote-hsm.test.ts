import { randomBytes } from 'node:crypto'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { iso0Block } from '../../d1/simulator.ts'
import { retailMac, tdeaCmac } from '../../d1/macs.ts'
import { scanMemory, summary, type Needle } from '../../support/memory.ts'
import { startP11Kit, type P11KitServer } from '../../support/p11-kit.ts'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { makeTestToken, type TestToken } from '../../support/tokens.ts'
import { childrenOf, isAlive, launch, until } from './processes.ts'
import {
  cardAndPin,
  keyValue,
  observe,
  pinChanges,
  startTraffic,
  tally,
  tdea,
  translations,
  type Ask,
  type Outcome,
  type Traffic,
} from './traffic.ts'

const HSM_MS = 1500
const CALLERS = 8
const VAULTS = 2

const folder = temporaryFolder()
let token: TestToken
let remote: P11KitServer
let setUp: DevelopmentSetUp

beforeAll(async () => {
  token = await makeTestToken('softhsm')
  remote = await startP11Kit(folder.path, token.members)
  // The keys are made through the socket, because they are made fit for what passes through it.
  const members = { ...token.members, ...remote.members }
  const limit = (config: any) => {
    config.hsm.vaults = VAULTS
    config.limits.hsmMs = HSM_MS
  }
  setUp = await makeSetUp(folder.path, limit, { ...token, kind: 'p11-kit', members })
})

afterAll(async () => {
  await remote.dispose()
  await token.dispose()
  folder.dispose()
})

/** Every card its own: a translation, a PIN change by RSA-OAEP, a PRW and a MAC, which are many calls each on this token. */
async function mixed(service: Service): Promise<Ask> {
  const [translate, change] = [translations(service), await pinChanges(service, 20, 'jwe-rsa')]
  const [zpkIn, prwKey, macKey] = ['zpk-in', 'prw', 'pin-mac'].map((id) => keyValue(service, id)) as [
    string,
    string,
    string,
  ]
  let n = 0
  const prw: Ask = (running) => {
    const { pan, pin } = cardAndPin(n)
    const counter = String(n % 10_000).padStart(4, '0')
    const body = {
      key: 'prw',
      pinBlock: tdea(zpkIn, iso0Block(pin, pan)),
      from: { key: 'zpk-in', format: 'ISO-0' },
      card: { pan, panSequenceNumber: '01' },
      change: { counter },
    }
    const message = `${pan.padStart(20, '0')}0104${pin.padEnd(12, 'f')}${counter}`
    const expected = tdeaCmac(prwKey, message).toUpperCase()
    return observe(running, '/v1/prw/generate', body, (json) => json.prw === expected)
  }
  const mac: Ask = (running) => {
    const [pinBlock, transactionId] = [String(n).padStart(16, '0'), String(n)]
    const body = { key: 'pin-mac', pinBlock, prw: pinBlock, change: { counter: '0003', transactionId } }
    const message = `${pinBlock}${pinBlock}0003${transactionId.padStart(20, '0')}`
    const expected = retailMac(macKey, message).toUpperCase()
    return observe(running, '/v1/mac/generate', body, (json) => json.mac === expected)
  }
  const asks = [translate, change, translate, prw, translate, mac]
  return (running) => asks[n++ % asks.length]!(running)
}

/** Waits until as many vaults serve as are wanted. */
const allReady = (manage: Service['manage']) =>
  until('all vaults ready', async () => {
    const { status, json } = await manage('/readyz')
    return status === 200 && json.vaults.filter(({ state }: any) => state === 'ready').length === VAULTS
  })

/** Every answer is right or a 503 that says when to come again. */
function expectRightOr503(outcomes: readonly Outcome[]): void {
  const others = Object.keys(tally(outcomes)).filter((name) => name !== '200' && name !== '503 ERR_HSM_UNAVAILABLE')
  expect(others).toEqual([])
  const unsaid = outcomes.filter(({ status, retryAfter }) => status === 503 && !/^[1-9]\d*$/.test(retryAfter ?? ''))
  expect(unsaid).toEqual([])
}

/** The time from `backAt` to the first good answer to a request sent after it, in ms. */
function firstGoodAfter(outcomes: readonly Outcome[], backAt: number): number {
  const good = outcomes.filter(({ startedAt, status }) => startedAt > backAt && status === 200)
  return Math.round(Math.min(...good.map(({ startedAt, ms }) => startedAt + ms)) - backAt)
}

describe('a remote HSM under traffic', () => {
  let service: Service
  let ask: Ask
  let traffic: Traffic | undefined

  beforeAll(async () => {
    service = await startService(setUp)
    ask = await mixed(service)
  })
  // Whatever failed: the next test finds the far end there and all vaults ready.
  afterEach(async () => {
    await traffic?.stop()
    traffic = undefined
    remote.resume()
    if (remote.pid() === undefined) await remote.start()
    await allReady(service.manage)
  })
  afterAll(async () => {
    await service.stop()
  })

  const steadyTraffic = () => (traffic = startTraffic(service, ask, { concurrency: CALLERS, pauseMs: 1 }))
  const vaults = () => childrenOf(service.ready.pid).vaults

  it('has a process at the far end for each vault', () => {
    expect(remote.remotes()).toHaveLength(VAULTS)
  })

  it('answers 503 for what was with a killed p11-kit-remote, and connects anew', async () => {
    const traffic = steadyTraffic()
    await sleep(500)
    const times: number[] = []
    const kills: number[] = []
    for (let round = 0; round < 2; round++) {
      const before = vaults()
      kills.push(performance.now())
      expect(remote.killRemotes()).toBe(VAULTS)
      // All of them: while there is none yet, the gateway may not have noticed the end of the old ones.
      await until('other vaults', () => vaults().filter((pid) => !before.includes(pid)).length === VAULTS)
      times.push(Math.round((await allReady(service.manage)).ms))
      await sleep(300)
    }
    const outcomes = await traffic.stop()
    const goodAfter = kills.map((at) => firstGoodAfter(outcomes, at))
    console.log(
      `all remotes killed: first good answer after ${goodAfter.join(', ')} ms, all vaults ready after ${times.join(', ')} ms more;`,
      tally(outcomes),
    )
    expectRightOr503(outcomes)
    expect(outcomes.filter(({ status }) => status === 503).length).toBeGreaterThan(0)
    expect(Math.max(...goodAfter)).toBeLessThan(10_000)
    expect(outcomes.slice(-CALLERS).every(({ status }) => status === 200)).toBe(true)
  })

  it('goes on without a loss while only the server is gone, whose remotes live', async () => {
    const before = vaults()
    const traffic = steadyTraffic()
    await sleep(200)
    await remote.killServer()
    await sleep(1000)
    await remote.start()
    const outcomes = await traffic.stop()
    console.log('server gone for 1 s, remotes alive:', tally(outcomes))
    expect(tally(outcomes)).toEqual({ 200: outcomes.length })
    expect(vaults()).toEqual(before)
  })

  it('answers 503 while server and remotes are gone, and comes back by itself when the server does', async () => {
    const AWAY_MS = 3000
    const traffic = steadyTraffic()
    await sleep(300)
    await remote.killServer()
    expect(remote.killRemotes()).toBe(VAULTS)
    const goneAt = performance.now()
    await until('readyz 503', async () => (await service.manage('/readyz')).status === 503)
    await sleep(AWAY_MS)
    expect((await service.manage('/readyz')).status).toBe(503)
    expect((await service.manage('/healthz')).status).toBe(200)
    const backAt = performance.now()
    await remote.start()
    await until('a good answer', () => traffic.outcomes.some((o) => o.status === 200 && o.startedAt > backAt))
    const { ms } = await allReady(service.manage)
    const wholeAt = performance.now()
    await sleep(300)
    const outcomes = await traffic.stop()
    console.log(
      `server away for ${Math.round(backAt - goneAt)} ms: first good answer ${firstGoodAfter(outcomes, backAt)} ms after its start,`,
      `all vaults ready ${Math.round(ms)} ms later;`,
      tally(outcomes),
    )
    expectRightOr503(outcomes)
    const meanwhile = outcomes.filter(({ startedAt }) => startedAt > goneAt + 200 && startedAt < backAt)
    expect(meanwhile.length).toBeGreaterThan(10)
    expect(meanwhile.every(({ status }) => status === 503)).toBe(true)
    expect(firstGoodAfter(outcomes, backAt)).toBeLessThan(10_000)
    const late = outcomes.filter(({ startedAt }) => startedAt > wholeAt)
    expect(tally(late)).toEqual({ 200: late.length })
  })

  it('times out what a hanging server holds, replaces the vaults, and recovers when it goes on', async () => {
    const traffic = steadyTraffic()
    await sleep(300)
    const before = vaults()
    remote.hang()
    const hungAt = performance.now()
    const killed = await until('both vaults to be killed', () => before.every((pid) => !isAlive(pid)))
    await until('readyz 503', async () => (await service.manage('/readyz')).status === 503)
    await sleep(1500)
    const backAt = performance.now()
    remote.resume()
    await until('a good answer', () => traffic.outcomes.some((o) => o.status === 200 && o.startedAt > backAt))
    const { ms } = await allReady(service.manage)
    await sleep(300)
    const outcomes = await traffic.stop()
    console.log(
      `server stopped for ${Math.round(backAt - hungAt)} ms: both vaults killed after ${Math.round(killed.ms)} ms,`,
      `first good answer ${firstGoodAfter(outcomes, backAt)} ms after it went on, all vaults ready ${Math.round(ms)} ms later;`,
      tally(outcomes),
    )
    expectRightOr503(outcomes)
    expect(killed.ms).toBeGreaterThan(HSM_MS - 200)
    expect(killed.ms).toBeLessThan(2 * HSM_MS + 1500)
    expect(Math.max(...outcomes.map((outcome) => outcome.ms))).toBeLessThan(2 * HSM_MS + 1500)
    expect(firstGoodAfter(outcomes, backAt)).toBeLessThan(10_000)
    expect(outcomes.slice(-CALLERS).every(({ status }) => status === 200)).toBe(true)
    expect(service.output()).toContain('a vault did not answer within its deadline')
  })

  it('leaves no clear PIN block in an idle vault, though the module gives its messages back without wiping them', async () => {
    const zpkIn = keyValue(service, 'zpk-in')
    const clear: Needle[] = []
    const items = Array.from({ length: 500 }, (_, n) => {
      const pan = `4${randomBytes(8).readBigUInt64BE().toString().padStart(20, '0').slice(-15)}`
      const block = iso0Block(`${100_000_000_000 + n}`, pan)
      clear.push({ what: 'clear block', bytes: Buffer.from(block, 'hex') })
      return { id: String(n), pinBlock: tdea(zpkIn, block), card: { pan } }
    })
    const zone = (key: string) => ({ key, format: 'ISO-0' })
    const body = { from: zone('zpk-in'), to: zone('zpk-out'), items }
    // One for each vault.
    const answers = await Promise.all([1, 2].map(() => service.call('POST', '/v1/pin-blocks/translate-batch', body)))
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    await sleep(500)
    for (const pid of vaults()) expect(summary(scanMemory(pid, clear).findings)).toEqual({})
  })

  it('leaves no process at the far end behind, and logs no error of its own', async () => {
    await until('a remote for each vault', () => remote.remotes().length === VAULTS)
    expect(service.output()).not.toContain('ERR_INTERNAL')
    expect(service.output()).not.toMatch(/unhandled|TypeError|\n\s+at /i)
  })
})

describe('a remote HSM at start-up', () => {
  const manage = async (port: number, path: string) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`)
    return { ...((await answer.json()) as object), status: answer.status }
  }
  const isReady = (output: string) => output.includes('"event":"ready"')

  it('may be missing: the service is up and not ready, and becomes ready when the server is there', async () => {
    await remote.killServer()
    const service = launch(setUp)
    try {
      const port = await service.managementPort()
      await until('a failed start', () => service.log().some(({ reason }) => reason === 'token-absent'))
      await sleep(1500)
      expect(await manage(port, '/readyz')).toMatchObject({ status: 503, ready: false, vaults: [] })
      expect((await manage(port, '/healthz')).status).toBe(200)
      expect(isReady(service.output())).toBe(false)
      await remote.start()
      const { ms } = await until('ready', () => isReady(service.output()))
      console.log(`server started after the service: ready after ${Math.round(ms)} ms`)
      expect((await manage(port, '/readyz')).status).toBe(200)
      expect(ms).toBeLessThan(10_000)
    } finally {
      await service.end()
      if (remote.pid() === undefined) await remote.start()
    }
  })

  it('may hang: the service is up and not ready, and becomes ready when the server goes on', async () => {
    remote.hang()
    const service = launch(setUp)
    try {
      const port = await service.managementPort()
      await sleep(1500)
      expect(await manage(port, '/readyz')).toMatchObject({ status: 503, ready: false, vaults: [] })
      remote.resume()
      const { ms } = await until('ready', () => isReady(service.output()))
      console.log(`server stopped at the start: ready ${Math.round(ms)} ms after it went on`)
    } finally {
      remote.resume()
      await service.end()
    }
  })

  it('may break connections while vaults open it: no reason to give up', async () => {
    const tokenFolder = join(dirname(token.members.environment['SOFTHSM2_CONF']!), 'token')
    const [tokenObject] = globSync(join(tokenFolder, '*/token.object')) as [string]
    const whole = readFileSync(tokenObject)
    const service = launch(setUp)
    try {
      // In the handshake, in the login, in the search for keys, in the self-test.
      for (const delayMs of [0, 3, 8, 15, 30]) {
        await until('a remote', () => remote.remotes().length > 0)
        await sleep(delayMs)
        remote.killRemotes()
        await until('their end', () => remote.remotes().length === 0)
        // SoftHSM writes it anew at each login, and one that is killed in that moment leaves it empty for good.
        writeFileSync(tokenObject, whole)
      }
      const { ms } = await until('ready', () => isReady(service.output()))
      const failures = service.log().filter(({ reason }) => reason !== undefined)
      console.log(
        `5 connections broken, ${failures.length} starts failed: ready ${Math.round(ms)} ms after the last;`,
        failures.flatMap(({ problems }) => problems),
      )
      expect(failures.length).toBeGreaterThan(2)
      expect(new Set(failures.map(({ reason }) => reason))).toEqual(new Set(['token-absent']))
    } finally {
      await service.end()
    }
  })
})
