import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { iso0Block } from '../../d1/simulator.ts'
import type { Fault } from '../../support/shim.ts'
import { cardAndPin, keyValue, observe, tdea, type Outcome } from '../processes/traffic.ts'
import { makeFailingHsm, serveOn, type FailingHsm, type FailingService } from './failing-hsm.ts'

/** With two healthy vaults and one request, the second vault would be there to do it again. */
describe('a request that fails', () => {
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

  const { pan, pin } = cardAndPin(1)
  const block = () => tdea(keyValue(failing.service, 'zpk-in'), iso0Block(pin, pan))
  const from = { key: 'zpk-in', format: 'ISO-0' }
  const translate = () =>
    observe(failing.service, '/v1/pin-blocks/translate', {
      pinBlock: block(),
      from,
      to: { key: 'zpk-out', format: 'ISO-3' },
      card: { pan },
    })
  // Its PRW takes a random number of the HSM's, which makes it another one each time.
  const generatePrw = () =>
    observe(failing.service, '/v1/prw/generate', {
      pinBlock: block(),
      from,
      card: { pan, panSequenceNumber: '01', expiry: '3012' },
      key: 'prw-aes',
    })

  it.each<[string, 'C_Decrypt' | 'C_GenerateRandom', Omit<Fault, 'function'>, () => Promise<Outcome>]>([
    ['its vault crashes', 'C_Decrypt', { kind: 'crash', times: 1 }, translate],
    ['its vault hangs', 'C_Decrypt', { kind: 'hang', times: 1 }, translate],
    ['the HSM fails', 'C_GenerateRandom', { kind: 'return', value: 0x30, times: 1 }, generatePrw],
    ['the HSM is busy', 'C_GenerateRandom', { kind: 'return', value: 0x02, times: 1 }, generatePrw],
  ])('because %s is not done again', async (_name, function_, fault, ask) => {
    expect((await ask()).status).toBe(200)
    const before = failing.shim.calls(function_)
    const active = failing.shim.inject({ function: function_, ...fault })
    const outcome = await ask()
    const after = failing.shim.calls(function_)
    await sleep(50)
    expect(outcome.status).toBe(503)
    expect(active.hits()).toBe(1)
    expect(after - before).toBe(1)
    active.end()
    await failing.recovered()
    expect((await ask()).status).toBe(200)
  })
})
