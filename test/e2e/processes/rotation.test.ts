/**
 * Every kind of key is replaced under load, step by step as `pinbridge rotate` does it, by nothing but the configuration file. The
 * callers are the ones of a real issuer: they send back the version that an answer named, encrypt to what /v1/jwks shows, and D1
 * changes over to its new keys while both versions are there.
 */
import { createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JWK } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { iso0Block, iso0Payload, openPin, seal, seccosPayload } from '../../d1/simulator.ts'
import { retailMac, tdeaCmac } from '../../d1/macs.ts'
import { makeNextVersions, type KeyVersion } from '../../support/key-versions.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { editConfig, makeSetUp, pinbridge, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { filesIn, linesOf } from '../../unit/audit/trails.ts'
import { childrenOf, until } from './processes.ts'
import { keyValue, tdea } from './traffic.ts'

const ROTATED = ['jwe-ec', 'jwe-rsa', 'zpk-in', 'zpk-out', 'seccos-pin', 'prw', 'pin-mac', 'audit-mac']
const PAUSE_MS = 40

const folder = temporaryFolder()
let service: Service
let config: string
let next: Map<string, KeyVersion>
let callers: ReturnType<typeof startCallers> | undefined

beforeAll(async () => {
  const setUp = await makeSetUp(folder.path, (draft) => {
    draft.hsm.vaults = 2
    draft.audit.sealEveryMs = 1000
  })
  config = setUp.config
  next = await makeNextVersions(config, [...ROTATED, 'zpk-aes'])
  service = await startService(setUp)
})
afterAll(async () => {
  await callers?.stop()
  await service?.stop()
  folder.dispose()
})

/** The value of a version of a key. */
const valueOf = (id: string, version: number) => (version === 1 ? keyValue(service, id) : next.get(id)!.value)
const kcvOf = (id: string, version: number) =>
  version === 1 ? service.setUp.keys.find((key) => key.id === id)!.kcv : next.get(id)!.entry.kcv

const sha256Of = () => createHash('sha256').update(readFileSync(config)).digest('hex')
const readiness = async () => (await service.manage('/readyz')).json

/** Edits the configuration, and waits until every vault runs by it. */
async function reload(edit: (draft: any) => void): Promise<void> {
  editConfig(config, edit)
  service.process.kill('SIGHUP')
  const sha256 = sha256Of()
  await until(
    'every vault to run by it',
    async () => {
      const { configuration } = await readiness()
      if (configuration.refused === sha256) throw new Error(`refused: ${service.output().slice(-2000)}`)
      return configuration.inUse === sha256 && configuration.renewing === 0
    },
    60_000,
  )
}

const setState = (draft: any, id: string, version: number, state: string) => {
  draft.keys.find((key: any) => key.id === id && key.version === version).state = state
}

/** A version of a key, as requests and answers name it. */
interface Held {
  readonly version: number
}

let cards = 0
const newCard = () => ({ pan: `4${String(cards++).padStart(15, '0')}`, pin: String(cards % 10_000).padStart(4, '0') })

