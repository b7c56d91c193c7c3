import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { recordsOf, until } from '../processes/processes.ts'
import { keyValue, tally, translations } from '../processes/traffic.ts'
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
import { overwrite, SecondHand } from './second-hand.ts'

const OTHER_VALUE = '0123456789ABCDEFFEDCBA9876543210'

describe('a key that is not what it was', () => {
  let hsm: FailingHsm
  let failing: FailingService
  /** Where the objects of keys lie that are going to be written over. */
  const files: Record<string, string> = {}

  beforeAll(async () => {
    hsm = await makeFailingHsm()
    SecondHand.use(hsm.setUp, (hand) => {
      for (const key of ['zpk-in', 'zpk-out']) files[key] = hand.remake(`${key}.v1`, keyValue(hsm, key))
    })
  })
  beforeEach(async () => {
    failing = await serveOn(hsm)
  })
  afterEach(() => failing.stop())
  afterAll(() => hsm.dispose())

  const log = () => recordsOf(failing.service.output())
  const notReady = () => until('not ready', async () => !(await isReady(failing.service)))

  it.each(['zpk-in', 'zpk-out'])(
    'is not used once more when %s changes under handles that stay as they are',
    async (key) => {
      const [id, file] = [`${key}.v1`, files[key]!]
      const { other, right } = SecondHand.use(failing.setUp, (hand) => ({
        other: hand.contentWith(id, OTHER_VALUE),
        right: readFileSync(file),
      }))
      let backAt = 0
      const outcomes = await underTraffic(failing.service, translations(failing.service), async () => {
        overwrite(file, other)
        await notReady()
        await sleep(500)
        overwrite(file, right)
        backAt = performance.now()
        await failing.recovered()
      })
      console.log(
        `${key} written over: first good answer ${Math.round(firstGoodAnswerMs(outcomes, backAt))} ms after it was back;`,
        tally(outcomes),
      )
      expectRightOr503(outcomes)
      expectHealthyEnd(outcomes)
    },
  )

  it('is missed at once when its object is destroyed: not ready, no answer but 503, until the same key is back', async () => {
    const id = 'zpk-in.v1'
    const description = SecondHand.use(failing.setUp, (hand) => hand.describe(id))
    let backAt = 0
    const outcomes = await underTraffic(failing.service, translations(failing.service), async () => {
      const destroyed = failing.shim.inject({ function: 'C_DecryptInit', kind: 'destroy-key', times: 1 })
      await notReady()
      destroyed.end()
      await sleep(1500)
      expect(await isReady(failing.service)).toBe(false)
      expect((await failing.service.manage('/healthz')).status).toBe(200)
      expect(log().some(({ problems }) => String(problems).includes('key zpk-in: 0 objects'))).toBe(true)
      SecondHand.use(failing.setUp, (hand) => hand.create(description, keyValue(failing.service, 'zpk-in')))
      backAt = performance.now()
      await failing.recovered()
    })
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
    const firstMs = firstGoodAnswerMs(outcomes, backAt)
    console.log(
      `key destroyed and made again: first good answer ${Math.round(firstMs)} ms after it was back;`,
      tally(outcomes),
    )
  })

  it('is never used when another process puts another key in its place, with its CKA_ID and its label', async () => {
    const id = 'zpk-out.v1'
    let backAt = 0
    const outcomes = await underTraffic(failing.service, await everyOperation(failing.service), async () => {
      const description = SecondHand.use(failing.setUp, (hand) => {
        const found = hand.describe(id)
        hand.destroy(id)
        hand.create(found, OTHER_VALUE)
        return found
      })
      await notReady()
      await until('the reason in the log', () =>
        log().some(({ problems }) => /zpk-out: .*(known answer|KCV)/.test(String(problems))),
      )
      SecondHand.use(failing.setUp, (hand) => {
        hand.destroy(id)
        hand.create(description, keyValue(failing.service, 'zpk-out'))
      })
      backAt = performance.now()
      await failing.recovered()
    })
    expectRightOr503(outcomes)
    expectHealthyEnd(outcomes)
    const firstMs = firstGoodAnswerMs(outcomes, backAt)
    console.log(
      `other key of the same name: first good answer ${Math.round(firstMs)} ms after the right one was back;`,
      tally(outcomes),
    )
  })
})
