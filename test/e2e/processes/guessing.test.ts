import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { JWK } from 'jose'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { iso0Block, iso0Payload, seal } from '../../d1/simulator.ts'
import {
  editConfig,
  makeSetUp,
  startService,
  temporaryFolder,
  type Answer,
  type Service,
} from '../../support/service.ts'
import { childrenOf, recordsOf } from './processes.ts'
import { keyValue, tdea } from './traffic.ts'

const PIN = '4711'
/** Cards that differ in the digits a PIN block of format 0 is bound to. */
const pans = (count: number) => Array.from({ length: count }, (_, n) => `41234567890${n}2345`)
const WINDOW_MS = 60_000

describe('an attacker who may call', () => {
  const folder = temporaryFolder()
  let setUp: DevelopmentSetUp
  let service: Service

  beforeAll(async () => {
    setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 1
      const [everything] = config.clients[0].grants
      config.clients[1].grants.push({
        ...everything,
        operations: ['pin-blocks/translate', 'prw/verify'],
        recipients: [],
      })
    })
  })
  afterEach(async () => {
    await service.stop()
  })
  afterAll(() => folder.dispose())

  async function start(guesses: object): Promise<void> {
    editConfig(setUp.config, (config) => {
      config.limits.guesses = { windowMs: WINDOW_MS, perClient: 1000, perCard: 1000, perPinBlock: 1000, ...guesses }
    })
    service = await startService(setUp)
  }

  const blockOf = (pin: string, pan: string) => tdea(keyValue(service, 'zpk-in'), iso0Block(pin, pan))
  const from = { key: 'zpk-in', format: 'ISO-0' }
  const to = { key: 'zpk-out', format: 'ISO-0' }
  const translate = (pinBlock: string, pan: string, client = 'cms-adapter') =>
    service.call('POST', '/v1/pin-blocks/translate', { pinBlock, from, to, card: { pan } }, { client })
  const verify = (pinBlock: string, pan: string, prw = '0011223344556677', client = 'cms-adapter') => {
    const card = { pan, panSequenceNumber: '01' }
    return service.call(
      'POST',
      '/v1/prw/verify',
      { pinBlock, from, card, change: { counter: '0001' }, key: 'prw', prw },
      { client },
    )
  }

  function expectRefused({ status, headers, json }: Answer): number {
    expect([status, json?.code]).toEqual([429, 'ERR_RATE_LIMITED'])
    const seconds = String(headers['retry-after'])
    expect(seconds).toMatch(/^[1-9]\d*$/)
    expect(Number(seconds)).toBeLessThanOrEqual(WINDOW_MS / 1000)
    return Number(seconds)
  }

  /** Stops the vault while `act` runs: what is answered meanwhile was answered without it. */
  async function withoutVault<T>(act: () => Promise<T>): Promise<T> {
    const [vault] = childrenOf(service.ready.pid).vaults
    process.kill(vault!, 'SIGSTOP')
    try {
      return await act()
    } finally {
      process.kill(vault!, 'SIGCONT')
    }
  }

  const alarms = async () =>
    Number(/^pinbridge_pan_variation_alarms_total (\d+)$/m.exec((await service.manage('/metrics')).text)?.[1] ?? 0)

  it('stops at the third PAN under the fresh blocks that one PIN block is translated to', async () => {
    await start({})
    const [own, ...others] = pans(10) as [string, ...string[]]
    const zone = (key: string, format: string) => ({ key, format })
    const post = (pinBlock: string, from: object, to: object, pan: string) =>
      service.call('POST', '/v1/pin-blocks/translate', { pinBlock, from, to, card: { pan } })
    const statuses: number[] = []
    for (const pan of others) {
      const fresh = await post(blockOf(PIN, own), zone('zpk-in', 'ISO-0'), zone('zpk-out', 'ISO-3'), own)
      expect(fresh.status).toBe(200)
      statuses.push((await post(fresh.json.pinBlock, zone('zpk-out', 'ISO-3'), zone('zpk-out', 'ISO-0'), pan)).status)
    }
    expect([200, 422]).toContain(statuses[0])
    expect(statuses.slice(1)).toEqual(statuses.slice(1).map(() => 429))
  })

  it.each(['translate', 'verify'] as const)('stops at the third PAN under one PIN block: %s', async (route) => {
    await start({})
    const ask = (pinBlock: string, pan: string) =>
      route === 'translate' ? translate(pinBlock, pan) : verify(pinBlock, pan)
    const [own, second, ...others] = pans(10) as [string, string, ...string[]]
    const block = blockOf(PIN, own)
    expect((await ask(block, own)).status).toBe(200)
    const wrongPan = await ask(block, second)
    expect([200, 422]).toContain(wrongPan.status)

    const started = performance.now()
    const refused = await withoutVault(() => Promise.all(others.map((pan) => ask(block, pan))))
    refused.forEach(expectRefused)
    expect(performance.now() - started).toBeLessThan(3000)
    // In another case, or on another route, it is the same block.
    expectRefused(await withoutVault(() => translate(block.toLowerCase(), others[0]!)))
    expectRefused(await withoutVault(() => verify(block, others[1]!)))
    // Whoever it belongs to is still served, and so is another block of the same card.
    expect((await ask(block, own)).status).toBe(200)
    expect((await ask(blockOf('1234', own), own)).status).toBe(200)

    expect(await alarms()).toBe(others.length + 2)
    const records = recordsOf(service.output()).filter(({ event }) => event === 'pan-variation')
    expect(records).toHaveLength(others.length + 2)
    expect(records[0]).toMatchObject({ level: 40, clientId: 'cms-adapter', msg: 'one PIN block, many PANs' })
    for (const secret of [...pans(10), block, block.toLowerCase(), PIN + 'F'])
      expect(service.output()).not.toContain(secret)
  })

  it('stops at the third PAN under one JWE', async () => {
    await start({})
    const [own, second, ...others] = pans(6) as [string, string, ...string[]]
    const jwks = (await service.call('GET', '/v1/jwks')).json.keys as JWK[]
    const encryptedPinBlock = await seal(iso0Payload(PIN, own), jwks[0]!)
    const set = (pan: string) =>
      service.call('POST', '/v1/pin/set', { type: 'ISO0', encryptedPinBlock, card: { pan }, to })
    expect((await set(own)).status).toBe(200)
    expect([200, 422]).toContain((await set(second)).status)
    ;(await withoutVault(() => Promise.all(others.map(set)))).forEach(expectRefused)
    expect((await set(own)).status).toBe(200)
    expect(await alarms()).toBe(others.length)
    for (const secret of [...pans(6), encryptedPinBlock.slice(-40)]) expect(service.output()).not.toContain(secret)
  })

  it('has a budget for a card, whoever asks and whatever the block: its right PRW is refused too when it is spent', async () => {
    await start({ perCard: 3 })
    const [pan, other] = pans(2) as [string, string]
    const card = { pan, panSequenceNumber: '01' }
    const right = await service.call('POST', '/v1/prw/generate', {
      pinBlock: blockOf(PIN, pan),
      from,
      card,
      change: { counter: '0001' },
      key: 'prw',
    })
    expect(right.status).toBe(200)
    for (const [n, client] of ['cms-adapter', 'auditor', 'cms-adapter'].entries()) {
      const { status, json } = await verify(blockOf(`000${n}`, pan), pan, right.json.prw, client)
      expect([status, json]).toEqual([200, { verified: false }])
    }
    expectRefused(await withoutVault(() => verify(blockOf(PIN, pan), pan, right.json.prw)))
    expectRefused(await withoutVault(() => verify(blockOf(PIN, pan), pan, right.json.prw, 'auditor')))
    expectRefused(await withoutVault(() => translate(blockOf(PIN, pan), pan)))
    expect((await translate(blockOf(PIN, other), other)).status).toBe(200)
    expect(await alarms()).toBe(0)
  })

  it('has a budget for a client, over all cards, which leaves the others alone', async () => {
    await start({ perClient: 4 })
    const [first, ...rest] = pans(8) as [string, ...string[]]
    for (const pan of rest.slice(0, 4)) {
      const { status, json } = await translate('00'.repeat(7) + pan.slice(11, 13), pan, 'auditor')
      expect([status, json.code]).toEqual([422, 'ERR_PIN_BLOCK_INVALID'])
    }
    expectRefused(await withoutVault(() => translate(blockOf(PIN, first), first, 'auditor')))
    expect((await translate(blockOf(PIN, first), first)).status).toBe(200)
    for (let n = 0; n < 10; n++) expect((await translate(blockOf(PIN, first), first)).status).toBe(200)
  })

  it('gains nothing by asking at the same time: never more wrong answers than the budget', async () => {
    await start({ perCard: 5 })
    const [pan] = pans(1) as [string]
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) => verify(blockOf(String(n).padStart(4, '0'), pan), pan)),
    )
    const told = answers.filter(({ status }) => status === 200)
    console.log(`60 guesses at once on a budget of 5: ${told.length} were answered`)
    expect(told.length).toBeGreaterThan(0)
    expect(told.length).toBeLessThanOrEqual(5)
    answers.filter(({ status }) => status !== 200).forEach(expectRefused)
  })
})
