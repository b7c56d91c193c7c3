/**
 * The key catalogue: which configured key may do what. Purpose, direction, use, format and profile are enforced here, in
 * the vault, before the HSM is touched; every refusal is ERR_KEY_USE_FORBIDDEN, as for a key that does not exist. A key that may do
 * it and that the token cannot serve is ERR_HSM_UNAVAILABLE.
 */
import type { KeyEntry } from '../config/schema.ts'
import type { KeyRef, Zone } from '../bridge/contract.ts'
import { ServiceError } from '../errors.ts'
import { jwkThumbprint } from '../key-block/kcv.ts'
import type { Profile, ProfileKind } from '../pin-change/profile.ts'
import { isJweKey } from './key-pairs.ts'
import { HsmStartError, type PublicKey, type UnavailableKey } from './hsm.ts'
import { macFormOf, type MacForm } from './mac-keys.ts'

type State = KeyEntry['state']

/** The states of the versions that serve: one that makes things first, then those that made some, then those that will. */
const SERVING: readonly State[] = ['active', 'retiring', 'pending']

/** A PRW or MAC key together with its one profile. */
export interface ProfiledKey {
  readonly key: KeyEntry
  readonly profile: Profile
}

/** A key that signs assertions: under which kid, for whom, and to whom if that is said. */
export interface AssertionKey {
  readonly key: KeyEntry
  readonly kid: string
  readonly issuerId: string
  readonly audience: string | undefined
}

export class KeyCatalogue {
  readonly #active = new Map<string, KeyEntry>()
  /** Of each id, in the order in which they are tried. */
  readonly #versions = new Map<string, KeyEntry[]>()
  readonly #refs = new Map<KeyEntry, KeyRef>()
  readonly #byKid = new Map<string, KeyEntry>()
  /** Of keys that sign what names its key. */
  readonly #signingKids = new Map<KeyEntry, string>()
  readonly #profiles = new Map<string, Profile>()
  readonly #unavailable = new Set<KeyEntry>()

  /**
   * @param keys - the configured keys; retired ones serve nothing.
   * @param profiles - the shipped and the configured profiles, known by kind and id.
   */
  constructor(keys: readonly KeyEntry[], profiles: readonly Profile[]) {
    for (const profile of profiles) this.#profiles.set(`${profile.kind}:${profile.id}`, profile)
    for (const state of SERVING) {
      for (const key of keys.filter((each) => each.state === state).sort((a, b) => b.version - a.version)) {
        if (state === 'active') this.#active.set(key.id, key)
        this.#versions.set(key.id, [...(this.#versions.get(key.id) ?? []), key])
      }
    }
  }

  /**
   * Learns the kid of each key of the token that a JWE or an assertion names: the configured one, or the thumbprint of its public
   * key.
   *
   * @throws HsmStartError if one kid names two keys.
   */
  learnPublicKeys(publicKeys: ReadonlyMap<KeyEntry, PublicKey>): void {
    for (const [key, publicKey] of publicKeys) {
      if (isJweKey(key)) this.#learnKid(kidOf(key, publicKey), key)
      if (key.purpose === 'assertion-sign') this.#signingKids.set(key, kidOf(key, publicKey))
    }
  }

  /** Learns which keys this token cannot serve: whoever asks for one is told that the HSM is unavailable. */
  learnUnavailable(unavailable: ReadonlyMap<KeyEntry, UnavailableKey>): void {
    for (const [key, { publicKey }] of unavailable) {
      this.#unavailable.add(key)
      const kid = publicKey === undefined ? key.kid : kidOf(key, publicKey)
      if (isJweKey(key) && kid !== undefined) this.#learnKid(kid, key)
    }
  }

  /** @throws ERR_HSM_UNAVAILABLE if the token lacks what the key needs. */
  expectAvailable(key: KeyEntry): void {
    if (this.#unavailable.has(key)) throw new ServiceError('ERR_HSM_UNAVAILABLE', { reason: 'key-unavailable' })
  }

  #learnKid(kid: string, key: KeyEntry): void {
    const other = this.#byKid.get(kid)
    if (other) throw new HsmStartError('keys-unusable', [`key ${key.id}: its kid is that of key ${other.id} too`])
    this.#byKid.set(kid, key)
  }

  /** The profile of a PRW or MAC key; undefined for keys of other purposes. */
  profileOf(key: KeyEntry): Profile | undefined {
    return key.profile === undefined ? undefined : this.#profiles.get(`${key.purpose}:${key.profile}`)
  }

  /** How a key makes MACs; undefined for one that makes none. */
  macFormOf(key: KeyEntry): MacForm | undefined {
    return macFormOf(key, this.profileOf(key))
  }

  /** How answers name a key. */
  refOf(key: KeyEntry): KeyRef {
    let ref = this.#refs.get(key)
    if (ref === undefined) this.#refs.set(key, (ref = keyRef(key)))
    return ref
  }

