/**
 * How far full PANs leave the gateway's memory (SECURITY.md, U-9): they are strings there, which nothing can wipe, so that the
 * memory is looked at until they are gone.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scanMemory } from '../../support/memory.ts'
import { newPan, newPin, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

const REQUESTS = 300
const AT_ONCE = 10
/** Of those that came last, in the buffers of the connections that they came by; what comes next by these overwrites them. */
const MAY_STAY = REQUESTS / 5
const WITHIN_MS = 60_000

let issuer: Issuer
const pans: string[] = []

beforeAll(async () => {
  issuer = await openIssuer((config) => {
    config.hsm.vaults = 1
  })
})
afterAll(() => issuer?.close())

async function translateOne(): Promise<void> {
  const pan = newPan()
  pans.push(pan)
  const from = { key: 'zpk-in', format: 'ISO-0' } as const
  const pinBlock = issuer.block(from.key, from.format, newPin(), pan)
  expect((await issuer.post('/v1/pin-blocks/translate', { pinBlock, from, to: TO, card: { pan } })).status).toBe(200)
}

/** How many of the PANs stand in the gateway's memory as digits, or packed. */
function remaining(): { digits: number; packed: number } {
  const { findings } = scanMemory(issuer.service.ready.gateway, [
    ...pans.map((pan) => ({ what: `${pan} digits`, bytes: Buffer.from(pan) })),
    ...pans.map((pan) => ({ what: `${pan} packed`, bytes: Buffer.from(pan, 'hex') })),
  ])
  const places = new Set(findings.map(({ what }) => what))
  const count = (form: string) => [...places].filter((what) => what.endsWith(form)).length
  return { digits: count('digits'), packed: count('packed') }
}

describe('PANs in the gateway', () => {
  it(
    'are gone soon after the last request, but for a few of the last',
    async () => {
      for (let n = 0; n < REQUESTS; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, translateOne))
      const first = remaining()
      // They were there: the search finds them.
      expect(first.digits + first.packed).toBeGreaterThan(0)
      let last = first
      const end = performance.now() + WITHIN_MS
      while ((last.digits > MAY_STAY || last.packed > MAY_STAY) && performance.now() < end) {
        await sleep(1000)
        last = remaining()
      }
      console.log(`of ${REQUESTS} PANs: ${JSON.stringify(first)} at once, ${JSON.stringify(last)} when idle`)
      expect(last.digits).toBeLessThanOrEqual(MAY_STAY)
      expect(last.packed).toBeLessThanOrEqual(MAY_STAY)
    },
    2 * WITHIN_MS,
  )
})
