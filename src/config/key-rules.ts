/** The rules between the members of a key, and between the keys of the catalogue. */
import type { Report } from './problems.ts'
import type { Config, KeyEntry } from './schema.ts'
import { profilesOf } from './profile-rules.ts'
import { isUsable } from '../hsm/key-catalogue.ts'
import { isJweKey, isKeyPair } from '../hsm/key-pairs.ts'
import type { MacAlgorithm, Profile } from '../pin-change/profile.ts'
import { findProfile, SHIPPED_PROFILES } from '../pin-change/shipped-profiles.ts'

type Purpose = KeyEntry['purpose']
type Algorithm = KeyEntry['algorithm']
type Member =
  | 'direction'
  | 'use'
  | 'check'
  | 'formats'
  | 'migrate'
  | 'exportable'
  | 'legacyBlocks'
  | 'profile'
  | 'd1Profile'
  | 'kid'
  | 'alg'
  | 'enc'
  | 'issuerId'
  | 'audience'
type Use = NonNullable<KeyEntry['use']>[number]

const NEEDED: Readonly<Record<Purpose, readonly Member[]>> = {
  'jwe-decrypt': ['d1Profile', 'alg', 'enc'],
  'zone-pin': ['direction', 'formats', 'check'],
  'seccos-pin': ['direction', 'formats', 'check'],
  prw: ['use', 'profile', 'check'],
  'pin-mac': ['use', 'profile', 'check'],
  'audit-mac': ['check'],
  'limit-hash': ['check'],
  'jwe-open': ['alg', 'enc'],
  'assertion-sign': ['issuerId'],
  'key-transport': ['use', 'check'],
  'transcript-sign': [],
  'tls-sign': [],
  'credential-sign': [],
  'credential-wrap': ['check'],
}

const OPTIONAL: Readonly<Partial<Record<Purpose, readonly Member[]>>> = {
  'jwe-decrypt': ['kid'],
  'zone-pin': ['migrate', 'exportable'],
  'seccos-pin': ['migrate', 'exportable'],
  prw: ['exportable'],
  'pin-mac': ['exportable'],
  'limit-hash': ['exportable'],
  'jwe-open': ['kid'],
  'assertion-sign': ['audience', 'kid'],
  'key-transport': ['exportable', 'legacyBlocks'],
  'credential-wrap': ['exportable'],
}

const USES: Readonly<Partial<Record<Purpose, readonly Use[]>>> = {
  prw: ['generate', 'verify'],
  'pin-mac': ['generate', 'verify'],
  'key-transport': ['import', 'export'],
}

const MEMBERS: readonly Member[] = [
  'direction',
  'use',
  'check',
  'formats',
  'migrate',
  'exportable',
  'legacyBlocks',
  'profile',
  'd1Profile',
  'kid',
  'alg',
  'enc',
  'issuerId',
  'audience',
]

const TDEA: readonly Algorithm[] = ['TDEA-128', 'TDEA-192']
const AES: readonly Algorithm[] = ['AES-128', 'AES-192', 'AES-256']

const ALGORITHMS: Readonly<Record<Purpose, readonly Algorithm[]>> = {
  'jwe-decrypt': ['EC-P256', 'RSA-2048', 'RSA-3072', 'RSA-4096'],
  'zone-pin': [...TDEA, ...AES],
  'seccos-pin': TDEA,
  prw: [...TDEA, ...AES],
  'pin-mac': [...TDEA, ...AES],
  'audit-mac': AES,
  'limit-hash': AES,
  'jwe-open': ['EC-P256', 'RSA-2048', 'RSA-3072', 'RSA-4096'],
  'assertion-sign': ['EC-P256'],
  'key-transport': [...TDEA, ...AES],
  'transcript-sign': ['EC-P256'],
  'tls-sign': ['EC-P256', 'RSA-2048', 'RSA-3072', 'RSA-4096'],
  'credential-sign': ['EC-P256', 'Ed25519'],
  'credential-wrap': ['AES-256'],
}

