/**
 * Translation as the vault does it, on a real token, against a model of its own: node-forge deciphers, the naive oracle of
 * strings decodes, and a table says what may become what.
 */
import { randomBytes, randomInt } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { RequestOf } from '../../src/bridge/contract.ts'
import { packBlocks } from '../../src/bridge/packed-blocks.ts'
import type { KeyEntry } from '../../src/config/schema.ts'
import type { Hsm } from '../../src/hsm/hsm.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { setOddParity } from '../../src/key-block/tdea-key.ts'
import { SHIPPED_PROFILES } from '../../src/pin-change/shipped-profiles.ts'
import type { VaultContext } from '../../src/vault/context.ts'
import { translatePinBlocks } from '../../src/vault/operations/translate-pin-blocks.ts'
import { agreed, ORACLES } from '../support/oracles.ts'
import { makeHsm, type TestHsm } from '../support/hsm.ts'
import {
  ORACLE_FORMATS,
  oracleDecipher,
  oracleDecode,
  oracleEncipher,
  oracleEncode,
  type OracleFormat,
} from '../unit/pin/pin-block-oracle.ts'

type Zone = RequestOf<'translatePinBlocks'>['from']
interface Item {
  readonly pan: string
  readonly pinBlock: string
}

const forge = ORACLES.find(({ name }) => name === 'node-forge')!

const TDEA_FORMATS: KeyEntry['formats'] = ['ISO-0', 'ISO-1', 'ISO-3']
const planned = (id: string, algorithm: KeyEntry['algorithm'], direction: KeyEntry['direction'] = 'both') => ({
  id,
  algorithm,
  direction,
  purpose: id.startsWith('seccos') ? ('seccos-pin' as const) : ('zone-pin' as const),
  formats: id.startsWith('seccos')
    ? ['SECCOS' as const]
    : algorithm.startsWith('AES')
      ? ['ISO-4' as const]
      : TDEA_FORMATS,
})
const PLANNED = [
  planned('tdea-128', 'TDEA-128'),
  planned('tdea-192', 'TDEA-192'),
  planned('aes-128', 'AES-128'),
  planned('aes-192', 'AES-192'),
  planned('aes-256', 'AES-256'),
  planned('seccos-128', 'TDEA-128'),
  planned('seccos-192', 'TDEA-192'),
  planned('tdea-in', 'TDEA-128', 'in'),
  planned('tdea-out', 'TDEA-192', 'out'),
  planned('aes-in', 'AES-256', 'in'),
  planned('aes-out', 'AES-128', 'out'),
  planned('seccos-in', 'TDEA-128', 'in'),
  planned('seccos-out', 'TDEA-192', 'out'),
]

/** The keys that serve a format both ways. */
const KEYS: Readonly<Record<OracleFormat, readonly string[]>> = {
  'ISO-0': ['tdea-128', 'tdea-192'],
  'ISO-1': ['tdea-128', 'tdea-192'],
  'ISO-3': ['tdea-128', 'tdea-192'],
  'ISO-4': ['aes-128', 'aes-192', 'aes-256'],
  SECCOS: ['seccos-128', 'seccos-192'],
}
/** Of each pair of formats, what PCI PIN requirement 3-3 permits, and SECCOS where it is granted. */
const PERMITTED: Readonly<Record<OracleFormat, readonly OracleFormat[]>> = {
  'ISO-0': ['ISO-0', 'ISO-3', 'ISO-4', 'SECCOS'],
  'ISO-1': ['ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS'],
  'ISO-3': ['ISO-0', 'ISO-3', 'ISO-4', 'SECCOS'],
  'ISO-4': ['ISO-0', 'ISO-3', 'ISO-4', 'SECCOS'],
  SECCOS: ['ISO-0', 'ISO-3', 'ISO-4', 'SECCOS'],
}
const CELLS = ORACLE_FORMATS.flatMap((from) => ORACLE_FORMATS.map((to) => ({ from, to })))
const PAIRS = CELLS.filter(({ from, to }) => PERMITTED[from].includes(to))

