import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { pinbridge } from '../../support/service.ts'
import { launch, until, type Launched } from '../processes/processes.ts'
import { makeFailingHsm, type FailingHsm } from './failing-hsm.ts'

const PIN_INCORRECT = 0xa0
const USER_PIN_COUNT_LOW = 0x10000
const USER_PIN_FINAL_TRY = 0x20000

/** Longer than any pause between two starts that fail, so that a second try would be seen. */
const LONG_MS = 2000

describe('logins', () => {
  let failing: FailingHsm
  let running: Launched | undefined

  beforeAll(async () => {
    failing = await makeFailingHsm()
  })
  afterEach(() => running?.end())
  afterAll(() => failing.dispose())

  const logins = () => failing.shim.calls('C_Login')
  /** Starts the service and waits until its vaults have had time for more than one try. */
  const start = async () => {
    await running?.end()
    running = launch(failing.setUp)
    const port = await running.managementPort()
    await sleep(LONG_MS)
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
    return async () => (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200
  }

  it('are not tried at all while the token says that one try is left; it serves by itself once somebody has seen to that', async () => {
    failing.shim.setTokenFlags(USER_PIN_FINAL_TRY)
    const isReady = await start()
    expect(await isReady()).toBe(false)
    expect(running?.log().some(({ reason }) => reason === 'pin-tries-low')).toBe(true)
    expect(logins()).toBe(0)
    failing.shim.setTokenFlags(0)
    const { ms } = await until('ready', isReady)
    console.log(`one try left no more: ready after ${Math.round(ms)} ms`)
    // One of each of the two vaults.
    await until('both vaults', () => logins() === 2)
  })

  it('are tried once in all when the PIN is refused, over vaults, restarts and commands, until the PIN file changes', async () => {
    const before = logins()
    const refusal = failing.shim.inject({ function: 'C_Login', kind: 'return', value: PIN_INCORRECT })
    const isReady = await start()
    expect(await isReady()).toBe(false)
    expect(logins() - before).toBe(1)
    // A token that counts says so, and leaves no doubt that this PIN costs tries.
    failing.shim.setTokenFlags(USER_PIN_COUNT_LOW)
    const isReadyAgain = await start()
    expect((await pinbridge(['doctor', '--config', failing.setUp.config])).code).not.toBe(0)
    expect(logins() - before).toBe(1)
    refusal.end()
    const pinFile = join(dirname(failing.setUp.config), 'hsm-pin')
    writeFileSync(pinFile, readFileSync(pinFile))
    const { ms } = await until('ready', isReadyAgain)
    console.log(`PIN file written again: ready after ${Math.round(ms)} ms`)
    await until('both vaults', () => logins() - before === 3)
  })
})
