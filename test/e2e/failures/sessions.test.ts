import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../processes/processes.ts'
import { tally } from '../processes/traffic.ts'
import {
  CALLERS,
  everyOperation,
  expectHealthyEnd,
  expectRightOr503,
  firstGoodAnswerMs,
  isReady,
  makeFailingHsm,
  underTraffic,
  serveOn,
  type FailingHsm,
  type FailingService,
} from './failing-hsm.ts'

/** One of each kind that a sick token gives; the last has no name in any version. */
const RETURN_VALUES = [
  0x02, // CKR_HOST_MEMORY
  0x05, // CKR_GENERAL_ERROR
  0x06, // CKR_FUNCTION_FAILED
  0x30, // CKR_DEVICE_ERROR
  0x32, // CKR_DEVICE_REMOVED
  0x91, // CKR_OPERATION_NOT_INITIALIZED
  0xb0, // CKR_SESSION_CLOSED
  0x101, // CKR_USER_NOT_LOGGED_IN
  0x190, // CKR_CRYPTOKI_NOT_INITIALIZED
  0x80000205,
]

/** The calls of the work. */
const CALLS = [
  'C_DecryptInit',
  'C_Decrypt',
  'C_EncryptInit',
  'C_Encrypt',
  'C_SignInit',
  'C_Sign',
  'C_DeriveKey',
] as const

describe('an HSM that ends what was begun', () => {
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

  it.each([
    ['every session is closed underneath', 'close-sessions'],
    ['the login ends underneath', 'log-out'],
  ] as const)('costs the requests of one vault when %s, and a new vault is there by itself', async (_what, kind) => {
    let since = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      for (const victim of failing.vaults()) {
        since = performance.now()
        const fault = failing.shim.inject({ function: 'C_EncryptInit', kind, process: victim, times: 1 })
        const ms = await failing.recovered([victim])
        expect(fault.hits()).toBe(1)
        fault.end()
        console.log(`${kind} in one of two vaults: two ready again ${Math.round(ms)} ms later`)
      }
    })
    const lost = expectRightOr503(outcomes)
    console.log(kind, tally(outcomes))
    expect(lost.length).toBeGreaterThan(0)
    // A vault has in flight what all callers asked of it, and no caller asks it twice.
    expect(lost.length).toBeLessThanOrEqual(2 * CALLERS)
    // The other vault goes on.
    expect(firstGoodAnswerMs(outcomes, since)).toBeLessThan(1500)
    expectHealthyEnd(outcomes)
  })

  it('answers 503 and nothing worse to any return value, whichever call gives it', async () => {
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      for (const value of RETURN_VALUES) {
        for (const name of CALLS) {
          const fault = failing.shim.inject({ function: name, kind: 'return', value, times: 1 })
          await until('the fault to strike', () => fault.hits() === 1)
          fault.end()
          // The known answers that follow are to be right.
          await sleep(60)
        }
      }
    })
    const lost = expectRightOr503(outcomes)
    console.log(`${RETURN_VALUES.length} return values from ${CALLS.length} calls each:`, tally(outcomes))
    // Translations that waited together share a call.
    expect(lost.length).toBeGreaterThanOrEqual(RETURN_VALUES.length)
    expectHealthyEnd(outcomes)
  })

  it('is found sick when every call fails, is not used, and comes back by itself', async () => {
    // One that has lost no vault before waits for none.
    await failing.stop()
    failing = await serveOn(hsm)
    let backAt = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      const fault = failing.shim.inject({ function: '*', kind: 'return', value: 0x30 })
      await until('not ready', async () => !(await isReady(failing.service)))
      await sleep(1500)
      fault.end()
      backAt = performance.now()
      await failing.recovered()
    })
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
    console.log(
      `every call CKR_DEVICE_ERROR: first good answer ${Math.round(firstGoodAnswerMs(outcomes, backAt))} ms after the end of it;`,
      tally(outcomes),
    )
  })
})
