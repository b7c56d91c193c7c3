import { createCipheriv, createDecipheriv } from 'node:crypto'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { generateKey } from '../../src/cli/keys/generate-key.ts'
import type { PlannedKey } from '../../src/cli/keys/planned-key.ts'
import type { OpenedToken } from '../../src/cli/open-token.ts'
import type { KeyEntry, TokenConfig } from '../../src/config/schema.ts'
import { KeyCatalogue } from '../../src/hsm/key-catalogue.ts'
import { countObjects, handlesOf } from '../../src/hsm/pkcs11/key-objects.ts'
import { KeyMaker } from '../../src/hsm/pkcs11/make-keys.ts'
import { openToken } from '../../src/hsm/pkcs11/module.ts'
import { readKeyObjects } from '../../src/hsm/pkcs11/read-key-objects.ts'
import { unwrapExportableKey } from '../../src/hsm/pkcs11/unwrap-key.ts'
import { SHIPPED_PROFILES } from '../../src/pin-change/shipped-profiles.ts'
import { SecretScope } from '../../src/secret.ts'
import { skipOn } from '../support/skip-on.ts'
import { makeTestToken, type TestToken } from '../support/tokens.ts'

let testToken: TestToken
let opened: OpenedToken

beforeAll(async () => {
  testToken = await makeTestToken(inject('token'))
  Object.assign(process.env, testToken.members.environment)
  const token = openToken(testToken.members, testToken.pin)
  const settings = { ...testToken.members, name: 'test' } as unknown as TokenConfig
  const maker = await KeyMaker.open(token, 'production')
  opened = { token, settings, maker, throwIfInterrupted: () => undefined }
})
afterAll(async () => {
  opened.token.close()
  await testToken.dispose()
})

const COMMON = { version: 1, state: 'active' } as const
const GENERATED: readonly PlannedKey[] = [
  { ...COMMON, id: 'zone-128', purpose: 'zone-pin', direction: 'both', formats: ['ISO-0'], algorithm: 'TDEA-128' },
  { ...COMMON, id: 'zone-192', purpose: 'zone-pin', direction: 'out', formats: ['ISO-0'], algorithm: 'TDEA-192' },
  { ...COMMON, id: 'zone-aes', purpose: 'zone-pin', direction: 'both', formats: ['ISO-4'], algorithm: 'AES-256' },
  {
    ...COMMON,
    id: 'prw-tdea',
    purpose: 'prw',
    use: ['generate', 'verify'],
    profile: 'seccos-3des',
    algorithm: 'TDEA-192',
  },
  { ...COMMON, id: 'mac-aes', purpose: 'pin-mac', use: ['generate'], profile: 'dk-aes', algorithm: 'AES-128' },
  { ...COMMON, id: 'audit', purpose: 'audit-mac', algorithm: 'AES-256' },
  { ...COMMON, id: 'sign', purpose: 'transcript-sign', algorithm: 'EC-P256' },
]

/** Whether a key of this kind is beyond the token, by what it says when it is asked for one. */
async function generated(planned: PlannedKey) {
  try {
    return await generateKey(opened, planned)
  } catch (error) {
    expect(countObjects(opened.token, { ...planned, kcv: '', origin: 'generated' })).toBe(0)
    const sentence = (error as Error).message
    expect(sentence).toMatch(/cannot serve such a key|this token does not take a key of/)
    return sentence
  }
}

/** The value of a key that may leave, or why the token gives none out. */
function valueOf(entry: KeyEntry, secrets: SecretScope): Buffer | string {
  try {
    return unwrapExportableKey(opened, entry, secrets)
  } catch (error) {
    expect((error as Error).message).toContain('the token has no mechanism by which it gives a key out')
    return (error as Error).message
  }
}

