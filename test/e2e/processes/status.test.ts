/** What readyz and the metrics of a running service say, held against what was done to it and asked of it. */
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { iso0Block } from '../../d1/simulator.ts'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, launch, until, type Launched } from './processes.ts'
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
} from './traffic.ts'

const DURATION = 'pinbridge_hsm_call_duration_seconds'
/** Vaults report every second. */
const REPORTED_MS = 1200
const VAULTS = 2
const SESSIONS = 3
/** To derive the key of card hashes, which a gateway does once. */
const HASH_KEY_CALLS = 2

let folder: ReturnType<typeof temporaryFolder>
let service: Service

/** All samples of the metrics by name and labels. */
async function samples(of: Pick<Service, 'manage'> = service): Promise<Map<string, number>> {
  const { text } = await of.manage('/metrics')
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

/** How many HSM calls have been counted, by name, in both outcomes together. */
async function hsmCalls(of: Pick<Service, 'manage'> = service): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const [name, value] of await samples(of)) {
    const call = name.startsWith(`${DURATION}_count`) ? /\bcall="(\w+)"/.exec(name)?.[1] : undefined
    // Calls that nobody has made are shown too.
    if (call !== undefined && value > 0) counts[call] = (counts[call] ?? 0) + value
  }
  return counts
}

/** What grew between two records of the same names, and by how much. */
function growth(before: Record<string, number>, after: Record<string, number>): Record<string, number> {
  const grown = Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)] as const)
  return Object.fromEntries(grown.filter(([, by]) => by !== 0))
}

/** Restarts by cause. */
async function restarts(of: Pick<Service, 'manage'> = service): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const [name, value] of await samples(of)) {
    const cause = /^pinbridge_vault_restarts_total\{cause="(.+)"\}$/.exec(name)?.[1]
    if (cause !== undefined) counts[cause] = value
  }
  return counts
}

const readyz = async () => {
  const { status, json } = await service.manage('/readyz')
  return { status, ...json }
}
const vaults = () => childrenOf(service.ready.pid).vaults
const full = () =>
  until('all vaults', async () => (await readyz()).vaults.length === VAULTS && vaults().length === VAULTS)

/** Asks `count` times, at most `concurrency` at once. */
async function askTimes(of: Service, ask: Ask, count: number, concurrency: number) {
  let left = count
  const callers = Array.from({ length: concurrency }, async () => {
    const outcomes = []
    while (left-- > 0) outcomes.push(await ask(of))
    return outcomes
  })
  return (await Promise.all(callers)).flat()
}

/** PRWs of blocks under zpk-in: each is one call to decipher and one to make the MAC, and shares neither with another. */
function prws(of: Service): Ask {
  const zpkIn = keyValue(of, 'zpk-in')
  let n = 0
  return (running) => {
    const { pan, pin } = cardAndPin(n++)
    const card = { pan, panSequenceNumber: '01' }
    const pinBlock = tdea(zpkIn, iso0Block(pin, pan))
    const from = { key: 'zpk-in', format: 'ISO-0' }
    const body = { pinBlock, from, card, change: { counter: '0003' }, key: 'prw' }
    return observe(running, '/v1/prw/generate', body)
  }
}

