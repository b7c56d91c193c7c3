import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, until } from './processes.ts'
import { pinChanges, tally } from './traffic.ts'

const HSM_MS = 1500
const QUEUE = 5

describe('more requests than the vaults can take', () => {
  const folder = temporaryFolder()
  let service: Service

  beforeAll(async () => {
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 2
      Object.assign(config.limits, { hsmMs: HSM_MS, queue: QUEUE, inFlightPerVault: 1 })
    })
    service = await startService(setUp)
  })
  afterAll(async () => {
    await service.stop()
    folder.dispose()
  })

  it('answers those beyond the queue 503 ERR_HSM_BUSY with Retry-After at once, and the others after the deadline', async () => {
    // PIN changes share no message, so that what a vault has in hand is one request.
    const ask = await pinChanges(service)
    // Connections are made beforehand, so that a handshake is not taken for waiting.
    await Promise.all(Array.from({ length: 6 }, () => ask(service)))
    const { vaults } = childrenOf(service.ready.pid)
    for (const pid of vaults) process.kill(pid, 'SIGSTOP')
    const outcomes = await Promise.all(Array.from({ length: 30 }, () => ask(service)))
    console.log('30 requests, 2 in hand, 5 in the queue:', tally(outcomes))
    const busy = outcomes.filter(({ ms }) => ms < HSM_MS / 2)
    const others = outcomes.filter(({ ms }) => ms >= HSM_MS / 2)
    expect(busy).toHaveLength(30 - 2 - QUEUE)
    expect(
      busy.every(({ status, code, retryAfter }) => status === 503 && code === 'ERR_HSM_BUSY' && retryAfter === '1'),
    ).toBe(true)
    // What waits in the queue meets its own deadline, or that of the vault before it, whichever comes first.
    expect(others).toHaveLength(2 + QUEUE)
    expect(others.every(({ status }) => status === 503)).toBe(true)
    expect(others.filter(({ code }) => code === 'ERR_HSM_UNAVAILABLE').length).toBeGreaterThanOrEqual(2)
    expect(Math.max(...others.map(({ ms }) => ms))).toBeLessThan(HSM_MS + 1000)
    await until('two new vaults', async () => {
      const { json } = await service.manage('/readyz')
      return json.vaults.length === 2 && !childrenOf(service.ready.pid).vaults.some((pid) => vaults.includes(pid))
    })
    expect((await ask(service)).status).toBe(200)
  })

  it('loses no queued request while the vaults keep up', async () => {
    const ask = await pinChanges(service)
    const outcomes = await Promise.all(Array.from({ length: QUEUE + 2 }, () => ask(service)))
    expect(tally(outcomes)).toEqual({ 200: QUEUE + 2 })
  })
})