describe('a key that is generated in the token', () => {
  it.for(GENERATED)('is proven, has its one use, and never leaves: $id', async (planned, context) => {
    const entry = await generated(planned)
    if (typeof entry === 'string') return skipOn(testToken.kind, context, entry)
    const [object, ...others] = readKeyObjects(opened.token, entry).filter(({ kind }) => kind !== 'public')
    expect(others).toEqual([])
    expect(object!.flags).toMatchObject({
      CKA_SENSITIVE: true,
      CKA_EXTRACTABLE: false,
      CKA_MODIFIABLE: false,
    })
    expect(await opened.maker.proves(entry, new KeyCatalogue([entry], SHIPPED_PROFILES))).toBe(true)
    if (entry.check === undefined) return
    const otherKcv = { ...entry, check: `${entry.check.startsWith('0') ? 1 : 0}${entry.check.slice(1)}` }
    expect(await opened.maker.proves(otherKcv, new KeyCatalogue([otherKcv], SHIPPED_PROFILES))).toBe(false)
  })

  it.for(['in', 'both'] as const)(
    'has the KCV of its value, and nothing of it stays in the session (%s)',
    async (direction, context) => {
      const zone = {
        purpose: 'zone-pin',
        direction,
        formats: ['ISO-0'],
        algorithm: 'TDEA-192',
        exportable: true,
      } as const
      const entry = await generated({ ...COMMON, ...zone, id: `given-${direction}`, formats: [...zone.formats] })
      if (typeof entry === 'string') return skipOn(testToken.kind, context, entry)
      expect(opened.token.anchor.find({ class: pkcs11.CKO_SECRET_KEY, token: false }).length).toBe(0)
      using secrets = new SecretScope()
      const value = valueOf(entry, secrets)
      if (typeof value === 'string') return skipOn(testToken.kind, context, value)
      const zeros = Buffer.alloc(8)
      const enciphered = createCipheriv('des-ede3', value, null).setAutoPadding(false).update(zeros)
      const deciphered = createDecipheriv('des-ede3', value, null).setAutoPadding(false).update(zeros)
      expect(enciphered.toString('hex', 0, 3).toUpperCase()).toBe(entry.kcv)
      expect((direction === 'in' ? deciphered : enciphered).toString('hex', 0, 3).toUpperCase()).toBe(entry.check)
      // NSS marks no copy as its own.
      expect(entry.origin).toBe(direction === 'in' && testToken.kind === 'nss' ? 'imported' : 'generated')
    },
  )

  it('is refused where no token generates such a one, and where an object of its name is there', async () => {
    const retail = {
      ...COMMON,
      id: 'retail',
      purpose: 'pin-mac',
      use: ['generate'],
      profile: 'seccos-3des',
      algorithm: 'TDEA-128',
    }
    await expect(generateKey(opened, retail as PlannedKey)).rejects.toThrow('No token generates that')
    const transport = {
      ...COMMON,
      id: 'kbpk',
      purpose: 'key-transport',
      use: ['import'],
      algorithm: 'TDEA-192',
      legacyBlocks: true,
    }
    await expect(generateKey(opened, transport as PlannedKey)).rejects.toThrow('three objects of one value')
    await expect(generateKey(opened, GENERATED.at(-2)!)).rejects.toThrow('holds a key audit version 1 already')
    expect(countObjects(opened.token, { ...GENERATED.at(-2)!, kcv: '', origin: 'generated' })).toBe(1)
  })

  it('is taken out again if it is not kept, and what another command has made of its name meanwhile is not', async (context) => {
    if (inject('token') === 'nss') skipOn('nss', context, 'the token keeps one object of a CKA_ID, the latest')
    const planned: PlannedKey = { ...COMMON, id: 'meanwhile', purpose: 'audit-mac', algorithm: 'AES-256' }
    const other = await KeyMaker.open(opened.token, 'production')
    const ends = generateKey(opened, planned, SHIPPED_PROFILES, (entry) => {
      const form = new KeyCatalogue([entry], SHIPPED_PROFILES).macFormOf(entry)
      other.importSecretKey(entry, form, Buffer.alloc(32, 0x5a))
      throw new Error('it cannot be written down')
    })
    await expect(ends).rejects.toThrow(
      'it cannot be written down\nToken test holds another key meanwhile version 1, which this command did not make',
    )
    const left = handlesOf(opened.token, { ...planned, kcv: '', origin: 'imported' })
    expect(left).toHaveLength(1)
    const [local] = opened.token.lib.C_GetAttributeValue(opened.token.anchor.handle, left[0]!, [
      { type: pkcs11.CKA_LOCAL },
    ])
    expect(local!.value[0]).toBe(0)
  })
})