/** Callers that run until they are stopped, each of which asks one kind of thing again and again. */
function startCallers() {
  const failures: string[] = []
  const counts: Record<string, number> = {}
  /** Which versions are in use anywhere: by partners, in what is stored, and in what D1 encrypts to. */
  const inUse = { versions: [1] }
  const stored: (Held & { body: { from: Held }; prw: string })[] = []
  const macs: (Held & { body: object })[] = []
  const blocks: (Held & { pan: string; pin: string; pinBlock: string })[] = []
  /** Which versions answers have named, and which kids were used. */
  const seen = new Set<string>()
  let isRunning = true

  const expectRight = (what: string, isRight: boolean, answer: { status: number; text: string }) => {
    counts[what] = (counts[what] ?? 0) + 1
    if (answer.status !== 200 || !isRight) failures.push(`${what}: ${answer.status} ${answer.text}`)
    return answer.status === 200
  }
  const clearOf = (version: number, block: string) => {
    const cipher = createDecipheriv('des-ede-ecb', Buffer.from(valueOf('zpk-out', version), 'hex'), null)
    cipher.setAutoPadding(false)
    return Buffer.concat([cipher.update(block, 'hex'), cipher.final()])
      .toString('hex')
      .toUpperCase()
  }
  /** A block that came out: under the version that is named, with the KCV of that version, and of this PIN. */
  const isRightBlock = (json: any, pin: string, pan: string) => {
    if (json?.key?.id !== 'zpk-out' || json.key.kcv !== kcvOf('zpk-out', json.key.version)) return false
    seen.add(`zpk-out ${json.key.version}`)
    return clearOf(json.key.version, json.pinBlock) === iso0Block(pin, pan)
  }
  const oneOf = <T>(values: readonly T[]): T => values[Math.floor(Math.random() * values.length)]!
  const inTurn = (round: number) => inUse.versions[round % inUse.versions.length]!
  const oneInUse = <T extends Held>(held: readonly T[]): T | undefined =>
    oneOf(held.filter(({ version }) => inUse.versions.includes(version)))
  const jwks = async (kty: string) => {
    const answer = await service.call('GET', '/v1/jwks')
    const keys = (answer.json?.keys ?? []) as JWK[]
    expectRight('jwks', keys.length > 0, answer)
    return keys.filter((key) => key.kty === kty)
  }
  const TO = { key: 'zpk-out', format: 'ISO-0' }

  /** Each is told the number of its round, so that it takes turns among the versions. */
  const work: Record<string, (round: number) => Promise<void>> = {
    // Under the partner's version, which the partner names, and then back in under the version that the answer named.
    translate: async (round) => {
      const { pan, pin } = newCard()
      const version = inTurn(round)
      const pinBlock = tdea(valueOf('zpk-in', version), iso0Block(pin, pan))
      const from = { key: 'zpk-in', format: 'ISO-0', version }
      const first = await service.call('POST', '/v1/pin-blocks/translate', { pinBlock, from, to: TO, card: { pan } })
      if (!expectRight('translate', isRightBlock(first.json, pin, pan), first)) return
      const back = { ...TO, version: first.json.key.version }
      if (blocks.filter((held) => held.version === back.version).length < 100)
        blocks.push({ pan, pin, pinBlock: first.json.pinBlock, version: back.version })
      const items = [{ id: 'a', pinBlock: first.json.pinBlock, card: { pan } }]
      const again = await service.call('POST', '/v1/pin-blocks/translate-batch', { from: back, to: TO, items })
      const moved = { ...again.json, ...again.json?.items?.[0] }
      expectRight('translate-batch', isRightBlock(moved, pin, pan), again)
    },
    get: async () => {
      const held = oneInUse(blocks)
      if (held === undefined) return
      const { pan, pin, pinBlock, version } = held
      const { kid, privateJwk } = service.setUp.recipients[0]!
      const body = { pinBlock, from: { ...TO, version }, card: { pan }, recipient: kid }
      const answer = await service.call('POST', '/v1/pin/get', body)
      const isRight = answer.status === 200 && (await openPin(answer.json.encryptedPinBlock, privateJwk, pan)) === pin
      expectRight('get', isRight, answer)
    },
    prw: async (round) => {
      const { pan, pin } = newCard()
      const version = inTurn(round)
      const body = {
        pinBlock: tdea(valueOf('zpk-in', version), iso0Block(pin, pan)),
        from: { key: 'zpk-in', format: 'ISO-0', version },
        card: { pan, panSequenceNumber: '01' },
        change: { counter: '0007' },
        key: 'prw',
      }
      const made = await service.call('POST', '/v1/prw/generate', body)
      const { key, prw } = made.json ?? {}
      const message = `${pan.padStart(20, '0')}0104${pin.padEnd(12, 'F')}0007`
      const isRight = made.status === 200 && prw === tdeaCmac(valueOf('prw', key.version), message).toUpperCase()
      if (!expectRight('prw/generate', isRight, made)) return
      seen.add(`prw ${key.version}`)
      // What was stored first is verified again and again.
      const held = { body, prw, version: key.version }
      if (stored.length < 20 || (key.version === 2 && stored.length < 40)) stored.push(held)
      const { body: asked, prw: value } = oneInUse(stored.filter(({ body: { from } }) => oneInUse([from]))) ?? held
      const answer = await service.call('POST', '/v1/prw/verify', { ...asked, prw: value })
      expectRight('prw/verify', answer.json?.verified === true, answer)
    },
    mac: async () => {
      const body = { key: 'pin-mac', pinBlock: randomBytes(8).toString('hex'), prw: randomBytes(8).toString('hex') }
      const change = { counter: '0007', transactionId: '99' }
      const made = await service.call('POST', '/v1/mac/generate', { ...body, change })
      const { key, mac } = made.json ?? {}
      const message = `${body.pinBlock}${body.prw}0007${'99'.padStart(20, '0')}`
      const isRight = made.status === 200 && mac === retailMac(valueOf('pin-mac', key.version), message).toUpperCase()
      if (!expectRight('mac/generate', isRight, made)) return
      seen.add(`pin-mac ${key.version}`)
      const held = { version: key.version, body: { ...body, change, mac } }
      if (macs.length < 20 || (key.version === 2 && macs.length < 40)) macs.push(held)
      const answer = await service.call('POST', '/v1/mac/verify', (oneInUse(macs) ?? held).body)
      expectRight('mac/verify', answer.json?.verified === true, answer)
      const wrong = { ...held.body, mac: '00'.repeat(8) }
      const refused = await service.call('POST', '/v1/mac/verify', wrong)
      expectRight('mac/verify of a wrong one', refused.json?.verified === false, refused)
    },
    // As the CMS passes it on; D1 may have had the JWK Set for a while, so that it may be any that is shown.
    ...Object.fromEntries(
      ['EC', 'RSA'].map((kty) => [
        `set ${kty}`,
        async (round: number) => {
          const all = await jwks(kty)
          const shown = all[inUse.versions.includes(1) ? round % all.length : 0]
          if (shown === undefined) return
          seen.add(`kid ${shown.kid}`)
          const { pan, pin } = newCard()
          const encryptedPinBlock = await seal(iso0Payload(pin, pan), shown)
          const body = { type: 'ISO0', encryptedPinBlock, card: { pan }, to: TO }
          const answer = await service.call('POST', '/v1/pin/set', body)
          expectRight(`set ${kty}`, isRightBlock(answer.json, pin, pan), answer)
        },
      ]),
    ),
    'set SECCOS': async (round) => {
      const [first] = await jwks('EC')
      if (first === undefined) return
      const { pan, pin } = newCard()
      // D1 changes each of its three keys over at a time of its own.
      const [pinV, prwV, macV] = [inTurn(round), inTurn(round >> 1), inTurn(round >> 2)]
      const keys = {
        seccosPin: valueOf('seccos-pin', pinV),
        prw: valueOf('prw', prwV),
        pinMac: valueOf('pin-mac', macV),
      }
      const change = { pan, pin, panSequenceNumber: '01', counter: '0003', transactionId: '21430919092023091909' }
      const encryptedPinBlock = await seal(seccosPayload(change, keys), first)
      const answer = await service.call('POST', '/v1/pin/set', {
        ...{ type: '3DES_SECCOS', encryptedPinBlock, card: { pan, panSequenceNumber: '01' }, to: TO },
        change: { counter: '0003', transactionId: '21430919092023091909' },
      })
      expectRight('set SECCOS', isRightBlock(answer.json, pin, pan), answer)
    },
  }
  const rounds: Record<string, number> = {}
  const loops = Object.entries(work).map(async ([name, ask]) => {
    while (isRunning) {
      try {
        await ask(rounds[name] ?? 0)
      } catch (error) {
        failures.push(`${name}: ${String(error)}`)
      }
      rounds[name] = (rounds[name] ?? 0) + 1
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  })
  return {
    failures,
    counts,
    seen,
    inUse,
    blocks,
    /** Waits until every caller has asked a few more times: what was begun before has been answered. */
    someRounds: async (count = 3) => {
      const before = { ...rounds }
      const haveGone = () => Object.keys(work).every((name) => (rounds[name] ?? 0) >= (before[name] ?? 0) + count)
      await until('more rounds', haveGone, 60_000)
    },
    stop: async () => {
      isRunning = false
      await Promise.all(loops)
    },
  }
}

/** A request that names a version, and how it ended. */
async function translateFrom(from: object, to: object = { key: 'zpk-out', format: 'ISO-0' }) {
  const body = { pinBlock: '0123456789ABCDEF', from, to, card: { pan: '4999999999999999' } }
  const { status, json, text } = await service.call('POST', '/v1/pin-blocks/translate', body)
  return { status, code: json?.code, text: text.replace(json?.requestId, '') }
}
const ISO_0 = { format: 'ISO-0' }

describe('the rotation of every kind of key, under load', () => {
  it('loses no request and gives no wrong answer, from the first step to the last', async () => {
    callers = startCallers()
    const { failures, counts, seen, inUse, blocks } = callers
    await callers.someRounds()

    // 1. The new versions are there, and open what comes under them; nobody is told of them.
    await reload((draft) => draft.keys.push(...ROTATED.map((id) => next.get(id)!.entry)))
    expect(failures).toEqual([])
    const shown = async () => ((await service.call('GET', '/v1/jwks')).json.keys as JWK[]).map(({ kid }) => kid)
    expect(await shown()).toEqual(['jwe-ec', 'jwe-rsa'])
    // Partners that are early: D1 and the other end of the zone use the new version as soon as it is there.
    inUse.versions = [1, 2]
    await callers.someRounds()
    expect(failures).toEqual([])
    expect(await translateFrom({ key: 'zpk-in', ...ISO_0 }, { key: 'zpk-out', ...ISO_0, version: 2 })).toMatchObject({
      code: 'ERR_KEY_USE_FORBIDDEN',
    })
    expect([...seen].filter((name) => name.endsWith('2'))).toEqual([])

    // 2. The new versions make everything new; what the old ones made is opened and verified.
    await reload((draft) => {
      for (const id of ROTATED) {
        setState(draft, id, 1, 'retiring')
        setState(draft, id, 2, 'active')
      }
    })
    expect((await shown()).slice(0, 2).toSorted()).toEqual(['jwe-ec-2', 'jwe-rsa-2'])
    expect((await shown()).slice(2).toSorted()).toEqual(['jwe-ec', 'jwe-rsa'])
    await callers.someRounds(5)
    expect(failures).toEqual([])
    for (const name of ['zpk-out 2', 'prw 2', 'pin-mac 2', 'kid jwe-ec', 'kid jwe-ec-2']) expect(seen).toContain(name)
    expect(await translateFrom({ key: 'zpk-in', ...ISO_0 }, { key: 'zpk-out', ...ISO_0, version: 1 })).toMatchObject({
      code: 'ERR_KEY_USE_FORBIDDEN',
    })

    // What is stored is brought under the new version before the old one goes.
    const rows = blocks.filter(({ version }) => version === 1).slice(0, 50)
    expect(rows.length).toBeGreaterThan(2)
    const file = (name: string) => join(folder.path, name)
    writeFileSync(file('in.csv'), rows.map(({ pan, pinBlock }, i) => `row-${i},${pan},${pinBlock}\n`).join(''))
    const migrate = (from: string, to: string, out: string) =>
      pinbridge(['migrate', '--config', config, '--in', file('in.csv'), '--out', out, '--from', from, '--to', to])
    const refused = await migrate('zpk-out@2:ISO-0', 'zpk-out@1:ISO-0', file('never.csv'))
    expect(refused).toMatchObject({ code: 77, stderr: expect.stringContaining('version 1: it is retiring, and PIN') })
    const migrated = await migrate('zpk-out@1:ISO-0', 'zpk-out:ISO-0', file('out.csv'))
    expect(migrated).toMatchObject({ code: 0 })
    const moved = readFileSync(file('out.csv'), 'utf8').trimEnd().split('\n')
    expect(moved).toEqual(
      rows.map(({ pan, pin }, i) => `row-${i},${pan},${tdea(valueOf('zpk-out', 2), iso0Block(pin, pan))}`),
    )
    const { parameters } = JSON.parse(readFileSync(file('out.csv.migration.json'), 'utf8'))
    expect(parameters).toMatchObject({ from: { key: 'zpk-out', version: 1 }, to: { key: 'zpk-out', version: 2 } })

    // 3. Nobody uses the old versions any more, and they go; seals of the old audit key are still to be verified.
    inUse.versions = [2]
    await callers.someRounds()
    expect(failures).toEqual([])
    await reload((draft) => {
      for (const id of ROTATED.filter((each) => each !== 'audit-mac')) setState(draft, id, 1, 'retired')
    })
    expect((await shown()).toSorted()).toEqual(['jwe-ec-2', 'jwe-rsa-2'])
    await callers.someRounds(5)
    await callers.stop()
    expect(failures).toEqual([])
    console.log('requests by kind:', counts)
    expect(Object.keys(counts).length).toBe(12)
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(15)
  }, 180_000)

  it('answers a version that is retired, or that there never was, as it does a key that there is not', async () => {
    const answers = await Promise.all([
      translateFrom({ key: 'zpk-in', ...ISO_0, version: 1 }),
      translateFrom({ key: 'zpk-in', ...ISO_0, version: 3 }),
      translateFrom({ key: 'no-such-key', ...ISO_0 }),
    ])
    expect(answers[0]).toMatchObject({ status: 403, code: 'ERR_KEY_USE_FORBIDDEN' })
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
  })

  it('is on record in the versions that were used, sealed by the old audit key and by the new one', async () => {
    const files = filesIn(join(config, '..', 'audit'))
    const records: any[] = files.flatMap(linesOf).map((line) => JSON.parse(line))
    const versions = (id: string, operation: string) => {
      const outcomes = records.filter((record) => record.kind === 'outcome' && record.operation === operation)
      const of = outcomes.flatMap(({ keys }) => keys.filter((key: any) => key.id === id))
      expect(of.every(({ version, kcv }: any) => kcv === kcvOf(id, version))).toBe(true)
      return [...new Set(of.map(({ version }: any) => version))].toSorted()
    }
    for (const [id, operation] of [
      ['zpk-in', 'pin-blocks/translate'],
      ['zpk-out', 'pin-blocks/translate-batch'],
      ['zpk-out', 'pin/get'],
      ['prw', 'prw/verify'],
      ['pin-mac', 'mac/verify'],
      ['jwe-ec', 'pin/set'],
      ['seccos-pin', 'pin/set'],
    ] as const) {
      expect([id, operation, ...versions(id, operation)]).toEqual([id, operation, 1, 2])
    }
    const seals = records.filter(({ kind }) => kind === 'seal').map(({ key }) => key.version)
    expect(new Set(seals)).toEqual(new Set([1, 2]))
    // 2 says that a seal was late, as it is on a busy machine.
    const verified = await pinbridge(['audit', 'verify', '--config', config, ...files])
    expect([0, 2]).toContain(verified.code)
  })

  it('is refused as a whole where a key is not in the token, and everything goes on as it was', async () => {
    const good = readFileSync(config, 'utf8')
    const before = childrenOf(service.ready.pid).vaults
    editConfig(config, (draft) => {
      // In the token, and one that is not.
      draft.keys.push(next.get('zpk-aes')!.entry, { ...next.get('zpk-in')!.entry, version: 3 })
      draft.clients[1].grants = []
    })
    const sha256 = sha256Of()
    service.process.kill('SIGHUP')
    await until('its refusal', async () => (await readiness()).configuration.refused === sha256, 30_000)
    expect((await readiness()).configuration).toMatchObject({ renewing: 0 })
    expect(childrenOf(service.ready.pid).vaults).toEqual(before)
    expect(service.output()).toMatch(/"key zpk-in: 0 objects carry its CKA_ID[^\n]*"the HSM cannot be used by it;/)
    const metric = /^pinbridge_reloads_total\{outcome="refused"\} 1$/m
    expect((await service.manage('/metrics')).text).toMatch(metric)
    const keys = async (client: string) => (await service.call('GET', '/v1/keys', undefined, { client })).json
    expect((await keys('auditor')).keys.filter(({ id }: any) => id === 'zpk-aes')).toHaveLength(1)

    // A vault that is started now runs by what is in use.
    const idsOf = async () => (await readiness()).vaults.map(({ id }: { id: number }) => id) as number[]
    const ids = await idsOf()
    process.kill(before[0]!, 'SIGKILL')
    const isReplaced = async () => {
      const now = await idsOf()
      return now.length === 2 && now.some((id) => !ids.includes(id))
    }
    await until('another vault', isReplaced, 30_000)
    const aes = { key: 'zpk-aes', format: 'ISO-4', version: 2 }
    const body = { pinBlock: '0'.repeat(32), from: aes, to: { ...aes, version: 1 }, card: { pan: '4999999999999999' } }
    const ask = async () => (await service.call('POST', '/v1/pin-blocks/translate', body)).json.code
    expect([await ask(), await ask(), await ask(), await ask()]).toEqual(Array(4).fill('ERR_KEY_USE_FORBIDDEN'))
    expect((await service.manage('/metrics')).text).toMatch(metric)
    // What was written back is taken over, and the other key with it.
    writeFileSync(config, good)
    await reload((draft) => draft.keys.push(next.get('zpk-aes')!.entry))
    expect([await ask(), await ask(), await ask(), await ask()]).toEqual(Array(4).fill('ERR_PIN_BLOCK_INVALID'))
    expect(strangersInLog(service.output())).toEqual([])
  }, 60_000)

  it('takes a step that comes while the one before is under way after it, so that no vault is two steps behind', async () => {
    const before: number[] = (await readiness()).vaults.map(({ id }: { id: number }) => id)
    const step = async (...states: string[]) => {
      editConfig(config, (draft) => states.forEach((state, i) => setState(draft, 'zpk-aes', i + 1, state)))
      service.process.kill('SIGHUP')
      const sha256 = sha256Of()
      let seen: any
      await until(
        `the step to ${states.join(' and ')}`,
        async () => {
          seen = await readiness()
          return seen.configuration.inUse === sha256
        },
        60_000,
      )
      return seen.vaults.filter(({ state }: any) => state === 'ready').map(({ id }: any) => id) as number[]
    }
    await step('retiring', 'active')
    expect((await step('retired', 'active')).filter((id) => before.includes(id))).toEqual([])
    await until('every vault to run by it', async () => (await readiness()).configuration.renewing === 0, 60_000)
  }, 90_000)

  it('takes over what was being tried out when the gateway ended, in the next gateway and in every vault', async () => {
    editConfig(config, (draft) => {
      draft.keys = draft.keys.filter(({ id, version }: any) => id !== 'zpk-aes' || version !== 1)
    })
    const sha256 = sha256Of()
    service.process.kill('SIGHUP')
    process.kill(childrenOf(service.ready.pid).gateways[0]!, 'SIGKILL')
    await until(
      'two vaults that run by it',
      async () => {
        // Nobody answers while there is no gateway.
        const { configuration, vaults } = await readiness().catch(() => ({}))
        return configuration?.inUse === sha256 && configuration.renewing === 0 && vaults.length === 2
      },
      60_000,
    )
    const { keys } = (await service.call('GET', '/v1/keys', undefined, { client: 'auditor' })).json
    expect(keys.filter(({ id }: any) => id === 'zpk-aes').map(({ version }: any) => version)).toEqual([2])
  }, 90_000)
})
