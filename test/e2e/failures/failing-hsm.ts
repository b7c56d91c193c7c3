/** A service whose HSM fails on demand: SoftHSM behind the shim, every operation asked of it in turn, every answer checked. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { JWK } from 'jose'
import { expect } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { retailMac, tdeaCmac } from '../../d1/macs.ts'
import { iso0Block, iso0Payload, seal } from '../../d1/simulator.ts'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'
import { childrenOf, until } from '../processes/processes.ts'
import {
  cardAndPin,
  keyValue,
  observe,
  startTraffic,
  tally,
  tdea,
  translations,
  type Ask,
  type Outcome,
  type Traffic,
} from '../processes/traffic.ts'

/** How long a vault may take; past it, it is replaced. */
export const HSM_MS = 1000
/** Callers that ask without end. */
export const CALLERS = 8

/** Its set-up, and the switches of its HSM. */
export interface FailingHsm {
  readonly folder: string
  readonly setUp: DevelopmentSetUp
  readonly shim: Shim
  readonly dispose: () => void
}

/** Makes a set-up with two vaults whose module is the shim. */
export async function makeFailingHsm(edit?: (config: any) => void): Promise<FailingHsm> {
  const folder = temporaryFolder()
  const shim = new Shim(folder.path)
  const setUp = await makeSetUp(folder.path, (config) => {
    config.hsm.vaults = 2
    config.limits.hsmMs = HSM_MS
    shim.insert(config.hsm)
    edit?.(config)
  })
  const dispose = () => {
    shim.close()
    folder.dispose()
  }
  return { folder: folder.path, setUp, shim, dispose }
}

/** A running service on a failing HSM. */
export interface FailingService extends FailingHsm {
  readonly service: Service
  /** The process ids of its vaults. */
  readonly vaults: () => number[]
  /** Waits until two vaults are ready that are none of `gone`; says how long it took. */
  readonly recovered: (gone?: readonly number[], withinMs?: number) => Promise<number>
  /** Ends every fault, and the service. */
  readonly stop: () => Promise<void>
}

/** Starts a service on it; one of its own for a test has lost no vault before, and waits for none. */
export async function serveOn(hsm: FailingHsm): Promise<FailingService> {
  const service = await startService(hsm.setUp)
  const vaults = () => childrenOf(service.ready.pid).vaults
  return {
    ...hsm,
    service,
    vaults,
    recovered: async (gone = [], withinMs = 15_000) => {
      const bothServe = async () => {
        const pids = vaults()
        const { json } = await service.manage('/readyz')
        const ready = json.vaults.filter(({ state }: any) => state === 'ready')
        return pids.length === 2 && !pids.some((pid) => gone.includes(pid)) && ready.length === 2
      }
      return (await until('two ready vaults', bothServe, withinMs)).ms
    },
    stop: async () => {
      hsm.shim.clear()
      await service.stop()
    },
  }
}

/** Whether the service says that it is ready. */
export async function isReady(service: Service): Promise<boolean> {
  return (await service.manage('/readyz')).status === 200
}

/** Makes asks about PRWs: whether an answer is right, and which PRW is given, follow from the right one. */
function createPrwAsk(service: Pick<Service, 'setUp'>) {
  const [zpkIn, prwKey] = [keyValue(service, 'zpk-in'), keyValue(service, 'prw')]
  return (path: string, isRight: (json: any, prw: string) => boolean, given?: (prw: string) => string): Ask => {
    let n = 0
    return (running) => {
      const { pan, pin } = cardAndPin(n++)
      const value = tdeaCmac(prwKey, `${pan.padStart(20, '0')}0104${pin.padEnd(12, 'F')}0003`).toUpperCase()
      const body = {
        pinBlock: tdea(zpkIn, iso0Block(pin, pan)),
        from: { key: 'zpk-in', format: 'ISO-0' },
        card: { pan, panSequenceNumber: '01' },
        change: { counter: '0003' },
        key: 'prw',
        ...(given && { prw: given(value) }),
      }
      return observe(running, path, body, (json) => isRight(json, value))
    }
  }
}

/** PRWs made by CMAC, and nothing that verifies one. */
export function prwsMade(service: Pick<Service, 'setUp'>): Ask {
  return createPrwAsk(service)('/v1/prw/generate', (json, prw) => json.prw === prw)
}

/**
 * Every operation in turn, each with one right answer: a PIN block under another key, a PIN change by ECDH-ES and by
 * RSA-OAEP-256, a PRW and a MAC made, one that matches, and one that does not.
 */
