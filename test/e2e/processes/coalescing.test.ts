import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openPin } from '../../d1/simulator.ts'
import { ORACLES } from '../../support/oracles.ts'
import { makeSetUp, startService, temporaryFolder, type Answer, type Service } from '../../support/service.ts'
import {
  oracleDecipher,
  oracleDecode,
  oracleEncipher,
  oracleEncode,
  type OracleFormat,
} from '../../unit/pin/pin-block-oracle.ts'
import { socketsOf } from './processes.ts'
import { keyValue } from './traffic.ts'

const REQUESTS = process.env['PINBRIDGE_FULL'] ? 100_000 : 20_000
const CONNECTIONS = 256
/** As many of them send batches and nothing else; a client may have 8 under way. */
const BATCH_CONNECTIONS = 4
const VAULTS = 2
const IN_FLIGHT_PER_VAULT = 4
/** How many messages of one pair of keys a vault takes (vault-pool.ts). */
const LANE_CREDIT = 2

interface Zone {
  readonly key: string
  readonly format: OracleFormat
}
const zone = (key: string, format: OracleFormat): Zone => ({ key, format })

/** Blocks of 8 and of 16 bytes in and out, with random filler and without, bound to the PAN and not; one key both ways. */
const PAIRS: readonly (readonly [Zone, Zone])[] = [
  [zone('zpk-in', 'ISO-0'), zone('zpk-out', 'ISO-0')],
  [zone('zpk-in', 'ISO-0'), zone('zpk-out', 'ISO-3')],
  [zone('zpk-in', 'ISO-3'), zone('zpk-out', 'ISO-0')],
  [zone('zpk-in', 'ISO-1'), zone('zpk-out', 'ISO-1')],
  [zone('zpk-out', 'ISO-0'), zone('zpk-out', 'ISO-0')],
  [zone('zpk-in', 'ISO-0'), zone('zpk-aes', 'ISO-4')],
  [zone('zpk-aes', 'ISO-4'), zone('zpk-out', 'ISO-0')],
  [zone('seccos-pin', 'SECCOS'), zone('zpk-out', 'ISO-3')],
]

/** What three of twenty single requests are; all of them take the blocks of the first four pairs. */
const OTHERS = ['get', 'prw', 'mac'] as const

/** A PIN block on its way in, and the PIN in it; undefined if there is none, and the answer must be 422. */
interface Sent {
  readonly pinBlock: string
  readonly from: Zone
  readonly pin: string | undefined
  readonly pan: string
}

/** A request, and whether an answer is the one that it must get. */
interface Question {
  readonly path: string
  readonly body: object
  readonly isRight: (answer: Answer) => boolean | Promise<boolean>
}

/** Every request of the run, and what it must be answered, by node:crypto and the values of the development keys. */
function createQuestions({ setUp }: Pick<Service, 'setUp'>): (n: number, isBatch: boolean) => Question {
  const { ecb, decipherEcb, cmac, retailMac } = ORACLES.find(({ name }) => name === 'node:crypto')!
  const value = (id: string) => keyValue({ setUp }, id)
  const cipher = (format: OracleFormat) => (format === 'ISO-4' ? 'AES' : 'TDEA')

  const blockOf = ({ key, format }: Zone, pin: string, pan: string): string => {
    const random = randomBytes(8).toString('hex')
    const filler = {
      'ISO-0': 'F'.repeat(10),
      'ISO-1': random,
      'ISO-3': Array.from({ length: 10 }, () => 'ABCDEF'[randomInt(6)]).join(''),
      'ISO-4': 'A'.repeat(14 - pin.length) + random,
      SECCOS: 'F'.repeat(10),
    }[format]
    const encipher = (block: string) => ecb(cipher(format), value(key), block)
    return oracleEncipher(format, encipher, oracleEncode(format, pin, pan, filler), pan)
  }
  const pinOf = ({ key, format }: Zone, pinBlock: string, pan: string): string | undefined => {
    const decipher = (block: string) => decipherEcb(cipher(format), value(key), block)
    return oracleDecode(format, oracleDecipher(format, decipher, pinBlock, pan), pan)
  }
  /** The n-th PIN and PAN, which no other request has; one block in fifty is of another card, or of no use at all. */
  const send = (from: Zone, n: number): Sent => {
    const pin = String(n).padStart(6 + (n % 7), '0')
    const pan = `4${String(n).padStart(11 + (n % 8), '0')}`
    const other = `${pan.slice(0, -2)}${pan.at(-2) === '0' ? '1' : '0'}${pan.at(-1)}`
    let pinBlock = blockOf(from, pin, n % 100 === 7 ? other : pan)
    if (n % 100 === 57) pinBlock = randomBytes(pinBlock.length / 2).toString('hex')
    return { pinBlock, from, pin: pinOf(from, pinBlock, pan), pan }
  }
  const question = (path: string, sent: Sent, more: object, isRight: (json: any) => boolean | Promise<boolean>) => {
    const { pinBlock, from, pin, pan } = sent
    return {
      path,
      body: { pinBlock, from, card: { pan, ...('change' in more && { panSequenceNumber: '01' }) }, ...more },
      isRight: ({ status, json }: Answer) =>
        pin === undefined ? status === 422 && json.code === 'ERR_PIN_BLOCK_INVALID' : status === 200 && isRight(json),
    }
  }
  const recipient = setUp.recipients[0]!

  return (n, isBatch) => {
    const counter = String(n % 10_000).padStart(4, '0')
    const other = isBatch ? undefined : OTHERS[randomInt(20)]
    const [from, to] = PAIRS[randomInt(other ? 4 : PAIRS.length)]!
    const sent = send(from, n)
    const { pin, pan } = sent
    if (other === 'get') {
      return question('/v1/pin/get', sent, { recipient: recipient.kid }, async ({ encryptedPinBlock }) => {
        return (await openPin(encryptedPinBlock as string, recipient.privateJwk, pan)) === pin
      })
    }
    if (other === 'prw') {
      return question('/v1/prw/generate', sent, { key: 'prw', change: { counter } }, ({ prw }) => {
        const length = pin!.length.toString(16).padStart(2, '0')
        const message = `${pan.padStart(20, '0')}01${length}${pin!.padEnd(12, 'F')}${counter}`
        return prw === cmac('TDEA', value('prw'), message).toUpperCase()
      })
    }
    if (other === 'mac') {
      const [pinBlock, prw] = [sent.pinBlock, randomBytes(8).toString('hex')]
      const transactionId = String(n)
      const mac = retailMac(value('pin-mac'), `${pinBlock}${prw}${counter}${transactionId.padStart(20, '0')}`, 2)
      return {
        path: '/v1/mac/generate',
        body: { key: 'pin-mac', pinBlock, prw, change: { counter, transactionId } },
        isRight: ({ status, json }) => status === 200 && json.mac === mac.toUpperCase(),
      }
    }
    const isOut = ({ format, key }: any) => format === to.format && key.id === to.key
    if (isBatch) {
      // Numbers of their own, which no single request has.
      const items = Array.from({ length: randomInt(1, 51) }, (_, i) => send(from, REQUESTS + 50 * n + i))
      const isRight = (json: any) =>
        isOut(json) &&
        json.items.length === items.length &&
        items.every(({ pin, pan }, i) => {
          const { id, pinBlock, code } = json.items[i]
          if (id !== `${n}-${i}`) return false
          return pin === undefined ? code === 'ERR_PIN_BLOCK_INVALID' : pinOf(to, pinBlock as string, pan) === pin
        })
      return {
        path: '/v1/pin-blocks/translate-batch',
        body: { from, to, items: items.map(({ pinBlock, pan }, i) => ({ id: `${n}-${i}`, pinBlock, card: { pan } })) },
        isRight: ({ status, json }) => status === 200 && isRight(json),
      }
    }
    return question('/v1/pin-blocks/translate', sent, { to }, (json) => {
      return isOut(json) && pinOf(to, json.pinBlock as string, pan) === pin
    })
  }
}

