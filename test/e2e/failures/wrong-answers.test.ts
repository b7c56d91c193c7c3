import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { iso0Block } from '../../d1/simulator.ts'
import type { Fault } from '../../support/shim.ts'
import { recordsOf, until } from '../processes/processes.ts'
import { cardAndPin, keyValue, tally, tdea, type Ask } from '../processes/traffic.ts'
import {
  everyOperation,
  expectHealthyEnd,
  expectRightOr503,
  firstGoodAnswerMs,
  isReady,
  makeFailingHsm,
  prwsMade,
  underTraffic,
  serveOn,
  type FailingHsm,
  type FailingService,
} from './failing-hsm.ts'

type Spoilt = Pick<Fault, 'function' | 'kind' | 'value'>

/** Answers that are wrong: nothing at all, or what the call before was answered, of either direction; or wrong at one end. */
const WRONG: Spoilt[] = [
  { function: 'C_Decrypt', kind: 'constant', value: 0 },
  { function: 'C_Encrypt', kind: 'constant', value: 0 },
  { function: 'C_Decrypt', kind: 'stale' },
  { function: 'C_Encrypt', kind: 'stale' },
  { function: 'C_Encrypt', kind: 'flip', value: -1 },
  { function: 'C_Encrypt', kind: 'shorten', value: 8 },
]

/** Answers that make a good request look bad, a JWE that does not open: a wrong Z, and a wrong result of the raw RSA operation. */
const REFUSALS: Spoilt[] = [
  { function: 'C_GetAttributeValue', kind: 'flip', value: 5 },
  { function: 'C_Decrypt', kind: 'flip', value: 100 },
]

describe('an HSM that says CKR_OK and gives a wrong answer', () => {
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

  /** One vault's HSM errs until that vault is replaced. */
  async function err(spoilt: Spoilt, ask?: Ask): Promise<void> {
    const victim = failing.vaults()[0]!
    const asked = ask ?? (await everyOperation(failing.service))
    const outcomes = await underTraffic(failing.service, asked, async () => {
      const fault = failing.shim.inject({ ...spoilt, process: victim })
      await until('the fault to strike', () => fault.hits() > 0)
      await failing.recovered([victim])
      fault.end()
    })
    console.log(JSON.stringify(spoilt), tally(outcomes))
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
  }

  it(
    'gives nobody a wrong answer: each call carries a known one, and the vault goes',
    { timeout: 120_000 },
    async () => {
      for (const spoilt of WRONG) await err(spoilt)
      // Without one that verifies: that would find the vault out first.
      await err({ function: 'C_Sign', kind: 'flip', value: 0 }, prwsMade(failing.service))
    },
  )

  it('refuses no good request: a no is believed once the key has given its known answer', async () => {
    for (const spoilt of REFUSALS) await err(spoilt)
  })

  it('does not serve again before every key gives its known answer', async () => {
    let backAt = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      // The last byte of the last block: what every call's own known answer stands in.
      const fault = failing.shim.inject({ function: 'C_Encrypt', kind: 'flip', value: -1 })
      await until('not ready', async () => !(await isReady(failing.service)))
      const startsBefore = failing.shim.calls('C_Initialize')
      await until('a start that fails', () => failing.shim.calls('C_Initialize') > startsBefore)
      await sleep(1000)
      expect(await isReady(failing.service)).toBe(false)
      fault.end()
      backAt = performance.now()
      await failing.recovered()
    })
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
    const log = recordsOf(failing.service.output())
    expect(log.some(({ reason }) => reason === 'self-test-failed')).toBe(true)
    console.log(
      `wrong for a while: first good answer ${Math.round(firstGoodAnswerMs(outcomes, backAt))} ms after the end of it;`,
      tally(outcomes),
    )
  })

  it('draws no filler twice from an HSM whose random numbers are always the same', async () => {
    failing.shim.inject({ function: 'C_GenerateRandom', kind: 'constant', value: 0xaa })
    const { pan, pin } = cardAndPin(1)
    const body = {
      pinBlock: tdea(keyValue(failing.service, 'zpk-in'), iso0Block(pin, pan)),
      from: { key: 'zpk-in', format: 'ISO-0' },
      to: { key: 'zpk-out', format: 'ISO-3' },
      card: { pan },
    }
    const blocks = await Promise.all(
      Array.from(
        { length: 10 },
        async () => (await failing.service.call('POST', '/v1/pin-blocks/translate', body)).json.pinBlock,
      ),
    )
    expect(new Set(blocks).size).toBe(10)
  })
})