describe('readyz and metrics', () => {
  beforeAll(async () => {
    folder = temporaryFolder()
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = VAULTS
      config.hsm.sessions = SESSIONS
      config.limits.hsmMs = 1000
      // Its seals are HSM calls too.
      delete config.audit
    })
    service = await startService(setUp)
  })
  afterAll(async () => {
    await service.stop()
    folder.dispose()
  })

  it('tell of a service that nothing was asked of: its token, its vaults, no restart and no call', async () => {
    const status = await readyz()
    expect(status).toMatchObject({ status: 200, ready: true, queued: 0 })
    expect(status.tokens).toEqual([{ name: expect.any(String), state: 'serving', wanted: VAULTS, serving: VAULTS }])
    const token = status.tokens[0].name as string
    expect(status.vaults).toHaveLength(VAULTS)
    for (const vault of status.vaults) {
      expect(vault).toMatchObject({ token, state: 'ready', inFlight: 0, sessions: { total: SESSIONS } })
      expect(vault.selfTestAgeMs).toBeLessThan(12_000)
    }
    const metrics = await samples()
    expect(metrics.get('pinbridge_ready')).toBe(1)
    expect(metrics.get(`pinbridge_token_state{token="${token}",state="serving"}`)).toBe(1)
    expect(metrics.get(`pinbridge_vaults{token="${token}",state="ready"}`)).toBe(VAULTS)
    expect(metrics.get(`pinbridge_hsm_sessions{token="${token}"}`)).toBe(VAULTS * SESSIONS)
    const testedS = metrics.get(`pinbridge_self_test_success_timestamp_seconds{token="${token}"}`)!
    expect(metrics.get('pinbridge_time_seconds')! - testedS).toBeLessThan(12)
    expect(Object.values(await restarts())).toEqual([0, 0, 0, 0, 0, 0, 0])
    expect(await hsmCalls()).toEqual({})
  })

  it('count every HSM call once, in classes that add up, and every wait in the queue', async () => {
    const before = await samples()
    const calls = await hsmCalls()
    // One at a time, so that none shares its calls with another.
    expect(tally(await askTimes(service, translations(service), 25, 1))).toEqual({ 200: 25 })
    expect(tally(await askTimes(service, prws(service), 60, 8))).toEqual({ 200: 60 })
    expect(tally(await askTimes(service, await pinChanges(service), 40, 8))).toEqual({ 200: 40 })
    const wrong = await observe(service, '/v1/pin-blocks/translate', {
      pinBlock: '00'.repeat(8),
      from: { key: 'zpk-in', format: 'ISO-0' },
      to: { key: 'zpk-out', format: 'ISO-0' },
      card: { pan: cardAndPin(1).pan },
    })
    expect(wrong.code).toBe('ERR_PIN_BLOCK_INVALID')
    const expected = {
      decipherBlocks: 25 + 60 + 1,
      encipherBlocks: 25 + 40,
      generateMac: 60 + HASH_KEY_CALLS,
      openContent: 40,
    }
    await until('the calls', async () => {
      const grown = growth(calls, await hsmCalls())
      return Object.entries(expected).every(([call, count]) => grown[call] === count)
    })
    await sleep(REPORTED_MS)
    expect(growth(calls, await hsmCalls())).toEqual(expected)

    const after = await samples()
    const grown = (name: string) => after.get(name)! - (before.get(name) ?? 0)
    // And the one that asks for the key of card hashes.
    expect(grown('pinbridge_queue_wait_seconds_count')).toBe(25 + 60 + 40 + 1 + 1)
    for (const [name, value] of after) {
      if (name.startsWith(`${DURATION}_count`) && value > 0) {
        expect(after.get(name.replace('_count{', '_bucket{').replace('}', ',le="+Inf"}'))).toBe(value)
        expect(name).toContain('outcome="ok"')
        // All calls together took longer than nothing and not longer than the test.
        expect(after.get(name.replace('_count{', '_sum{'))! / value).toBeGreaterThan(0.000_005)
        expect(after.get(name.replace('_count{', '_sum{'))! / value).toBeLessThan(0.1)
      }
    }
    expect(after.get('pinbridge_requests_total{route="/v1/prw/generate",status="200",code="OK"}')).toBe(60)
  })

  it('show sessions in use under load, never more than there are', async () => {
    const metrics = askTimes(service, prws(service), 400, 16)
    const seen: number[] = []
    let running = true
    void metrics.then(() => (running = false))
    while (running) {
      for (const { sessions } of (await readyz()).vaults) seen.push(sessions.inUse)
      await sleep(50)
    }
    await sleep(REPORTED_MS)
    for (const { sessions } of (await readyz()).vaults) seen.push(sessions.inUse)
    expect(Math.max(...seen)).toBeGreaterThan(0)
    expect(Math.max(...seen)).toBeLessThanOrEqual(SESSIONS)
    await sleep(REPORTED_MS)
    expect((await readyz()).vaults.map(({ sessions }: any) => sessions.inUse)).toEqual([0, 0])
  })

  it('count a vault that was killed as ended, and go on counting from where they were', async () => {
    const [before, calls, causes] = [await samples(), await hsmCalls(), await restarts()]
    process.kill(vaults()[0]!, 'SIGKILL')
    await until('the restart', async () => growth(causes, await restarts())['ended'] === 1)
    await full()
    expect(growth(causes, await restarts())).toEqual({ ended: 1 })
    expect(tally(await askTimes(service, prws(service), 10, 2))).toEqual({ 200: 10 })
    await sleep(REPORTED_MS)
    expect(growth(calls, await hsmCalls())).toEqual({ decipherBlocks: 10, generateMac: 10 })
    const after = await samples()
    const fallen = [...before].filter(
      ([name, value]) => /_(?:total|count|sum|bucket)\b/.test(name) && value > after.get(name)!,
    )
    expect(fallen).toEqual([])
  })

  it('count a vault that was stopped as overdue, once what it held was answered 503', async () => {
    const causes = await restarts()
    process.kill(vaults()[0]!, 'SIGSTOP')
    const outcomes = await askTimes(service, await pinChanges(service), 30, 6)
    expect(Object.keys(tally(outcomes))).toContain('503 ERR_HSM_UNAVAILABLE')
    await until('the restart', async () => growth(causes, await restarts())['overdue'] === 1)
    await full()
    expect(growth(causes, await restarts())).toEqual({ overdue: 1 })
    const lost = outcomes.filter(({ status }) => status === 503).length
    const refused = (await samples()).get(
      'pinbridge_requests_total{route="/v1/pin/set",status="503",code="ERR_HSM_UNAVAILABLE"}',
    )
    expect(refused).toBe(lost)
  })

  it('count the vaults that went with their gateway, and no restart is forgotten by the next one', async () => {
    const causes = await restarts()
    process.kill(childrenOf(service.ready.pid).gateways[0]!, 'SIGKILL')
    const { value } = await until('all vaults', async () => {
      const status = await readyz().catch(() => undefined)
      return status?.vaults.length === VAULTS && status
    })
    expect(value).toMatchObject({ status: 200, tokens: [{ state: 'serving', serving: VAULTS }] })
    expect(growth(causes, await restarts())).toEqual({ 'gateway-lost': VAULTS })
  })

  it('say of a token that is away that it is absent and nothing is ready, and the contrary when it is back', async () => {
    // SoftHSM's own folder stays, so that the module still starts: the token in it is what is gone.
    const tokens = join(dirname(service.setUp.config), 'token')
    const token = join(tokens, readdirSync(tokens)[0]!)
    const away = `${tokens}.away`
    renameSync(token, away)
    // Whether a token is there shows when it is asked.
    const traffic = startTraffic(service, translations(service), { concurrency: 2 })
    const absent = await until('absent', async () => {
      const status = await readyz()
      return status.tokens[0].state === 'absent' && status
    }).finally(traffic.stop)
    expect(absent.value).toMatchObject({ status: 503, ready: false, reason: 'no-vault', vaults: [] })
    expect(absent.value.tokens).toMatchObject([{ state: 'absent', wanted: VAULTS, serving: 0 }])
    const name = absent.value.tokens[0].name as string
    const metrics = await samples()
    expect(metrics.get('pinbridge_ready')).toBe(0)
    expect(metrics.get(`pinbridge_token_state{token="${name}",state="absent"}`)).toBe(1)
    expect(metrics.get(`pinbridge_token_state{token="${name}",state="serving"}`)).toBe(0)
    expect(metrics.get(`pinbridge_vaults{token="${name}",state="ready"}`)).toBe(0)
    expect(metrics.has(`pinbridge_self_test_success_timestamp_seconds{token="${name}"}`)).toBe(false)
    // A vault that leaves because of them has counted the calls that failed.
    const failed = [...metrics].filter(([name]) => name.startsWith(`${DURATION}_count`) && name.includes('"error"'))
    expect(failed.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(0)
    const causes = await restarts()
    expect(causes['start-failed']).toBeGreaterThan(0)
    expect(causes['unhealthy']! + causes['ended']!).toBeGreaterThanOrEqual(VAULTS)

    renameSync(away, token)
    const { ms } = await until('ready', async () => (await readyz()).status === 200)
    console.log(`token back: readyz 200 after ${Math.round(ms)} ms`)
    // The supervisor says so a moment later.
    await until('serving', async () => (await readyz()).tokens[0].state === 'serving')
    await full()
    expect((await readyz()).tokens).toMatchObject([{ state: 'serving', wanted: VAULTS, serving: VAULTS }])
  })

  it('say 503 stopping at once after SIGTERM, while what was accepted is answered', async () => {
    const held = vaults()
    for (const pid of held) process.kill(pid, 'SIGSTOP')
    const answer = translations(service)(service)
    await until('in flight', async () => (await readyz()).vaults.some(({ inFlight }: any) => inFlight > 0))
    const ended = new Promise<number | null>((resolve) => service.process.once('exit', resolve))
    service.process.kill('SIGTERM')
    const { value, ms } = await until('stopping', async () => {
      const status = await readyz()
      return status.status === 503 && status
    })
    expect(value).toMatchObject({ ready: false, reason: 'stopping' })
    expect(ms).toBeLessThan(500)
    for (const pid of held) process.kill(pid, 'SIGCONT')
    expect(await answer).toMatchObject({ status: 200, wrong: false })
    expect(await ended).toBe(0)
  })
})

