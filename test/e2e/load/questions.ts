/** Requests made beforehand, each with the one answer that is right: every card has a PIN of its own, so that an answer that strays is seen. */
import type { JWK } from 'jose'
import { iso0Block, iso0Payload, seal } from '../../d1/simulator.ts'
import type { Service } from '../../support/service.ts'
import { cardAndPin, keyValue, tdea } from '../processes/traffic.ts'
import { rawPost, type Connection, type RawAnswer, type RawRequest } from './connections.ts'

/** A request and what is right. */
export interface Question {
  readonly request: RawRequest
  /** The PIN block that the answer must hold. */
  readonly pinBlock: string
}

/** How one question ended. */
export interface Verdict extends RawAnswer {
  /** `200`, or `503 ERR_HSM_BUSY` and so on; `200 WRONG` where the answer is not the right one. */
  readonly name: string
  readonly startedMs: number
}

/** What is said of a question whose connection ended. */
export const NO_ANSWER = 'no answer'

const TO = { key: 'zpk-out', format: 'ISO-0' }

/** Translations, which share messages. */
export function translationQuestions(service: Service, count: number): Question[] {
  const [zpkIn, zpkOut] = [keyValue(service, 'zpk-in'), keyValue(service, 'zpk-out')]
  return Array.from({ length: count }, (_, n) => {
    const { pan, pin } = cardAndPin(n)
    const clear = iso0Block(pin, pan)
    const from = { key: 'zpk-in', format: 'ISO-0' }
    const body = { pinBlock: tdea(zpkIn, clear), from, to: TO, card: { pan } }
    return { request: rawPost(service, '/v1/pin-blocks/translate', body), pinBlock: tdea(zpkOut, clear) }
  })
}

/** PIN changes, which share none; those to `jwe-ec` make a session object each. */
export async function pinChangeQuestions(
  service: Service,
  kid: 'jwe-ec' | 'jwe-rsa',
  count: number,
): Promise<Question[]> {
  const zpkOut = keyValue(service, 'zpk-out')
  const jwks = (await service.call('GET', '/v1/jwks')).json.keys as JWK[]
  const key = jwks.find((jwk) => jwk.kid === kid)!
  return await Promise.all(
    Array.from({ length: count }, async (_, n) => {
      const { pan, pin } = cardAndPin(n)
      const encryptedPinBlock = await seal(iso0Payload(pin, pan), key)
      const body = { type: 'ISO0', encryptedPinBlock, card: { pan }, to: TO }
      return { request: rawPost(service, '/v1/pin/set', body), pinBlock: tdea(zpkOut, iso0Block(pin, pan)) }
    }),
  )
}

/** Asks a question and says how it ended. */
export async function put({ request, pinBlock }: Question, connection: Connection): Promise<Verdict> {
  const startedMs = performance.now()
  const answer = await connection.ask(request)
  if (answer === undefined) return { status: 0, retryAfter: undefined, body: '', ms: 0, name: NO_ANSWER, startedMs }
  if (answer.status === 200) {
    return { ...answer, name: answer.body.includes(`"pinBlock":"${pinBlock}"`) ? '200' : '200 WRONG', startedMs }
  }
  const { code } = JSON.parse(answer.body) as { code: string }
  return { ...answer, name: `${answer.status} ${code}`, startedMs }
}

/** Counts by name. */
export function tallyOf(verdicts: readonly Verdict[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { name } of verdicts) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** The value that a share of the numbers does not exceed; `share` 0.99 is p99. */
export function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN
}
