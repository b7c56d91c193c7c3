import { existsSync, readdirSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, isAlive, recordsOf, socketsOf, until } from './processes.ts'
import { startTraffic, tally, translations } from './traffic.ts'

const folder = temporaryFolder()
let setUp: Awaited<ReturnType<typeof makeSetUp>>

beforeAll(async () => {
  setUp = await makeSetUp(folder.path, (config) => {
    config.hsm.vaults = 2
    config.limits.hsmMs = 1000
    config.limits.shutdownMs = 5000
  })
})
afterAll(() => folder.dispose())

/** The folder of the gateway's private socket. */
function bridgeFolder(service: Service): string {
  const { gateways } = childrenOf(service.ready.pid)
  const path = socketsOf(gateways[0]!)
    .listening.find((name) => name.startsWith('unix '))!
    .slice('unix '.length)
  return dirname(path)
}

describe('a gateway that hangs', () => {
  it('is killed after ten silent seconds, and another takes its ports', async () => {
    const service = await startService(setUp)
    try {
      process.kill(service.ready.gateway, 'SIGSTOP')
      await until('another gateway', () => {
        const { gateways } = childrenOf(service.ready.pid)
        return gateways.length === 1 && gateways[0] !== service.ready.gateway
      })
      await until('a ready vault behind it', async () => {
        const answer = await service.manage('/readyz').catch(() => undefined)
        return answer?.status === 200
      })
    } finally {
      expect(await service.stop()).toBe(0)
    }
  })
})

describe('a gateway that is killed', () => {
  it('comes back on the same ports with new vaults, and the service goes on', async () => {
    const service = await startService(setUp)
    try {
      const traffic = startTraffic(service, translations(service))
      await sleep(300)
      const before = childrenOf(service.ready.pid)
      const killedAt = performance.now()
      process.kill(service.ready.gateway, 'SIGKILL')
      const { ms } = await until('two ready vaults behind the same management port', async () => {
        const answer = await service.manage('/readyz').catch(() => undefined)
        return (
          answer?.status === 200 && answer.json.vaults.length === 2 && answer.json.vaults.every((v: any) => v.id > 2)
        )
      })
      await sleep(300)
      const after = childrenOf(service.ready.pid)
      const recoveredAt = performance.now()
      await sleep(500)
      const outcomes = await traffic.stop()
      console.log(`gateway killed, two ready vaults after ${Math.round(ms)} ms;`, tally(outcomes))

      expect(after.gateways).toHaveLength(1)
      expect(after.gateways).not.toEqual(before.gateways)
      expect(readdirSync(bridgeFolder(service))).toHaveLength(1)
      expect(after.vaults).toHaveLength(2)
      expect(after.vaults.some((pid) => before.vaults.includes(pid))).toBe(false)
      const foreign = Object.keys(tally(outcomes)).filter(
        (name) => !['200', 'no answer', '503 ERR_HSM_UNAVAILABLE'].includes(name),
      )
      expect(foreign).toEqual([])
      const late = outcomes.filter(({ startedAt }) => startedAt > recoveredAt)
      expect(late.length).toBeGreaterThan(20)
      expect(tally(late)).toEqual({ 200: late.length })
      const early = outcomes.filter(({ startedAt, ms }) => startedAt + ms < killedAt)
      expect(early.filter(({ status }) => status !== 200)).toEqual([])
      const { url, management } = service.ready
      const listening = recordsOf(service.output()).filter(({ msg }) => msg === 'listening')
      expect(listening).toHaveLength(2)
      for (const { port, managementPort } of listening) {
        expect([url, management]).toEqual([`https://127.0.0.1:${port}`, `http://127.0.0.1:${managementPort}`])
      }
      expect(
        service
          .output()
          .split('\n')
          .filter((line) => line.startsWith('{"event":"ready"')),
      ).toHaveLength(1)
    } finally {
      await service.stop()
    }
  })
})

describe('a supervisor that is killed', () => {
  it('takes gateway and vaults with it within two seconds: they end by themselves', async () => {
    const service = await startService(setUp)
    const traffic = startTraffic(service, translations(service), { concurrency: 2 })
    await sleep(200)
    const { gateways, vaults } = childrenOf(service.ready.pid)
    expect([gateways.length, vaults.length]).toEqual([1, 2])
    process.kill(service.ready.pid, 'SIGKILL')
    const { ms } = await until('no process left', () => ![...gateways, ...vaults].some(isAlive), 2000)
    console.log(`supervisor killed, no process left after ${Math.round(ms)} ms`)
    const outcomes = await traffic.stop()
    expect(outcomes.some(({ status }) => status === 'hung')).toBe(false)
    await service.stop()
  })
})