describe('metrics of vaults that are replaced all the time', () => {
  afterEach(async () => {
    await service.stop()
    folder.dispose()
  })

  it('count every call once, the last ones of each vault too', async () => {
    folder = temporaryFolder()
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 1
      config.hsm.recycle = { ageMs: 1000 }
      delete config.audit
    })
    service = await startService(setUp)
    let asked = 0
    const ask = prws(service)
    while ((await restarts())['recycled']! < 2) {
      expect(tally(await askTimes(service, ask, 10, 2))).toEqual({ 200: 10 })
      asked += 10
      await sleep(50)
    }
    await until('the calls', async () => (await hsmCalls())['generateMac'] === asked + HASH_KEY_CALLS)
    expect(await hsmCalls()).toEqual({ decipherBlocks: asked, generateMac: asked + HASH_KEY_CALLS })
    const { recycled, ...others } = await restarts()
    console.log(`${asked} requests, ${recycled} vaults replaced`)
    expect(Object.values(others)).toEqual([0, 0, 0, 0, 0, 0])
  })
})

describe('readyz with a wrong HSM PIN', () => {
  let launched: Launched
  afterEach(async () => {
    await launched.end()
    folder.dispose()
  })

  it('says of the token that its PIN is refused', async () => {
    folder = temporaryFolder()
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 1
    })
    const pinFile = join(dirname(setUp.config), 'hsm-pin')
    const pin = readFileSync(pinFile, 'utf8')
    writeFileSync(pinFile, `${pin.startsWith('0') ? '1' : '0'}${pin.slice(1)}`)
    launched = launch(setUp)
    const port = await launched.managementPort()
    const read = async (): Promise<any> => {
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`)
      return { status: answer.status, ...((await answer.json()) as object) }
    }
    const { value } = await until('pin-refused', async () => {
      const status = await read()
      return status.tokens[0]?.state === 'pin-refused' && status
    })
    expect(value).toMatchObject({ status: 503, reason: 'no-vault', tokens: [{ wanted: 1, serving: 0 }] })
    writeFileSync(pinFile, pin)
    await until('ready', async () => (await read()).status === 200)
    await until('serving', async () => (await read()).tokens[0].state === 'serving')
    expect((await read()).tokens).toMatchObject([{ serving: 1 }])
  })
})

describe.runIf(process.env['PINBRIDGE_FULL'] === '1')('an idle vault that hangs', () => {
  afterEach(async () => {
    await service.stop()
    folder.dispose()
  })

  it('makes the service not ready, and is replaced, although no request finds it', { timeout: 90_000 }, async () => {
    folder = temporaryFolder()
    service = await startService(
      await makeSetUp(folder.path, (config) => {
        config.hsm.vaults = 1
      }),
    )
    const [victim] = vaults()
    process.kill(victim!, 'SIGSTOP')
    const { ms } = await until('503', async () => (await readyz()).status === 503, 50_000)
    const back = await until('200', async () => (await readyz()).status === 200)
    console.log(`503 after ${Math.round(ms)} ms, 200 again ${Math.round(back.ms)} ms later`)
    expect(ms).toBeGreaterThan(20_000)
    expect(vaults()).not.toContain(victim)
    expect(await restarts()).toMatchObject({ overdue: 1, ended: 0 })
  })
})