/** What is translated is the same on every token: all pairs of keys are gone through on one. */
const IS_WHOLE = inject('token') === 'softhsm'
const PIN_LENGTHS = [4, 5, 6, 7, 8, 9, 10, 11, 12]
const PAN_LENGTHS = [12, 13, 14, 15, 16, 17, 18, 19]

let token: TestHsm
let open: Awaited<ReturnType<TestHsm['open']>>
let context: VaultContext
const values = new Map<string, string>()

beforeAll(async () => {
  token = await makeHsm()
  const entries = PLANNED.map((key): KeyEntry => {
    const value = randomBytes(Number(key.algorithm.split('-')[1]) / 8)
    if (key.algorithm.startsWith('TDEA')) setOddParity(value)
    values.set(key.id, value.toString('hex'))
    const entry = { ...key, version: 1, state: 'active' as const, origin: 'imported' as const, kcv: kcvOf(key) }
    return { ...entry, check: checkOf(key) }
  })
  await token.spoil(async (opened) => {
    const maker = await KeyMaker.open(opened, 'development')
    for (const entry of entries) maker.importSecretKey(entry, undefined, Buffer.from(values.get(entry.id)!, 'hex'))
  })
  open = await token.open(({ keys }) => keys.push(...entries))
  context = {
    hsm: open.hsm,
    catalogue: new KeyCatalogue(open.keys, SHIPPED_PROFILES),
    d1Profiles: new Map(),
    recipients: new Map(),
    dataRecipients: new Map(),
    isPinMember: () => false,
    seccosTranslation: true,
    isWeakPin: () => false,
  }
})
afterAll(async () => {
  open.close()
  await token.dispose()
})

function cipherOf(id: string): 'AES' | 'TDEA' {
  return PLANNED.find((key) => key.id === id)!.algorithm.startsWith('AES') ? 'AES' : 'TDEA'
}

function kcvOf({ id }: { id: string }): string {
  const value = values.get(id)!
  if (cipherOf(id) === 'AES') return agreed(({ cmac }) => cmac('AES', value, '00'.repeat(16))).slice(0, 10)
  return agreed(({ ecb }) => ecb('TDEA', value, '00'.repeat(8))).slice(0, 6)
}

function checkOf({ id, direction }: { id: string; direction: KeyEntry['direction'] }): string {
  const zeros = '00'.repeat(cipherOf(id) === 'AES' ? 16 : 8)
  const answer = agreed((oracle) =>
    (direction === 'in' ? oracle.decipherEcb : oracle.ecb)(cipherOf(id), values.get(id)!, zeros),
  )
  return answer.slice(0, cipherOf(id) === 'AES' ? 10 : 6)
}

// ---- the model

const encipherBy = (key: string) => (blockHex: string) => forge.ecb(cipherOf(key), values.get(key)!, blockHex)
const decipherBy = (key: string) => (blockHex: string) => forge.decipherEcb(cipherOf(key), values.get(key)!, blockHex)

/** The PIN in a block under a key, or undefined if it is not a block of that format in its strict form. */
function pinOf({ key, format }: { key: string; format: OracleFormat }, { pinBlock, pan }: Item): string | undefined {
  return oracleDecode(format, oracleDecipher(format, decipherBy(key), pinBlock, pan), pan)
}

/** A block of a PIN under a key; its filler is as varied as the format allows. */
function itemOf({ key, format }: { key: string; format: OracleFormat }, pin: string, pan: string): Item {
  return { pan, pinBlock: oracleEncipher(format, encipherBy(key), clearBlock(format, pin, pan), pan) }
}

function clearBlock(format: OracleFormat, pin: string, pan: string): string {
  return oracleEncode(format, pin, pan, fillerOf(format).slice(pin.length - 4))
}

function fillerOf(format: OracleFormat): string {
  const random = [...randomBytes(26)]
  const text = (nibble: (byte: number) => number) => random.map((byte) => nibble(byte).toString(16)).join('')
  if (format === 'ISO-1') return text((byte) => byte & 15)
  if (format === 'ISO-3') return text((byte) => 10 + (byte % 6))
  if (format === 'ISO-4') return 'a'.repeat(10) + text((byte) => byte & 15).slice(0, 16)
  return 'f'.repeat(26)
}