const MAC_KEY_ALGORITHMS: Readonly<Partial<Record<MacAlgorithm, readonly Algorithm[]>>> = {
  'TDEA-CMAC': TDEA,
  'AES-CMAC': AES,
  'ISO-9797-1-ALG-3': ['TDEA-128'],
}

/** Checks every key by itself and the catalogue as a whole. */
export function checkKeys(config: Config, report: Report): void {
  config.keys.forEach((key, i) => {
    const at = (member: string, sentence: string): void => report(['keys', i, member], sentence)
    checkAgainstEarlier(config.keys, i, at)
    // An unknown purpose or algorithm has been reported; nothing follows from it.
    if (!Object.hasOwn(NEEDED, key.purpose)) return
    checkMembers(key, at)
    const { purpose, algorithm } = key
    if (!ALGORITHMS[purpose].includes(algorithm)) {
      return at('algorithm', `must be one of ${ALGORITHMS[purpose].join(', ')} for ${aKeyOf(purpose)}`)
    }
    checkLengths(key, at)
    checkUses(key, at)
    checkTransport(key, at)
    if (isJweKey(key)) checkJweKey(config, key, at)
    else if (purpose === 'zone-pin' || purpose === 'seccos-pin') checkPinKey(key, at)
    else if (purpose === 'prw' || purpose === 'pin-mac') checkProfiledKey(config, key, at)
  })
}

type At = (member: string, sentence: string) => void

function checkAgainstEarlier(keys: readonly KeyEntry[], i: number, at: At): void {
  const key = keys[i]!
  const earlier = (same: (other: KeyEntry) => boolean): string | undefined => {
    const j = keys.findIndex((other, j) => j < i && same(other))
    return j < 0 ? undefined : `keys[${j}]`
  }
  // `<id>.cbc` is the second object of a retail MAC key, and the others are variants of a key-transport key: no key of its own may be
  // taken for one.
  const suffix = ['.cbc', '.kbek', '.kbak'].find((each) => key.id.endsWith(each))
  if (suffix !== undefined) at('id', `must not end in ${suffix}`)
  const twin = earlier(({ id, version }) => id === key.id && version === key.version)
  if (twin) at('version', `is the version of ${twin} too, which has the same id`)
  const active = earlier(({ id, state }) => id === key.id && state === 'active')
  if (active && key.state === 'active') at('state', `${active} is active too, and one version of a key is at a time`)
  // No caller names it, so that nothing would tell which of two is meant.
  const hash = earlier(({ purpose, state }) => purpose === 'limit-hash' && state === 'active')
  if (hash && !active && key.purpose === 'limit-hash' && key.state === 'active') {
    at('state', `${hash} is active too, and one limit-hash key is at a time`)
  }
  // Grants name an id: a new version must not turn a grant into something else.
  const otherwise = earlier(({ id, purpose }) => id === key.id && purpose !== key.purpose)
  if (otherwise) at('purpose', `is not that of ${otherwise}, another version of this key`)
  if (key.kid === undefined || !isUsable(key)) return
  const namesake = earlier((other) => other.kid === key.kid && isUsable(other))
  if (namesake) at('kid', `is the kid of ${namesake} too`)
}

function checkMembers(key: KeyEntry, at: At): void {
  const needed = NEEDED[key.purpose]
  for (const member of MEMBERS) {
    const present = key[member] !== undefined
    if (needed.includes(member) && !present) at(member, `is missing; ${aKeyOf(key.purpose)} needs it`)
    const takes = needed.includes(member) || OPTIONAL[key.purpose]?.includes(member)
    if (present && !takes) at(member, `does not belong to ${aKeyOf(key.purpose)}`)
  }
}

function aKeyOf(purpose: Purpose): string {
  return `${purpose.startsWith('a') ? 'an' : 'a'} ${purpose} key`
}