/** The zones of a translate request. */
const pick = (body: object): object => ({ from: (body as { from?: Zone }).from, to: (body as { to?: Zone }).to })

describe('requests that share messages to the vaults', () => {
  const folder = temporaryFolder()
  let service: Service

  beforeAll(async () => {
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = VAULTS
      config.limits.inFlightPerVault = IN_FLIGHT_PER_VAULT
      config.logLevel = 'warn'
    })
    service = await startService(setUp)
  })
  afterAll(async () => {
    await service.stop()
    folder.dispose()
  })

  it(
    `are answered each with its own answer: ${REQUESTS} over ${CONNECTIONS} connections, single, in batches and others`,
    { timeout: REQUESTS * 10 },
    async () => {
      const ask = createQuestions(service)
      const outcomes: Record<string, number> = {}
      const wrong: { path: string; answer: Answer }[] = []
      let n = 0
      const caller = async (_: unknown, i: number) => {
        while (n < REQUESTS) {
          const { path, body, isRight } = ask(n++, i < BATCH_CONNECTIONS)
          const answer = await service.call('POST', path, body)
          const name = `${path} ${answer.status}`
          outcomes[name] = (outcomes[name] ?? 0) + 1
          if (!(await isRight(answer))) wrong.push({ path, answer })
        }
      }
      let connections = 0
      const watch = async () => {
        while (n < REQUESTS / 2) await sleep(20)
        connections = socketsOf(service.ready.gateway).connected.length
      }
      const watching = watch()
      const started = performance.now()
      await Promise.all(Array.from({ length: CONNECTIONS }, caller))
      const perSecond = REQUESTS / ((performance.now() - started) / 1000)
      await watching

      console.log(outcomes, `${perSecond.toFixed(0)} a second`)
      expect(wrong.slice(0, 3)).toEqual([])
      expect(Object.values(outcomes).reduce((sum, count) => sum + count)).toBe(REQUESTS)
      expect(outcomes['/v1/pin-blocks/translate 422']).toBeGreaterThan(REQUESTS / 200)
      expect(connections).toBeGreaterThanOrEqual(CONNECTIONS)
    },
  )

  it('share them: vaults that stand still hold more translations of one pair of keys than they take messages', async () => {
    const ask = createQuestions(service)
    const questions: Question[] = []
    for (let n = 0; questions.length < 128; n++) {
      const question = ask(n, false)
      const [from, to] = PAIRS[0]!
      if (isDeepStrictEqual({ from, to }, pick(question.body))) questions.push(question)
    }
    const { vaults } = service.ready
    for (const pid of vaults) process.kill(pid, 'SIGSTOP')
    try {
      const answers = questions.map(({ path, body }) => service.call('POST', path, body))
      let held = 0
      await expect
        .poll(async () => {
          const status = (await service.manage('/readyz')).json as { queued: number; vaults: { inFlight: number }[] }
          held = status.vaults.reduce((sum, vault) => sum + vault.inFlight, 0)
          return held + status.queued
        })
        .toBe(questions.length)
      expect(held).toBeGreaterThan(VAULTS * LANE_CREDIT)
      for (const pid of vaults) process.kill(pid, 'SIGCONT')
      const verdicts = await Promise.all(answers.map(async (answer, i) => questions[i]!.isRight(await answer)))
      expect(verdicts.every(Boolean)).toBe(true)
    } finally {
      for (const pid of vaults) process.kill(pid, 'SIGCONT')
    }
  })
})