const digits = (length: number) => Array.from({ length }, () => randomInt(10)).join('')
const newPan = (length = 16) => `${randomInt(1, 10)}${digits(length - 1)}`
const blockBytes = (format: OracleFormat) => (format === 'ISO-4' ? 16 : 8)
const zerosOf = (format: OracleFormat) => '00'.repeat(blockBytes(format))

/** Translates, and takes the answer apart into blocks. */
async function translate(from: Zone, to: Zone, items: readonly Item[], inContext = context) {
  const { packed, ...answer } = await translatePinBlocks(inContext, { from, to, ...packBlocks(items) })
  const bytes = blockBytes(to.format)
  expect(packed.length).toBe(items.length * bytes)
  const blocks = items.map((_, i) =>
    packed
      .subarray(i * bytes, (i + 1) * bytes)
      .toString('hex')
      .toUpperCase(),
  )
  return { ...answer, blocks }
}

/** Translates, and holds every item against the model: its PIN in the strict form of the new format, or its rejection. */
async function expectAsTheModel(
  from: { key: string; format: OracleFormat },
  to: { key: string; format: OracleFormat },
  items: readonly Item[],
): Promise<(string | undefined)[]> {
  const pins = items.map((item) => pinOf(from, item))
  const { blocks, ...answer } = await translate(from, to, items)
  const refOf = (id: string) => ({ id, version: 1, kcv: kcvOf({ id }).toUpperCase() })
  expect(answer).toEqual({
    format: to.format,
    key: refOf(to.key),
    usedKeys: [refOf(from.key)],
    rejected: pins.flatMap((pin, i) => (pin === undefined ? [i] : [])),
  })
  blocks.forEach((pinBlock, i) => {
    const pin = pins[i]
    const { pan } = items[i]!
    if (pin === undefined) return expect([i, pinBlock]).toEqual([i, zerosOf(to.format)])
    expect([i, pinOf(to, { pinBlock, pan })]).toEqual([i, pin])
    // Without random filler there is one block only.
    if (to.format === 'ISO-0' || to.format === 'SECCOS') expect(pinBlock).toBe(itemOf(to, pin, pan).pinBlock)
  })
  return pins
}

/** The HSM of a vault that must not ask it for anything. */
const NO_HSM = new Proxy({} as Hsm, {
  get(_, key) {
    throw new Error(`the HSM was asked for ${String(key)}`)
  },
})

