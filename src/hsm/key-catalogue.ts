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
import { HsmStartError, type PublicKey, type UnavailableKey } from './hsm.ts'
import { macFormOf, type MacForm } from './mac-keys.ts'

/** A PRW or MAC key together with its one profile. */
export interface ProfiledKey {
  readonly key: KeyEntry
  readonly profile: Profile
}

export class KeyCatalogue {
  readonly #active = new Map<string, KeyEntry>()
  readonly #byKid = new Map<string, KeyEntry>()
  readonly #profiles = new Map<string, Profile>()
  readonly #unavailable = new Set<KeyEntry>()

  /**
   * @param keys - the configured keys; pending and retired ones serve nothing.
   * @param profiles - the shipped and the configured profiles, known by kind and id.
   */
  constructor(keys: readonly KeyEntry[], profiles: readonly Profile[]) {
    for (const profile of profiles) this.#profiles.set(`${profile.kind}:${profile.id}`, profile)
    for (const key of keys) {
      if (key.state === 'active') this.#active.set(key.id, key)
    }
  }

  /**
   * Learns the kid of each JWE key that the token holds: the configured one, or the thumbprint of its public key.
   *
   * @throws HsmStartError if one kid names two keys.
   */
  learnPublicKeys(publicKeys: ReadonlyMap<KeyEntry, PublicKey>): void {
    for (const [key, publicKey] of publicKeys) this.#learnKid(kidOf(key, publicKey), key)
  }

  /** Learns which keys this token cannot serve: whoever asks for one is told that the HSM is unavailable. */
  learnUnavailable(unavailable: ReadonlyMap<KeyEntry, UnavailableKey>): void {
    for (const [key, { publicKey }] of unavailable) {
      this.#unavailable.add(key)
      const kid = publicKey === undefined ? key.kid : kidOf(key, publicKey)
      if (key.purpose === 'jwe-decrypt' && kid !== undefined) this.#learnKid(kid, key)
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

  /** The JWE key that a kid names, active or retiring; undefined if none. */
  jweKey(kid: string): KeyEntry | undefined {
    return this.#byKid.get(kid)
  }

  /** The key of a zone, if it serves PIN blocks of this format that come `in` to be deciphered or go `out`. */
  zoneKey(zone: Zone, direction: 'in' | 'out'): KeyEntry {
    const key = this.#active.get(zone.key)
    const purpose = zone.format === 'SECCOS' ? 'seccos-pin' : 'zone-pin'
    if (
      key?.purpose !== purpose ||
      (key.direction !== direction && key.direction !== 'both') ||
      !key.formats?.includes(zone.format)
    ) {
      throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    }
    this.expectAvailable(key)
    return key
  }

  /** The PRW or MAC key of that id, if it may be used so. */
  profiledKey(id: string, kind: ProfileKind, use: 'generate' | 'verify'): ProfiledKey {
    const key = this.#active.get(id)
    const profile = key && this.profileOf(key)
    if (key?.purpose !== kind || !key.use?.includes(use) || profile === undefined) {
      throw new ServiceError('ERR_KEY_USE_FORBIDDEN')
    }
    this.expectAvailable(key)
    return { key, profile }
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

/** The kid of a JWE key: the configured one, else its RFC 7638 thumbprint. */
export function kidOf(key: KeyEntry, publicKey: PublicKey): string {
  return key.kid ?? jwkThumbprint(publicKey)
}

/**
 * Whether a key in this state serves: a retiring JWE key still opens, since its public half may be in use; a retiring audit-mac
 * key makes no more seals, and those that it made are still verified.
 */
export function isUsable({ state, purpose }: Pick<KeyEntry, 'state' | 'purpose'>): boolean {
  return state === 'active' || (state === 'retiring' && (purpose === 'jwe-decrypt' || purpose === 'audit-mac'))
}

/** How answers name a key. */
export function keyRef(key: KeyEntry): KeyRef {
  return { id: key.id, version: key.version, kcv: key.kcv.toUpperCase() }
}
