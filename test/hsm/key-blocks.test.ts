/** Key blocks of other implementations under transport keys of a real token, read and written, and keys that come out of it. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { KeyEntry } from '../../src/config/schema.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { destroyObjects } from '../../src/hsm/pkcs11/key-objects.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken, type Token } from '../../src/hsm/pkcs11/module.ts'
import { deriveBlockKeys, openUnder } from '../../src/hsm/pkcs11/transport-key.ts'
import type { Pkcs11Hsm } from '../../src/hsm/pkcs11/pkcs11-hsm.ts'
import { unwrapExportableKey } from '../../src/hsm/pkcs11/unwrap-key.ts'
import { parseKeyBlock, sealKeyBlock } from '../../src/key-block/key-block.ts'
import { symmetricKcv } from '../../src/key-block/kcv.ts'
import { setOddParity } from '../../src/key-block/tdea-key.ts'
import { SHIPPED_PROFILES } from '../../src/pin-change/shipped-profiles.ts'
import { SecretScope } from '../../src/secret.ts'
import { oracleOpen } from '../support/key-block-oracle.ts'
import { skipOn } from '../support/skip-on.ts'
import { makeTestToken, type TestToken } from '../support/tokens.ts'
import { KeyBlockVectors, readVectors } from '../support/vector-file.ts'

const kind = inject('token')
const A_7_4 = 'TR-31:2018 A.7.4'
const VECTORS = readVectors(KeyBlockVectors, 'tr31.json').testGroups.flatMap(({ tests }) => tests)
/** A block under a protection key that is another one in its first byte. */
const WRONG = ((vector) => ({ ...vector, key: `00${vector.key.slice(2)}` }))(
  VECTORS.find(({ comment }) => comment === A_7_4)!,
)

let testToken: TestToken
let token: Token
let maker: KeyMaker
let hsm: Pkcs11Hsm
let kbpks: ReadonlyMap<string, KeyEntry>

/** The protection key of a block. */
function kbpkOf({ block, key }: { readonly block: string; readonly key: string }): KeyEntry {
  return kbpks.get(`${block.startsWith('D') ? 'AES' : 'TDEA'}-${4 * key.length} ${key}`)!
}

beforeAll(async () => {
  testToken = await makeTestToken(kind)
  Object.assign(process.env, testToken.members.environment)
  token = openToken(testToken.members, testToken.pin)
  maker = await KeyMaker.open(token, 'production')
  kbpks = kbpkEntries()
  const catalogue = new KeyCatalogue([...kbpks.values()], [])
  for (const [name, key] of kbpks) {
    maker.importSecretKey(key, catalogue.macFormOf(key), Buffer.from(name.split(' ')[1]!, 'hex'))
  }
  // Found as at a start: every flag of every object is held against the catalogue.
  hsm = await maker.find([...kbpks.values()], catalogue)
})
afterAll(async () => {
  token.close()
  await testToken.dispose()
})

function kcvOf(algorithm: KeyEntry['algorithm'], value: Buffer): string {
  using secrets = new SecretScope()
  return symmetricKcv(algorithm.startsWith('TDEA') ? 'TDEA' : 'AES', value, secrets)
}

/** Each protection key of the vectors once, under every version of block that it has blocks of. */
function kbpkEntries(): Map<string, KeyEntry> {
  const entries = new Map<string, KeyEntry>()
  for (const { block, key } of [...VECTORS.filter(({ problem }) => problem !== 'form'), WRONG]) {
    const isAes = block.startsWith('D')
    const algorithm = `${isAes ? 'AES' : 'TDEA'}-${4 * key.length}` as KeyEntry['algorithm']
    const name = `${algorithm} ${key}`
    if (entries.has(name)) continue
    entries.set(name, {
      id: `kbpk-${entries.size}`,
      version: 1,
      state: 'active',
      purpose: 'key-transport',
      algorithm,
      use: ['import', 'export'],
      kcv: kcvOf(algorithm, Buffer.from(key, 'hex')),
      origin: 'imported',
      ...(!isAes && { legacyBlocks: true }),
    })
  }
  return entries
}

