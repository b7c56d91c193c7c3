import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { afterEach, expect, it } from 'vitest'
import { openPool, type Answer, type PoolHarness } from './pool-harness.ts'
import { answerTo, pair, serveAll, settled, translation } from './translations.ts'

const CALLS = 40_000
const UNDER_WAY = 400
const VAULTS = 3

/** Few pairs of keys, so that many calls share them; formats of 8 and of 16 bytes, and the same two keys both ways. */
const LANES = [
  pair('a', 'b'),
  pair('b', 'a'),
  pair('a', 'b', 'ISO-3'),
  pair('a', 'c', 'ISO-0', 'ISO-4'),
  pair('c', 'a', 'ISO-4', 'ISO-0'),
  pair('c', 'c', 'ISO-4', 'ISO-4'),
]

let harness: PoolHarness
let running = true
afterEach(() => {
  running = false
  return harness.close()
})

it(`answers ${CALLS} mixed calls, each with its own answer or a refusal, by vaults that are slow, err and are lost`, async () => {
  harness = await openPool({ hsmMs: 20_000 })
  const { pool } = harness
  const calls = { translations: 0, others: 0 }
  const messages = { translations: 0, others: 0 }

  const moody: Answer = (message, vault) => {
    const isTranslation = message.operation === 'translatePinBlocks'
    messages[isTranslation ? 'translations' : 'others']++
    const n = messages.translations + messages.others
    const misfit = isTranslation && messages.translations % 50 === 0
    void sleep(Math.random() * 3).then(() => {
      if (n % 400 === 0) vault.socket.destroy()
      else if (n % 300 === 0) vault.channel.send({ id: message.id, code: 'ERR_HSM_BUSY' })
      else if (misfit) vault.channel.send({ id: message.id, answer: { rejected: [] } }, Buffer.alloc(9))
      else serveAll(message, vault)
    })
  }
  let nextId = 1
  const keepVault = async () => {
    while (running) await (await harness.serve(nextId++, moody)).closed
  }
  for (let i = 0; i < VAULTS; i++) void keepVault()
  await expect.poll(() => pool.vaults.length).toBe(VAULTS)

  const outcomes: Record<string, number> = { own: 0, foreign: 0 }
  const note = (answer: unknown, expected: unknown) => {
    const name = typeof answer === 'string' ? answer : isDeepStrictEqual(answer, expected) ? 'own' : 'foreign'
    outcomes[name] = (outcomes[name] ?? 0) + 1
  }
  const caller = async () => {
    while (calls.translations + calls.others < CALLS) {
      if (randomInt(5) === 0) {
        const key = `mac-${calls.others++}`
        note(await settled(pool.call('generateMac', { key, pinBlock: '00' })), { mac: key, profile: 'p', key: {} })
        continue
      }
      calls.translations++
      const items = randomInt(3) === 0 ? randomInt(1, 51) : 1
      // Now and then one that shares its message with no other.
      const checkOnly = randomInt(50) === 0
      const body = translation(items, { ...LANES[randomInt(LANES.length)]!, checkOnly })
      note(await settled(pool.call('translatePinBlocks', body)), answerTo(body))
    }
  }
  await Promise.all(Array.from({ length: UNDER_WAY }, caller))

  console.log('calls:', calls, 'messages:', messages, 'outcomes:', outcomes)
  const { own, foreign, ...refusals } = outcomes
  expect(foreign).toBe(0)
  expect(Object.keys(refusals).sort()).toEqual(['ERR_HSM_BUSY', 'ERR_HSM_UNAVAILABLE', 'ERR_INTERNAL'])
  expect(own).toBeGreaterThan(0.9 * CALLS)
  expect(Object.values(outcomes).reduce((sum, count) => sum + count)).toBe(CALLS)
  expect(messages.translations).toBeLessThan(calls.translations / 3)
  expect(pool.queued).toBe(0)
  expect(pool.vaults.every(({ inFlight }) => inFlight === 0)).toBe(true)
})
