import { execFileSync } from 'node:child_process'
import { cpSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { childrenOf, recordsOf, until } from '../processes/processes.ts'
import { tally } from '../processes/traffic.ts'
import {
  everyOperation,
  expectHealthyEnd,
  expectRightOr503,
  firstGoodAnswerMs,
  isReady,
  makeFailingHsm,
  serveOn,
  underTraffic,
  type FailingHsm,
  type FailingService,
} from './failing-hsm.ts'
import { tokenFolder } from './second-hand.ts'

/** Longer than the first pauses between starts that fail. */
const AWAY_MS = 2500

describe('a token that was lost', () => {
  let hsm: FailingHsm
  let failing: FailingService

  beforeAll(async () => {
    hsm = await makeFailingHsm()
  })
  beforeEach(async () => {
    failing = await serveOn(hsm)
  })
  afterEach(() => failing.stop())
  afterAll(() => hsm.dispose())

  /** Loses the token under traffic and brings it back; the service must tell the truth in between, and try no PIN for nothing. */
  async function loseAndRestore(lose: () => void, restore: () => void): Promise<void> {
    let backAt = 0
    let [logins, starts] = [0, 0]
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      const before = { logins: failing.shim.calls('C_Login'), starts: failing.shim.calls('C_Initialize') }
      lose()
      await until('not ready', async () => !(await isReady(failing.service)))
      await sleep(AWAY_MS)
      expect(await isReady(failing.service)).toBe(false)
      expect((await failing.service.manage('/healthz')).status).toBe(200)
      logins = failing.shim.calls('C_Login') - before.logins
      starts = failing.shim.calls('C_Initialize') - before.starts
      restore()
      backAt = performance.now()
      await failing.recovered()
    })
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
    // Doubling from 100 ms, there is no room for more.
    expect(starts).toBeGreaterThan(0)
    expect(starts).toBeLessThanOrEqual(9)
    expect(childrenOf(failing.service.ready.pid).gateways).toEqual([failing.service.ready.gateway])
    const firstMs = Math.round(firstGoodAnswerMs(outcomes, backAt))
    console.log(
      `away for ${AWAY_MS} ms, ${starts} starts and ${logins} logins meanwhile: first good answer ${firstMs} ms after it was back;`,
      tally(outcomes),
    )
  }

  it('is missed when its folder is gone, and used again when it is brought back', async () => {
    const folder = tokenFolder(failing.setUp)
    await loseAndRestore(
      () => renameSync(folder, `${folder}.away`),
      () => renameSync(`${folder}.away`, folder),
    )
  })

  it('is not served from when it was initialised anew under its old name and PIN, until its keys are restored', async () => {
    const folder = tokenFolder(failing.setUp)
    const { hsm: settings } = parse(readFileSync(failing.setUp.config, 'utf8'))
    const pin = readFileSync(settings.pinFile, 'utf8').trimEnd()
    const softHsm = (...args: string[]) =>
      execFileSync('softhsm2-util', args, {
        env: { ...process.env, SOFTHSM2_CONF: settings.environment.SOFTHSM2_CONF },
      })
    const backup = join(failing.folder, 'backup')
    cpSync(folder, backup, { recursive: true })
    await loseAndRestore(
      () => {
        softHsm('--delete-token', '--token', settings.tokenLabel)
        softHsm('--init-token', '--free', '--label', settings.tokenLabel, '--so-pin', pin, '--pin', pin)
      },
      () => {
        rmSync(folder, { recursive: true })
        cpSync(backup, folder, { recursive: true })
      },
    )
    const log = recordsOf(failing.service.output())
    expect(log.some(({ reason }) => reason === 'keys-unusable')).toBe(true)
  })
})