describe.each(PAIRS)('from $from to $to', ({ from, to }) => {
  const zones = KEYS[from].flatMap((fromKey) =>
    KEYS[to].map((toKey) => ({ from: { key: fromKey, format: from }, to: { key: toKey, format: to } })),
  )
  const tried = IS_WHOLE ? zones : zones.slice(-1)

  it.each(tried)('keeps every length of PIN and PAN, under $from.key and $to.key', async ({ from, to }) => {
    const items = PIN_LENGTHS.flatMap((pinLength) =>
      PAN_LENGTHS.map((panLength) => itemOf(from, digits(pinLength), newPan(panLength))),
    )
    const pins = await expectAsTheModel(from, to, items)
    expect(pins.map((pin) => pin?.length)).toEqual(PIN_LENGTHS.flatMap((length) => PAN_LENGTHS.map(() => length)))
  })

  it('rejects wrong blocks one by one, and nothing else, in any order', async () => {
    let rejected = 0
    let kept = 0
    const anyPan = fc.stringMatching(/^[1-9][0-9]{11,18}$/)
    const anyItem = fc.record({
      kind: fc.constantFrom('good', 'good', 'control', 'nibble', 'bytes', 'other PAN', 'other key'),
      pin: fc.stringMatching(/^[0-9]{4,12}$/),
      pan: anyPan,
      otherPan: anyPan,
      nibble: fc.nat(15),
      change: fc.integer({ min: 1, max: 15 }),
      bytes: fc.uint8Array({ minLength: blockBytes(from), maxLength: blockBytes(from) }),
    })
    const anyZones = fc.constantFrom(...zones)
    await fc.assert(
      fc.asyncProperty(anyZones, fc.array(anyItem, { minLength: 1, maxLength: 12 }), async (zone, rows) => {
        const items = rows.map(({ kind, pin, pan, otherPan, nibble, change, bytes }): Item => {
          const good = clearBlock(from, pin, pan)
          const changed = (Number.parseInt(good.charAt(nibble), 16) ^ change).toString(16)
          const clear = {
            control: `5${good.slice(1)}`,
            nibble: good.slice(0, nibble) + changed + good.slice(nibble + 1),
            bytes: Buffer.from(bytes).toString('hex').toUpperCase(),
          }[kind as string]
          const key = kind === 'other key' ? KEYS[from].find((id) => id !== zone.from.key) : zone.from.key
          const pinBlock = oracleEncipher(from, encipherBy(key!), clear ?? good, pan)
          return { pinBlock, pan: kind === 'other PAN' ? otherPan : pan }
        })
        const pins = await expectAsTheModel(zone.from, zone.to, items)
        rejected += pins.filter((pin) => pin === undefined).length
        kept += pins.filter((pin) => pin !== undefined).length
      }),
      { numRuns: IS_WHOLE ? 40 : 15 },
    )
    expect(rejected).toBeGreaterThan(IS_WHOLE ? 10 : 2)
    expect(kept).toBeGreaterThan(IS_WHOLE ? 10 : 2)
  })

  it('answers with zeros only, and asks for no encipherment, where every block is wrong', async () => {
    const { from: source, to: target } = zones[0]!
    const pan = newPan()
    const wrong = oracleEncipher(from, encipherBy(source.key), `5${clearBlock(from, '1234', pan).slice(1)}`, pan)
    const items = Array.from({ length: 5 }, () => ({ pan, pinBlock: wrong }))
    const calls: string[] = []
    const { rejected, blocks } = await translate(source, target, items, { ...context, hsm: counting(calls) })
    expect(rejected).toEqual([0, 1, 2, 3, 4])
    expect(blocks).toEqual(items.map(() => zerosOf(to)))
    expect(calls).not.toContain('encipherBlocks')
  })

  it('asks the HSM once a pass for all blocks, and once for all random filler', async () => {
    const { from: source, to: target } = zones[0]!
    const items = Array.from({ length: 300 }, () => itemOf(source, digits(6), newPan()))
    const calls: string[] = []
    await translate(source, target, items, { ...context, hsm: counting(calls) })
    const passes = (format: OracleFormat, verb: string) => Array<string>(format === 'ISO-4' ? 2 : 1).fill(verb)
    const random = to === 'ISO-0' || to === 'SECCOS' ? [] : ['fillRandom']
    expect(calls).toEqual([...passes(from, 'decipherBlocks'), ...random, ...passes(to, 'encipherBlocks')])
  })
})

/** The token, with what is asked of it written down. */
function counting(calls: string[]): Hsm {
  return new Proxy<Hsm>(open.hsm, {
    get(hsm, key) {
      const value: unknown = Reflect.get(hsm, key, hsm)
      if (typeof value !== 'function') return value
      return (...args: unknown[]): unknown => {
        calls.push(String(key))
        return Reflect.apply(value, hsm, args)
      }
    },
  })
}

