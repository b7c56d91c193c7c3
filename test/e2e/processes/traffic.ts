/** Steady traffic against a running service, and a record of how every single request ended. */
import { createCipheriv } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { JWK } from 'jose'
import { iso0Block, iso0Payload, seal } from '../../d1/simulator.ts'
import type { Service } from '../../support/service.ts'

/** A request that takes longer than this hangs. */
const HUNG_MS = 20_000

/** How one request ended. */
export interface Outcome {
  /** The correlation id it was sent with. */
  readonly id: string
  readonly startedAt: number
  readonly ms: number
  readonly status: number | 'no answer' | 'hung'
  readonly code: string | undefined
  readonly retryAfter: string | undefined
  /** A 200 that is the answer to another request, or a wrong one. */
  readonly wrong: boolean
}

/** One thing to ask for, again and again. */
export type Ask = (service: Service) => Promise<Outcome>

/** TDEA in ECB, hex. */
export function tdea(keyHex: string, blocksHex: string): string {
  const cipher = createCipheriv('des-ede-ecb', Buffer.from(keyHex, 'hex'), null).setAutoPadding(false)
  return Buffer.concat([cipher.update(blocksHex, 'hex'), cipher.final()])
    .toString('hex')
    .toUpperCase()
}

/** The value of a development key. */
export function keyValue(service: Pick<Service, 'setUp'>, id: string): string {
  return service.setUp.keys.find((key) => key.id === id)!.value!
}

/** The n-th card and PIN of the traffic. */
export function cardAndPin(n: number): { pan: string; pin: string } {
  return { pan: `4${String(n).padStart(15, '0')}`, pin: String(n % 10_000).padStart(4, '0') }
}

let sent = 0

/** Posts one request and says how it ended, with what is right and what is not decided by `isRight`. */
export async function observe(
  service: Service,
  path: string,
  body: object,
  isRight = (_json: any) => true,
): Promise<Outcome> {
  const startedAt = performance.now()
  const id = `traffic-${sent++}`
  const ended = (rest: Pick<Outcome, 'status'> & Partial<Outcome>): Outcome => ({
    id,
    startedAt,
    ms: performance.now() - startedAt,
    code: undefined,
    retryAfter: undefined,
    wrong: false,
    ...rest,
  })
  const patience = new AbortController()
  try {
    return await Promise.race([
      service.call('POST', path, body, { headers: { 'x-correlation-id': id } }).then(({ status, headers, json }) =>
        ended({
          status,
          code: json?.code,
          retryAfter: headers['retry-after'] as string | undefined,
          wrong: status === 200 && !isRight(json),
        }),
      ),
      sleep(HUNG_MS, undefined, { signal: patience.signal }).then(() => ended({ status: 'hung' })),
    ])
  } catch {
    return ended({ status: 'no answer' })
  } finally {
    patience.abort()
  }
}

/** Translations whose answers are known: each card has a PIN of its own, so that an answer that strays is seen. */
export function translations(service: Pick<Service, 'setUp'>): Ask {
  const [zpkIn, zpkOut] = [keyValue(service, 'zpk-in'), keyValue(service, 'zpk-out')]
  let n = 0
  return (running) => {
    const { pan, pin } = cardAndPin(n++)
    const clear = iso0Block(pin, pan)
    const body = {
      pinBlock: tdea(zpkIn, clear),
      from: { key: 'zpk-in', format: 'ISO-0' },
      to: { key: 'zpk-out', format: 'ISO-0' },
      card: { pan },
    }
    const expected = tdea(zpkOut, clear)
    return observe(running, '/v1/pin-blocks/translate', body, (json) => json.pinBlock === expected)
  }
}

/** PIN changes by ECDH-ES, each of which makes a session object in the token, unless told another key. */
export async function pinChanges(service: Service, cards = 20, jweKey = 'jwe-ec'): Promise<Ask> {
  const zpkOut = keyValue(service, 'zpk-out')
  const jwks = (await service.call('GET', '/v1/jwks')).json.keys as JWK[]
  const key = jwks.find(({ kid }) => kid === jweKey)!
  const requests = await Promise.all(
    Array.from({ length: cards }, async (_, n) => {
      const { pan, pin } = cardAndPin(n)
      const encryptedPinBlock = await seal(iso0Payload(pin, pan), key)
      const body = { type: 'ISO0', encryptedPinBlock, card: { pan }, to: { key: 'zpk-out', format: 'ISO-0' } }
      return { body, expected: tdea(zpkOut, iso0Block(pin, pan)) }
    }),
  )
  let n = 0
  return (running) => {
    const { body, expected } = requests[n++ % requests.length]!
    return observe(running, '/v1/pin/set', body, (json) => json.pinBlock === expected)
  }
}

/** Traffic that runs until it is stopped. */
export interface Traffic {
  readonly outcomes: readonly Outcome[]
  /** Starts nothing more and gives every outcome, once the last is there. */
  readonly stop: () => Promise<Outcome[]>
}

/** Starts `concurrency` callers, each of which asks again a moment after it was answered. */
export function startTraffic(service: Service, ask: Ask, { concurrency = 8, pauseMs = 5 } = {}): Traffic {
  const outcomes: Outcome[] = []
  let running = true
  const callers = Array.from({ length: concurrency }, async () => {
    while (running) {
      const outcome = await ask(service)
      outcomes.push(outcome)
      // A service that is not there must not be asked in a tight loop.
      await sleep(outcome.status === 200 ? pauseMs : 20)
    }
  })
  return {
    outcomes,
    stop: async () => {
      running = false
      await Promise.all(callers)
      return outcomes
    },
  }
}

/** Counts outcomes by status and code: `{ '200': 812, '503 ERR_HSM_UNAVAILABLE': 3 }`. */
export function tally(outcomes: readonly Outcome[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status, code, wrong } of outcomes) {
    const name = `${status}${code === undefined ? '' : ` ${code}`}${wrong ? ' WRONG' : ''}`
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}
