import { describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { isUsable, KeyCatalogue } from '../../../src/hsm/key-catalogue.ts'
import { SHIPPED_PROFILES } from '../../../src/pin-change/shipped-profiles.ts'

type State = KeyEntry['state']

const zone = (version: number, state: State, members: Partial<KeyEntry> = {}): KeyEntry => ({
  ...{ id: 'zpk', version, state, purpose: 'zone-pin', direction: 'both', algorithm: 'TDEA-128' },
  ...{ formats: ['ISO-0'], kcv: 'a1b2c3', check: 'a1b2c3', origin: 'imported' },
  ...members,
})
const prw = (version: number, state: State, members: Partial<KeyEntry> = {}): KeyEntry => ({
  ...{ id: 'prw', version, state, purpose: 'prw', use: ['generate', 'verify'], algorithm: 'TDEA-128' },
  ...{ profile: 'seccos-3des', kcv: 'a1b2c3', check: '00'.repeat(8), origin: 'imported' },
  ...members,
})
const catalogueOf = (...keys: KeyEntry[]) => new KeyCatalogue(keys, SHIPPED_PROFILES)
/** What a look-up gives: the version, or the code of its refusal. */
const found = (look: () => KeyEntry) => {
  try {
    return look().version
  } catch (error) {
    return (error as { code: string }).code
  }
}
const FORBIDDEN = 'ERR_KEY_USE_FORBIDDEN'
const UNAVAILABLE = 'ERR_HSM_UNAVAILABLE'

const STATES = catalogueOf(zone(1, 'retired'), zone(2, 'retiring'), zone(3, 'active'), zone(4, 'pending'))
const zoneKey = (catalogue: KeyCatalogue, direction: 'in' | 'out', version?: number, format = 'ISO-0' as const) =>
  found(() => catalogue.zoneKey({ key: 'zpk', format, ...(version !== undefined && { version }) }, direction))

describe('the key of a zone', () => {
  it('is the active version where none is named', () => {
    expect([zoneKey(STATES, 'in'), zoneKey(STATES, 'out')]).toEqual([3, 3])
    expect(zoneKey(catalogueOf(zone(2, 'retiring'), zone(4, 'pending')), 'in')).toBe(FORBIDDEN)
  })

  it('is the version that is named: any but a retired one for what comes in, the active one for what goes out', () => {
    expect([1, 2, 3, 4, 5].map((version) => zoneKey(STATES, 'in', version))).toEqual([FORBIDDEN, 2, 3, 4, FORBIDDEN])
    expect([1, 2, 3, 4, 5].map((version) => zoneKey(STATES, 'out', version))).toEqual([
      ...[FORBIDDEN, FORBIDDEN, 3, FORBIDDEN, FORBIDDEN],
    ])
  })

  it('has the rules of its own version', () => {
    const catalogue = catalogueOf(zone(1, 'retiring', { direction: 'out' }), zone(2, 'active', { formats: ['ISO-3'] }))
    expect(zoneKey(catalogue, 'in', 1)).toBe(FORBIDDEN)
    expect(zoneKey(catalogue, 'in', 2)).toBe(FORBIDDEN)
    expect(found(() => catalogue.zoneKey({ key: 'prw', format: 'ISO-0', version: 1 }, 'in'))).toBe(FORBIDDEN)
  })
})

describe('versions that are tried in turn', () => {
  const versions = (keys: readonly { readonly key: KeyEntry }[]) => keys.map(({ key }) => key.version)

  it('are the active one, then those being retired, then those to come, the newest of each first', () => {
    const states: State[] = ['retiring', 'pending', 'retired', 'active', 'retiring', 'pending']
    const catalogue = catalogueOf(...states.map((state, i) => prw(i + 1, state)), zone(9, 'active'))
    expect(versions(catalogue.verifyingKeys('prw', 'prw'))).toEqual([4, 5, 1, 6, 2])
    const zones = catalogueOf(...states.map((state, i) => zone(i + 1, state)))
    expect(zones.zoneKeys('zpk', 'ISO-0').map(({ version }) => version)).toEqual([4, 5, 1, 6, 2])
  })

  it('are those of this purpose and use alone; without any, it is as with a key that there is not', () => {
    const catalogue = catalogueOf(prw(1, 'retiring'), prw(2, 'active', { use: ['generate'] }), zone(1, 'active'))
    expect(versions(catalogue.verifyingKeys('prw', 'prw'))).toEqual([1])
    for (const look of [
      () => catalogue.verifyingKeys('prw', 'pin-mac')[0]!.key,
      () => catalogue.verifyingKeys('zpk', 'prw')[0]!.key,
      () => catalogueOf(prw(1, 'retired')).verifyingKeys('prw', 'prw')[0]!.key,
      () => catalogue.zoneKeys('zpk', 'ISO-3')[0]!,
    ]) {
      expect(found(look)).toBe(FORBIDDEN)
    }
  })

  it('do without one to come that the token cannot serve, and without no other', () => {
    const keys = [prw(1, 'retiring'), prw(2, 'active'), prw(3, 'pending')] as const
    const verdict = (...unavailable: KeyEntry[]) => {
      const catalogue = catalogueOf(...keys)
      catalogue.learnUnavailable(new Map(unavailable.map((key) => [key, { reason: 'why' }])))
      try {
        return versions(catalogue.verifyingKeys('prw', 'prw'))
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect(verdict(keys[2])).toEqual([2, 1])
    expect(verdict(keys[0])).toBe(UNAVAILABLE)
    expect(verdict(keys[1])).toBe(UNAVAILABLE)
  })
})

describe('what makes something new', () => {
  it('is the active version', () => {
    const generating = (...keys: KeyEntry[]) => found(() => catalogueOf(...keys).generatingKey('prw', 'prw').key)
    expect(generating(prw(1, 'retiring'), prw(2, 'active'), prw(3, 'pending'))).toBe(2)
    expect(generating(prw(1, 'retiring'), prw(3, 'pending'))).toBe(FORBIDDEN)
    const seal = (version: number, state: State) => zone(version, state, { id: 'seal', purpose: 'audit-mac' })
    expect(found(() => catalogueOf(seal(1, 'retiring'), seal(2, 'active'), seal(3, 'pending')).auditKey('seal'))).toBe(
      2,
    )
    const hash = (version: number, state: State) => zone(version, state, { id: 'hash', purpose: 'limit-hash' })
    expect(found(() => catalogueOf(hash(1, 'pending'), hash(2, 'active')).hashKey())).toBe(2)
  })
})

describe('a JWE key', () => {
  it('opens by its kid in every state that serves, and one kid is of one version', () => {
    const jwe = (version: number, state: State) =>
      zone(version, state, { id: 'jwe', purpose: 'jwe-decrypt', kid: `k${version}` })
    const keys = [jwe(1, 'retiring'), jwe(2, 'active'), jwe(3, 'pending')]
    const publicKey = { kty: 'EC', crv: 'P-256', x: '', y: '' } as const
    const catalogue = catalogueOf(...keys)
    catalogue.learnPublicKeys(new Map(keys.map((key) => [key, publicKey])))
    expect(['k1', 'k2', 'k3', 'k4'].map((kid) => catalogue.jweKey(kid, 'jwe-decrypt')?.version)).toEqual([
      1,
      2,
      3,
      undefined,
    ])
    const twin = { ...jwe(4, 'pending'), kid: 'k2' }
    expect(() => catalogue.learnPublicKeys(new Map([[twin, publicKey]]))).toThrow('its kid is that of key jwe too')
  })
})

describe('the keys of D1 registration', () => {
  const publicKey = { kty: 'EC', crv: 'P-256', x: 'AA', y: 'AA' } as const
  const assertion = (version: number, state: State, members: Partial<KeyEntry> = {}) =>
    zone(version, state, { id: 'sign', purpose: 'assertion-sign', issuerId: 'issuer0001', ...members })
  const learned = (...keys: KeyEntry[]) => {
    const catalogue = catalogueOf(...keys)
    catalogue.learnPublicKeys(new Map(keys.map((key) => [key, publicKey])))
    return catalogue
  }

  it('sign under the active version alone, with its kid, issuer and audience', () => {
    const catalogue = learned(
      ...[assertion(1, 'retiring'), assertion(2, 'active', { kid: 'k', audience: 'd1' }), assertion(3, 'pending')],
    )
    const { key, ...said } = catalogue.assertionKey('sign')
    expect([key.version, said]).toEqual([2, { kid: 'k', issuerId: 'issuer0001', audience: 'd1' }])
    expect(learned(assertion(1, 'active')).assertionKey('sign').kid).toMatch(/^[A-Za-z0-9_-]{43}$/)
    for (const state of ['retiring', 'pending', 'retired'] as const) {
      expect(found(() => learned(assertion(1, state)).assertionKey('sign').key)).toBe(FORBIDDEN)
    }
    const other = zone(1, 'active', { purpose: 'transcript-sign', issuerId: 'issuer0001' })
    expect(found(() => learned(other).assertionKey('zpk').key)).toBe(FORBIDDEN)
    const lost = assertion(1, 'active')
    const unavailable = catalogueOf(lost)
    unavailable.learnUnavailable(new Map([[lost, { reason: 'the token has no CKM_ECDSA' }]]))
    expect(found(() => unavailable.assertionKey('sign').key)).toBe(UNAVAILABLE)
  })

  it('open what names them, and nothing that is meant for another purpose', () => {
    const keys = [
      zone(1, 'active', { id: 'pins', purpose: 'jwe-decrypt', kid: 'p' }),
      zone(1, 'active', { id: 'data', purpose: 'jwe-open', kid: 'd' }),
    ]
    const catalogue = learned(...keys, assertion(1, 'active', { kid: 's' }))
    const ids = (purpose: 'jwe-decrypt' | 'jwe-open') =>
      ['p', 'd', 's'].map((kid) => catalogue.jweKey(kid, purpose)?.id)
    expect(ids('jwe-decrypt')).toEqual(['pins', undefined, undefined])
    expect(ids('jwe-open')).toEqual([undefined, 'data', undefined])
    expect(() => learned(keys[0]!, { ...keys[1]!, kid: 'p' })).toThrow('its kid is that of key pins too')
  })
})

describe('a key that has to be in the token', () => {
  it('is one in any state but retired', () => {
    const states: State[] = ['pending', 'active', 'retiring', 'retired']
    expect(states.map((state) => isUsable({ state }))).toEqual([true, true, true, false])
  })
})