describe('random filler', () => {
  const FILLED: readonly { format: OracleFormat; key: string; positions: readonly number[]; allowed: string }[] = [
    { format: 'ISO-1', key: 'tdea-192', positions: range(6, 16), allowed: '0123456789ABCDEF' },
    { format: 'ISO-3', key: 'tdea-192', positions: range(6, 16), allowed: 'ABCDEF' },
    { format: 'ISO-4', key: 'aes-256', positions: range(16, 32), allowed: '0123456789ABCDEF' },
  ]
  const source = { key: 'tdea-128', format: 'ISO-1' } as const

  it.each(FILLED)('of $format differs between calls and between the items of one call', async ({ key, format }) => {
    const pan = newPan()
    const items = Array.from({ length: 50 }, () => itemOf(source, '1234', pan))
    const first = await translate(source, { key, format }, items)
    const second = await translate(source, { key, format }, items)
    expect(new Set([...first.blocks, ...second.blocks]).size).toBe(100)
  })

  it.each(FILLED)(
    'of $format takes every value that it may in every place',
    async ({ key, format, positions, allowed }) => {
      // A PAN whose field holds zeros where the filler is added to it.
      const pan = '100000000000'
      const items = Array.from({ length: 600 }, () => itemOf(source, '1234', pan))
      const { blocks } = await translate(source, { key, format }, items)
      const clear = blocks.map((block) => oracleDecipher(format, decipherBy(key), block, pan))
      for (const position of positions) {
        const seen = [...new Set(clear.map((block) => block.charAt(position)))].sort().join('')
        // 600 draws miss one of 16 values in one place of 4 · 10¹⁵.
        expect([position, seen]).toEqual([position, allowed])
      }
    },
  )

  it.each([
    { format: 'ISO-0', key: 'tdea-192' },
    { format: 'SECCOS', key: 'seccos-128' },
  ])('there is none in $format', async (to) => {
    const pan = newPan()
    const items = Array.from({ length: 10 }, () => itemOf(source, '1234', pan))
    const { blocks } = await translate(source, to as Zone, items)
    expect(new Set(blocks).size).toBe(1)
  })
})