describe('a SIGTERM to the whole process group, as Ctrl-C and service managers send it', () => {
  it('lets what is under way be answered', async () => {
    const service = await startService(setUp)
    const traffic = startTraffic(service, translations(service))
    await sleep(300)
    const { gateways, vaults } = childrenOf(service.ready.pid)
    for (const pid of [...gateways, ...vaults, service.ready.pid]) process.kill(pid, 'SIGTERM')
    const ended = new Promise((resolve) => service.process.once('exit', resolve))
    expect(await ended).toBe(0)
    await traffic.stop()
    const statuses = recordsOf(service.output()).flatMap(({ event, status }) => (event === 'request' ? [status] : []))
    expect(statuses.length).toBeGreaterThan(5)
    expect(new Set(statuses)).toEqual(new Set([200]))
    await service.stop()
  })
})

describe('SIGTERM under load', () => {
  it('answers everything that was accepted, ends with exit code 0, and leaves neither a process nor a folder', async () => {
    const service = await startService(setUp)
    const children = childrenOf(service.ready.pid)
    const bridge = bridgeFolder(service)
    expect(bridge.startsWith(tmpdir())).toBe(true)
    expect(existsSync(bridge)).toBe(true)

    const traffic = startTraffic(service, translations(service), { concurrency: 16, pauseMs: 0 })
    await sleep(500)
    const toldAt = performance.now()
    const ended = service.process.exitCode === null && new Promise((resolve) => service.process.once('exit', resolve))
    // Its last words are there when every process has let go of the pipe, and not when it has ended.
    const silent = new Promise((resolve) => service.process.once('close', resolve))
    service.process.kill('SIGTERM')
    await ended
    const tookMs = performance.now() - toldAt
    await silent
    const outcomes = await traffic.stop()
    // Accepted is what the gateway has read: each such request stands in its log.
    const logged = new Map(recordsOf(service.output()).map((record) => [record.correlationId, record.status]))
    const accepted = outcomes.filter(({ id }) => logged.has(id))
    console.log(
      `SIGTERM under load: ended after ${Math.round(tookMs)} ms; accepted`,
      tally(accepted),
      'all',
      tally(outcomes),
    )

    expect(service.process.exitCode).toBe(0)
    expect(tally(accepted)).toEqual({ 200: accepted.length })
    expect(accepted.filter(({ id }) => logged.get(id) !== 200)).toEqual([])
    expect(tally(outcomes.filter(({ id }) => !logged.has(id)))['200']).toBeUndefined()
    expect(Object.keys(tally(outcomes)).filter((name) => name !== '200' && name !== 'no answer')).toEqual([])
    expect(accepted.filter(({ startedAt, ms }) => startedAt + ms > toldAt).length).toBeGreaterThan(0)
    expect(tookMs).toBeLessThan(5000)
    await until('no process left', () => ![...children.gateways, ...children.vaults].some(isAlive), 2000)
    expect(existsSync(bridge)).toBe(false)
    await service.stop()
  })

  it('ends with exit code 0 although a vault hangs, after the deadlines', async () => {
    const service = await startService(setUp)
    const children = childrenOf(service.ready.pid)
    process.kill(children.vaults[0]!, 'SIGSTOP')
    const toldAt = performance.now()
    expect(await service.stop()).toBe(0)
    const tookMs = performance.now() - toldAt
    console.log(`SIGTERM with a stopped idle vault: ended after ${Math.round(tookMs)} ms`)
    expect(tookMs).toBeLessThan(5000 + 1500)
    await until('no process left', () => ![...children.gateways, ...children.vaults].some(isAlive), 2000)
  })

  it('keeps the bridge socket in a folder that only its owner enters', async () => {
    const service = await startService(setUp)
    const bridge = bridgeFolder(service)
    expect(statSync(bridge).mode & 0o777).toBe(0o700)
    expect(await service.stop('SIGINT')).toBe(0)
    expect(existsSync(bridge)).toBe(false)
  })
})
