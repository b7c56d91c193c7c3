import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, isAlive, recordsOf, until } from './processes.ts'
import { pinChanges, startTraffic, tally, translations, type Ask } from './traffic.ts'

describe('vaults that are recycled under traffic', () => {
  let folder: ReturnType<typeof temporaryFolder>
  let service: Service

  afterEach(async () => {
    await service.stop()
    folder.dispose()
  })

  async function start(recycle: object, vaults = 2): Promise<void> {
    folder = temporaryFolder()
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = vaults
      config.hsm.recycle = recycle
    })
    service = await startService(setUp)
  }

  const replacements = () => recordsOf(service.output()).filter(({ msg }) => msg === 'replacing a vault').length

  /** Runs traffic until vaults were replaced `times`; gives the most vaults that lived at one moment. */
  async function recycle(ask: Ask, times: number, withinMs: number) {
    const traffic = startTraffic(service, ask)
    const firstVaults = childrenOf(service.ready.pid).vaults
    let most = 0
    await until(
      `${times} replacements`,
      async () => {
        most = Math.max(most, childrenOf(service.ready.pid).vaults.length)
        await sleep(100)
        return replacements() >= times
      },
      withinMs,
    )
    await until('the first vaults to have gone', () => !firstVaults.some(isAlive), 10_000)
    const outcomes = await traffic.stop()
    console.log(`${replacements()} recycles, at most ${most} vaults at a time;`, tally(outcomes))
    return { outcomes, most }
  }

  it('fails no request when each vault is replaced after 50 session objects, and takes none of it for a failed start', async () => {
    await start({ sessionObjects: 50 })
    const { outcomes, most } = await recycle(await pinChanges(service), 8, 30_000)
    expect(tally(outcomes)).toEqual({ 200: outcomes.length })
    expect(outcomes.length).toBeGreaterThan(200)
    expect(most).toBeLessThanOrEqual(5)
    expect(service.output()).not.toContain('a vault ended')

    // Past the longest back-off, so that no start is under way any more: the next one must be at once.
    await sleep(6500)
    const [victim] = childrenOf(service.ready.pid).vaults
    process.kill(victim!, 'SIGKILL')
    const { ms } = await until('two ready vaults', async () => {
      const { vaults } = childrenOf(service.ready.pid)
      return (
        vaults.length === 2 && !vaults.includes(victim!) && (await service.manage('/readyz')).json.vaults.length === 2
      )
    })
    console.log(`killed after eight recycles: two ready vaults after ${Math.round(ms)} ms`)
    expect(ms).toBeLessThan(2000)
  })

  it('fails no request and does not pile up vaults when they are old before the last of their successors has started', async () => {
    await start({ ageMs: 1000 }, 6)
    const { outcomes, most } = await recycle(translations(service), 12, 40_000)
    expect(tally(outcomes)).toEqual({ 200: outcomes.length })
    // Those that serve, one that starts, and those that are on their way out.
    expect(most).toBeLessThanOrEqual(6 + 3)
  })
})