describe('refuses', () => {
  /** Expects a refusal before anything is asked of the HSM. */
  async function expectRefusal(from: object, to: object, code: string, inContext: Partial<VaultContext> = {}) {
    const { format } = from as { format: OracleFormat }
    const items = [{ pan: newPan(), pinBlock: '00'.repeat(format === 'ISO-4' ? 16 : 8) }]
    const request = { from: from as Zone, to: to as Zone, ...packBlocks(items) }
    await expect(translatePinBlocks({ ...context, hsm: NO_HSM, ...inContext }, request)).rejects.toMatchObject({
      name: 'ServiceError',
      code,
    })
  }

  const FORBIDDEN = CELLS.filter(({ from, to }) => !PERMITTED[from].includes(to))

  it('knows 21 pairs that are permitted and 4 that are not', () => {
    expect([PAIRS.length, FORBIDDEN.length]).toEqual([21, 4])
  })

  it.each(FORBIDDEN)('$from to $to under any keys with ERR_TRANSLATION_FORBIDDEN', async ({ from, to }) => {
    for (const fromKey of KEYS[from]) {
      for (const toKey of [...KEYS[to], 'prw', 'none']) {
        await expectRefusal({ key: fromKey, format: from }, { key: toKey, format: to }, 'ERR_TRANSLATION_FORBIDDEN')
      }
    }
  })

  it.each(CELLS.filter(({ from, to }) => from === 'SECCOS' || to === 'SECCOS'))(
    '$from to $to with ERR_TRANSLATION_FORBIDDEN where no client has the SECCOS grant',
    async ({ from, to }) => {
      const zones = [
        { key: KEYS[from][0]!, format: from },
        { key: KEYS[to][0]!, format: to },
      ] as const
      await expectRefusal(...zones, 'ERR_TRANSLATION_FORBIDDEN', { seccosTranslation: false })
    },
  )

  const TDEA = { key: 'tdea-128', format: 'ISO-0' }
  const AES = { key: 'aes-256', format: 'ISO-4' }
  const SECCOS = { key: 'seccos-128', format: 'SECCOS' }
  const as = (format: string) => (key: string) => ({ key, format })
  const OTHERS = ['prw', 'pin-mac', 'prw-aes', 'pin-mac-aes', 'jwe-ec', 'jwe-rsa', 'none', '']

  it.each([
    ['tdea-out', 'ISO-0'],
    ['tdea-out', 'ISO-1'],
    ['tdea-out', 'ISO-3'],
    ['aes-out', 'ISO-4'],
    ['seccos-out', 'SECCOS'],
  ])('the outgoing key %s as the source of %s with ERR_KEY_USE_FORBIDDEN', async (key, format) => {
    await expectRefusal({ key, format }, TDEA, 'ERR_KEY_USE_FORBIDDEN')
    await expectRefusal({ key, format }, AES, 'ERR_KEY_USE_FORBIDDEN')
  })

  it.each([
    ['tdea-in', 'ISO-0'],
    ['tdea-in', 'ISO-3'],
    ['aes-in', 'ISO-4'],
    ['seccos-in', 'SECCOS'],
  ])('the incoming key %s as the target of %s with ERR_KEY_USE_FORBIDDEN', async (key, format) => {
    await expectRefusal(TDEA, { key, format }, 'ERR_KEY_USE_FORBIDDEN')
    await expectRefusal(AES, { key, format }, 'ERR_KEY_USE_FORBIDDEN')
  })

  it.each([
    ...[...OTHERS, 'aes-128', 'aes-256', 'seccos-128'].map(as('ISO-0')),
    ...[...OTHERS, 'aes-192', 'seccos-192'].map(as('ISO-3')),
    ...[...OTHERS, 'tdea-128', 'tdea-192', 'seccos-128'].map(as('ISO-4')),
    ...[...OTHERS, 'tdea-128', 'tdea-192', 'aes-128'].map(as('SECCOS')),
  ])('key $key for $format, another purpose, format or no key, with ERR_KEY_USE_FORBIDDEN', async (zone) => {
    await expectRefusal(zone, TDEA, 'ERR_KEY_USE_FORBIDDEN')
    await expectRefusal(TDEA, zone, 'ERR_KEY_USE_FORBIDDEN')
    await expectRefusal(SECCOS, zone, 'ERR_KEY_USE_FORBIDDEN')
  })

  it.each(['pending', 'retiring', 'retired'] as const)('a %s key with ERR_KEY_USE_FORBIDDEN', async (state) => {
    const keys = open.keys.map((key) => (key.id === 'tdea-128' ? { ...key, state } : key))
    const catalogue = new KeyCatalogue(keys, SHIPPED_PROFILES)
    await expectRefusal(TDEA, AES, 'ERR_KEY_USE_FORBIDDEN', { catalogue })
    await expectRefusal(AES, TDEA, 'ERR_KEY_USE_FORBIDDEN', { catalogue })
  })

  it.each([-1, 1, 8, -10, 10])('%i bytes too many with ERR_REQUEST_INVALID', async (bytes) => {
    for (const from of [TDEA, AES, SECCOS] as Zone[]) {
      const items = [1, 2, 3].map(() => ({
        pan: newPan(),
        pinBlock: '00'.repeat(blockBytes(from.format)),
      }))
      const { packed } = packBlocks(items)
      const wrong = bytes < 0 ? packed.subarray(0, bytes) : Buffer.concat([packed, Buffer.alloc(bytes)])
      const request = { from, to: TDEA as Zone, items: 3, packed: wrong }
      await expect(translatePinBlocks({ ...context, hsm: NO_HSM }, request)).rejects.toMatchObject({
        code: 'ERR_REQUEST_INVALID',
      })
    }
  })

  it.each([
    ['no digit', '0'.repeat(20)],
    ['11 digits', '41234567890'],
    ['20 digits', '41234567890123456789'],
    ['a nibble A', '400000123456789A'],
    ['a nibble F before it', 'F0004000001234567899'],
  ])('a PAN of %s in any place with ERR_REQUEST_INVALID', async (_what, nibbles) => {
    for (const from of [TDEA, AES, SECCOS] as { key: string; format: OracleFormat }[]) {
      for (const place of [0, 1, 2]) {
        const items = [0, 1, 2].map(() => itemOf(from, '1234', newPan()))
        const { packed } = packBlocks(items)
        packed.write(nibbles.padStart(20, '0'), place * 10, 'hex')
        const request = { from: from, to: TDEA as Zone, items: 3, packed }
        await expect(translatePinBlocks(context, request)).rejects.toMatchObject({ code: 'ERR_REQUEST_INVALID' })
      }
    }
  })
})

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i)
}