export async function everyOperation(service: Service): Promise<Ask> {
  const [zpkOut, macKey] = [keyValue(service, 'zpk-out'), keyValue(service, 'pin-mac')]
  const jwks = (await service.call('GET', '/v1/jwks')).json.keys as JWK[]
  const translation = translations(service)
  const to = { key: 'zpk-out', format: 'ISO-0' }

  const pinChange = async (kid: string): Promise<Ask> => {
    const key = jwks.find((jwk) => jwk.kid === kid)!
    const changes = await Promise.all(
      Array.from({ length: 5 }, async (_, n) => {
        const { pan, pin } = cardAndPin(n)
        const encryptedPinBlock = await seal(iso0Payload(pin, pan), key)
        return {
          body: { type: 'ISO0', encryptedPinBlock, card: { pan }, to },
          expected: tdea(zpkOut, iso0Block(pin, pan)),
        }
      }),
    )
    let n = 0
    return (running) => {
      const { body, expected } = changes[n++ % changes.length]!
      return observe(running, '/v1/pin/set', body, (json) => json.pinBlock === expected)
    }
  }
  const prw = createPrwAsk(service)
  const mac = (path: string, isRight: (json: any, mac: string) => boolean, given?: (mac: string) => string): Ask => {
    let n = 0
    return (running) => {
      const pinBlock = String(n++).padStart(16, '0')
      const value = retailMac(macKey, `${pinBlock}${'5A'.repeat(8)}0003${'7'.padStart(20, '0')}`).toUpperCase()
      const body = {
        pinBlock,
        prw: '5A'.repeat(8),
        change: { counter: '0003', transactionId: '7' },
        key: 'pin-mac',
        ...(given && { mac: given(value) }),
      }
      return observe(running, path, body, (json) => isRight(json, value))
    }
  }
  const other = (value: string) => `${value.slice(0, -1)}${value.endsWith('0') ? '1' : '0'}`
  const same = (value: string) => value
  const asks = [
    translation,
    await pinChange('jwe-ec'),
    translation,
    await pinChange('jwe-rsa'),
    prwsMade(service),
    prw('/v1/prw/verify', ({ verified }) => verified === true, same),
    prw('/v1/prw/verify', ({ verified }) => verified === false, other),
    mac('/v1/mac/generate', (json, value) => json.mac === value),
    mac('/v1/mac/verify', ({ verified }) => verified === true, same),
    mac('/v1/mac/verify', ({ verified }) => verified === false, other),
  ]
  let n = 0
  return (running) => asks[n++ % asks.length]!(running)
}

/** Runs `work` under traffic that went well for a moment before it, and gives how every request ended. */
export async function underTraffic(
  service: Service,
  ask: Ask,
  work: (traffic: Traffic) => Promise<void>,
): Promise<Outcome[]> {
  const traffic = startTraffic(service, ask, { concurrency: CALLERS, pauseMs: 2 })
  try {
    await until('answers', () => traffic.outcomes.length >= 3 * CALLERS)
    expect(tally(traffic.outcomes)).toEqual({ 200: traffic.outcomes.length })
    await work(traffic)
    await sleep(200)
  } finally {
    await traffic.stop()
  }
  return [...traffic.outcomes]
}

/** Every answer was right, or was a 503 that says when to come again; gives the ones that were not 200. */
export function expectRightOr503(outcomes: readonly Outcome[]): Outcome[] {
  const allowed = ['200', '503 ERR_HSM_UNAVAILABLE', '503 ERR_HSM_BUSY']
  const others = outcomes.filter((outcome) => !allowed.includes(Object.keys(tally([outcome]))[0]!))
  expect(tally(others)).toEqual({})
  const lost = outcomes.filter(({ status }) => status !== 200)
  expect(lost.filter(({ retryAfter }) => !/^[1-9]\d*$/.test(retryAfter ?? ''))).toEqual([])
  return lost
}

/** The last requests went well: the service is healthy again. */
export function expectHealthyEnd(outcomes: readonly Outcome[], last = 20): void {
  const end = [...outcomes].sort((a, b) => a.startedAt - b.startedAt).slice(-last)
  expect(tally(end)).toEqual({ 200: end.length })
}

/** From a moment until the first good answer to a request that was sent after it. */
export function firstGoodAnswerMs(outcomes: readonly Outcome[], since: number): number {
  return Math.min(
    ...outcomes
      .filter(({ status, startedAt }) => status === 200 && startedAt >= since)
      .map(({ startedAt, ms }) => startedAt + ms - since),
  )
}
