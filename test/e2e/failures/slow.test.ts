import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { editConfig } from '../../support/service.ts'
import { recordsOf } from '../processes/processes.ts'
import { tally, type Outcome } from '../processes/traffic.ts'
import {
  everyOperation,
  expectHealthyEnd,
  expectRightOr503,
  HSM_MS,
  makeFailingHsm,
  serveOn,
  underTraffic,
  type FailingHsm,
  type FailingService,
} from './failing-hsm.ts'

const FULL = Boolean(process.env['PINBRIDGE_FULL'])

/** The time of the middle request and of the slowest of a hundred. */
function times(outcomes: readonly Outcome[]): string {
  const sorted = outcomes.map(({ ms }) => ms).sort((a, b) => a - b)
  const at = (share: number) => Math.round(sorted[Math.floor(share * (sorted.length - 1))]!)
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`
}

describe('an HSM that is slow', () => {
  let hsm: FailingHsm
  let failing: FailingService | undefined

  beforeAll(async () => {
    hsm = await makeFailingHsm((config) => {
      config.limits.hsmMs = 5 * HSM_MS
    })
  })
  afterEach(() => failing?.stop())
  afterAll(() => hsm.dispose())

  it.each(FULL ? [3, 50] : [3])(
    'by %d ms a call, from the start: every request is answered, and no vault is lost',
    async (callMs) => {
      // A vault makes some hundred calls before it serves.
      editConfig(hsm.setUp.config, (config) => {
        config.hsm.vaults = callMs > 10 ? 1 : 2
      })
      hsm.shim.inject({ function: '*', kind: 'delay', value: callMs * 1000 })
      const started = performance.now()
      failing = await serveOn(hsm)
      const startMs = performance.now() - started
      const { service, vaults } = failing
      const before = vaults()
      const outcomes = await underTraffic(service, await everyOperation(service), () => sleep(3000))
      console.log(`${callMs} ms a call: ready after ${Math.round(startMs)} ms, ${times(outcomes)};`, tally(outcomes))
      expect(tally(outcomes)).toEqual({ 200: outcomes.length })
      expect(vaults()).toEqual(before)
      // Found out at the start: what takes so long must not stop the rest of the process.
      expect(recordsOf(service.output()).find(({ msg }) => msg === 'HSM open')).toMatchObject({
        cipher: 'async',
        rsa: 'async',
      })
    },
    120_000,
  )

  it('by 50 ms a call, all at once: every answer is right or a 503, and it is as it was once that is over', async () => {
    failing = await serveOn(hsm)
    const { service, shim } = failing
    const outcomes = await underTraffic(service, await everyOperation(service), async () => {
      const slow = shim.inject({ function: '*', kind: 'delay', value: 50_000 })
      await sleep(4000)
      slow.end()
      await sleep(1000)
    })
    console.log(`50 ms a call for 4 s: ${times(outcomes)};`, tally(outcomes))
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
  })
})