describe('key blocks of other implementations, under a key-transport key in the token', () => {
  const valid = VECTORS.filter(({ result }) => result === 'valid')

  it.each(valid)('opens: $comment ($tcId)', async (vector) => {
    const { block, wrapped, kcv } = vector
    using secrets = new SecretScope()
    const value = await openUnder(hsm, kbpkOf(vector), parseKeyBlock(block), secrets)
    expect(value.toString('hex')).toBe(wrapped)
    if (kcv !== undefined) expect(kcvOf(block[7] === 'A' ? 'AES-128' : 'TDEA-128', value)).toBe(kcv)
  })

  it.each(valid.filter(({ block }) => 'BD'.includes(block[0]!)))(
    'is written again as it was, with its own padding: $comment ($tcId)',
    async (vector) => {
      const { block, key, wrapped, padding } = vector
      const clear = oracleOpen(block, key)!
      expect(clear.key).toBe(wrapped)
      if (padding !== undefined) expect(clear.padding).toBe(padding)
      using secrets = new SecretScope()
      const keys = await deriveBlockKeys(hsm, kbpkOf(vector), secrets)
      const { header } = parseKeyBlock(block)
      expect(sealKeyBlock(header, Buffer.from(wrapped, 'hex'), keys, Buffer.from(clear.padding, 'hex'))).toBe(block)
    },
  )

  it.each(VECTORS.filter(({ problem }) => problem === 'refused'))(
    'refuses, by one error: $comment ($tcId)',
    async (vector) => {
      using secrets = new SecretScope()
      const opened = openUnder(hsm, kbpkOf(vector), parseKeyBlock(vector.block), secrets)
      await expect(opened).rejects.toMatchObject({
        problem: 'refused',
        message: 'the key block is not valid under this transport key, or is for another use',
      })
    },
  )

  it('refuses a damaged header, body or MAC, and another transport key, by the same error', async () => {
    const vector = valid.find(({ comment }) => comment === A_7_4)!
    const flipped = (at: number): typeof vector => {
      const { block } = vector
      return { ...vector, block: block.slice(0, at) + (block[at] === '0' ? '1' : '0') + block.slice(at + 1) }
    }
    const errors: unknown[] = []
    for (const each of [...[9, 20, 79, 111].map(flipped), WRONG]) {
      using secrets = new SecretScope()
      const opened = openUnder(hsm, kbpkOf(each), parseKeyBlock(each.block), secrets)
      errors.push(await opened.catch((error: unknown) => error))
    }
    for (const error of errors) expect(error).toMatchObject({ problem: 'refused' })
    expect(new Set(errors.map(String)).size).toBe(1)
  })
})

describe('an exportable key', () => {
  const planned: readonly Omit<KeyEntry, 'kcv'>[] = (
    [
      ['TDEA-128', { purpose: 'zone-pin', direction: 'both', formats: ['ISO-0'] }],
      ['TDEA-192', { purpose: 'zone-pin', direction: 'out', formats: ['ISO-0'] }],
      ['AES-128', { purpose: 'prw', use: ['generate', 'verify'], profile: 'dk-aes' }],
      ['AES-256', { purpose: 'zone-pin', direction: 'in', formats: ['ISO-4'] }],
      ['TDEA-128', { purpose: 'pin-mac', use: ['verify'], profile: 'seccos-3des' }],
    ] as const
  ).map(
    ([algorithm, members], i) =>
      ({
        id: `leaves-${i}`,
        version: 1,
        state: 'active',
        algorithm,
        origin: 'imported',
        exportable: true,
        ...(structuredClone(members) as object),
      }) as Omit<KeyEntry, 'kcv'>,
  )

  /** What these tokens do not wrap, whatever they are asked to. */
  function whyKept({ algorithm, purpose }: KeyEntry): string | undefined {
    if (kind === 'p11-kit') return 'no mechanism that wraps gets through p11-kit'
    if (kind === 'opencryptoki' && algorithm === 'TDEA-128' && purpose === 'zone-pin') {
      return 'it wraps no double-length TDEA key (CKR_KEY_NOT_WRAPPABLE)'
    }
    return undefined
  }

  it.for(planned)('comes out of the token as it went in: $purpose, $algorithm', (entry, context) => {
    const value = randomBytes(Number(/\d+$/.exec(entry.algorithm)![0]) / 8)
    if (entry.algorithm.startsWith('TDEA')) setOddParity(value)
    const key: KeyEntry = { ...entry, kcv: kcvOf(entry.algorithm, value) }
    const form = new KeyCatalogue([key], SHIPPED_PROFILES).macFormOf(key)
    const reason = maker.whyUnavailable(key, form) ?? whyKept(key)
    if (reason !== undefined) skipOn(kind, context, reason)
    try {
      maker.importSecretKey(key, form, value)
      using secrets = new SecretScope()
      expect(unwrapExportableKey({ token }, key, secrets).toString('hex')).toBe(value.toString('hex'))
      const other: KeyEntry = { ...key, kcv: '0'.repeat(key.kcv.length) }
      expect(() => unwrapExportableKey({ token }, other, secrets)).toThrow("its KCV is not the catalogue's")
    } finally {
      destroyObjects(token, key)
    }
  })

  it('comes out only if the configuration calls it exportable, and only if the token does', () => {
    const value = randomBytes(16)
    const key = { ...planned[2]!, kcv: kcvOf('AES-128', value) }
    const { exportable: _, ...staying } = key
    try {
      maker.importSecretKey(staying, new KeyCatalogue([staying], SHIPPED_PROFILES).macFormOf(staying), value)
      using secrets = new SecretScope()
      expect(() => unwrapExportableKey({ token }, staying, secrets)).toThrow('does not call it exportable')
      expect(() => unwrapExportableKey({ token }, key, secrets)).toThrow('cannot leave')
    } finally {
      destroyObjects(token, key)
    }
  })
})