  /** The key that a JWE's kid names, in any state that serves; undefined if none, or if it is of the other purpose. */
  jweKey(kid: string, purpose: 'jwe-decrypt' | 'jwe-open'): KeyEntry | undefined {
    const key = this.#byKid.get(kid)
    return key?.purpose === purpose ? key : undefined
  }

  /** The active version of the key of that id, if it signs assertions: no other makes anything new. */
  assertionKey(id: string): AssertionKey {
    const key = this.#active.get(id)
    if (key?.purpose !== 'assertion-sign' || key.issuerId === undefined) {
      throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    }
    this.expectAvailable(key)
    const kid = this.#signingKids.get(key)
    if (kid === undefined) throw new ServiceError('ERR_INTERNAL')
    return { key, kid, issuerId: key.issuerId, audience: key.audience }
  }

  /**
   * The key of a zone, if it serves PIN blocks of this format that come `in` to be deciphered or go `out`.
   *
   * Without a version the active one; PIN blocks go out under no other.
   */
  zoneKey({ key: id, format, version }: Zone, direction: 'in' | 'out'): KeyEntry {
    const key = version === undefined ? this.#active.get(id) : this.#version(id, version)
    if (!servesZone(key, format, direction) || (direction === 'out' && key.state !== 'active')) {
      throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    }
    this.expectAvailable(key)
    return key
  }

  /** The versions of a zone key that PIN blocks may come in under, where what came says nothing of it, in the order of trial. */
  zoneKeys(id: string, format: Zone['format']): readonly KeyEntry[] {
    const keys = this.#versionsOf(id).filter((key) => servesZone(key, format, 'in'))
    return this.#tried(keys)
  }

  /** The PRW or MAC key of that id, if it may generate. */
  generatingKey(id: string, kind: ProfileKind): ProfiledKey {
    const key = this.#active.get(id)
    const profile = key && this.#profileFor(key, kind, 'generate')
    if (key === undefined || profile === undefined) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    this.expectAvailable(key)
    return { key, profile }
  }

  /** The versions of the PRW or MAC key of that id that may verify, in the order of trial. */
  verifyingKeys(id: string, kind: ProfileKind): readonly ProfiledKey[] {
    const keys = this.#versionsOf(id).filter((key) => this.#profileFor(key, kind, 'verify') !== undefined)
    return this.#tried(keys).map((key) => ({ key, profile: this.#profileFor(key, kind, 'verify')! }))
  }

  #version(id: string, version: number): KeyEntry | undefined {
    return this.#versionsOf(id).find((key) => key.version === version)
  }

  #versionsOf(id: string): readonly KeyEntry[] {
    return this.#versions.get(id) ?? []
  }

  #profileFor(key: KeyEntry, kind: ProfileKind, use: 'generate' | 'verify'): Profile | undefined {
    return key.purpose === kind && key.use?.includes(use) ? this.profileOf(key) : undefined
  }

  /**
   * Of versions that are tried in turn, those that the token can serve. Without a pending one, which nobody need have used yet, the
   * others do; without any other, a "no" would be no answer.
   */
  #tried(keys: readonly KeyEntry[]): readonly KeyEntry[] {
    const [first] = keys
    if (first === undefined) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    if (this.#unavailable.size === 0) return keys
    for (const key of keys) if (key === first || key.state !== 'pending') this.expectAvailable(key)
    return keys.filter((key) => !this.#unavailable.has(key))
  }

  /** The key of that id, if it seals the audit record. */
  auditKey(id: string): KeyEntry {
    return this.#ownKey((key) => key.purpose === 'audit-mac' && key.id === id)
  }

  /** The one key that the guessing limits' hash key is derived from. */
  hashKey(): KeyEntry {
    return this.#ownKey((key) => key.purpose === 'limit-hash')
  }

  #ownKey(isMeant: (key: KeyEntry) => boolean): KeyEntry {
    const key = [...this.#active.values()].find(isMeant)
    if (key === undefined) throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    this.expectAvailable(key)
    return key
  }
}

function servesZone(key: KeyEntry | undefined, format: Zone['format'], direction: 'in' | 'out'): key is KeyEntry {
  return (
    key?.purpose === (format === 'SECCOS' ? 'seccos-pin' : 'zone-pin') &&
    (key.direction === direction || key.direction === 'both') &&
    key.formats?.includes(format) === true
  )
}

/** The kid of a JWE key: the configured one, else its RFC 7638 thumbprint. */
export function kidOf(key: KeyEntry, publicKey: PublicKey): string {
  return key.kid ?? jwkThumbprint(publicKey)
}

/**
 * Whether a key in this state is used, and so has to be in the token: an active one does all; a retiring one makes nothing new, and
 * opens, deciphers and verifies what it made; a pending one does the same with what others have made under it already.
 */
export function isUsable({ state }: Pick<KeyEntry, 'state'>): boolean {
  return state !== 'retired'
}

/** How answers name a key. */
export function keyRef(key: KeyEntry): KeyRef {
  return { id: key.id, version: key.version, kcv: key.kcv.toUpperCase() }
}