/** The KCV has one length for each kind of key; `check` is as long as a KCV, or it is a whole MAC. */
function checkLengths({ purpose, algorithm, kcv, check }: KeyEntry, at: At): void {
  const tdea = TDEA.includes(algorithm)
  const kcvBytes = tdea ? 3 : 5
  if (kcv.length !== 2 * kcvBytes) at('kcv', `must be ${kcvBytes} bytes for a key of ${algorithm}`)
  if (isKeyPair({ purpose }) || check === undefined) return
  const isMac = !['zone-pin', 'seccos-pin'].includes(purpose)
  const checkBytes = isMac ? (tdea ? 8 : 16) : kcvBytes
  if (check.length !== 2 * checkBytes) at('check', `must be ${checkBytes} bytes for ${aKeyOf(purpose)} of ${algorithm}`)
}

function checkUses({ purpose, use }: KeyEntry, at: At): void {
  const fitting = USES[purpose]
  if (fitting === undefined || !use?.some((one) => !fitting.includes(one))) return
  at('use', `must be ${fitting.join(' or ')}, or both, for ${aKeyOf(purpose)}`)
}

function checkTransport({ algorithm, origin, legacyBlocks }: KeyEntry, at: At): void {
  if (!legacyBlocks) return
  if (!TDEA.includes(algorithm)) at('legacyBlocks', 'is for a key of TDEA: versions A and C know no other')
  // Two of its three objects are the key XOR a constant: no token generates that.
  if (origin !== 'imported') at('legacyBlocks', 'needs a key that was imported')
}

function checkJweKey({ d1 }: Config, key: KeyEntry, at: At): void {
  const alg = key.algorithm === 'EC-P256' ? 'ECDH-ES' : 'RSA-OAEP-256'
  if (key.alg !== undefined && key.alg !== alg) at('alg', `must be ${alg} for a key of ${key.algorithm}`)
  if (key.d1Profile !== undefined && !d1.profiles.some(({ id }) => id === key.d1Profile)) {
    at('d1Profile', 'names no profile of d1.profiles')
  }
}

function checkPinKey({ purpose, algorithm, formats }: KeyEntry, at: At): void {
  if (formats === undefined) return
  if (purpose === 'seccos-pin') {
    if (formats.length !== 1 || formats[0] !== 'SECCOS') at('formats', 'must be SECCOS alone for a seccos-pin key')
    return
  }
  if (formats.includes('SECCOS')) at('formats', 'SECCOS belongs to a seccos-pin key')
  const aes = AES.includes(algorithm)
  if (!aes && formats.includes('ISO-4')) at('formats', 'ISO-4 needs a key of AES')
  if (aes && formats.some((format) => format !== 'ISO-4')) at('formats', 'must be ISO-4 alone for a key of AES')
}

function checkProfiledKey(config: Config, key: KeyEntry, at: At): void {
  if (key.profile === undefined) return
  const kind = key.purpose as Profile['kind']
  const profile = findProfile(profilesOf(config), kind, key.profile)
  if (profile === undefined) return at('profile', `names no ${kind} profile`)
  if (config.environment === 'production' && !config.acceptDefaultProfiles && SHIPPED_PROFILES.includes(profile)) {
    at('profile', 'is a default of ours and not the licensed layout: production needs acceptDefaultProfiles: true')
  }
  const algorithms = MAC_KEY_ALGORITHMS[profile.algorithm]
  if (algorithms === undefined) return
  if (!algorithms.includes(key.algorithm)) {
    at('algorithm', `must be one of ${algorithms.join(', ')}, because the profile uses ${profile.algorithm}`)
  }
  // Two objects, K1|K2|K1 and K1|K1|K1, of one value: no token generates that.
  if (profile.algorithm === 'ISO-9797-1-ALG-3' && key.origin !== 'imported') {
    at('origin', `must be imported, because the profile uses ${profile.algorithm}`)
  }
}
