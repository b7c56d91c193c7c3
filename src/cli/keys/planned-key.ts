/** Turns the options that describe a new key into a key that may be made, or says what is wrong with them. */
import { checkKeys } from '../../config/key-rules.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import { ALGORITHMS, PURPOSES, type Config, type KeyEntry } from '../../config/schema.ts'
import { EX_CANTCREAT, EX_USAGE } from '../../exit-codes.ts'
import { isJweKey, isKeyPair, isWrappingKey } from '../../hsm/key-pairs.ts'
import { macFormOf } from '../../hsm/mac-keys.ts'
import { findProfile } from '../../pin-change/shipped-profiles.ts'
import { CommandError } from '../command-error.ts'
import type { KeyOptions } from './key-options.ts'

/** A key before it is made: its value has neither a KCV nor a known answer yet. */
export type PlannedKey = Omit<KeyEntry, 'kcv' | 'check' | 'origin'>

/**
 * Turns the options into a key that may be made.
 *
 * @param origin - how its value comes about: the rules differ.
 * @throws CommandError with every problem, worded with the options' names.
 */
export function plannedKeyOf(options: KeyOptions, config: Config, origin: KeyEntry['origin']): PlannedKey {
  const planned = options.newVersionOf === undefined ? newKey(options, config) : newVersion(options, config)
  expectFit(planned, config, origin)
  return planned
}

/** Today, as the configuration writes days. */
export function today(): string {
  return new Date().toISOString().slice(0, 10)
}

function newKey(options: KeyOptions, config: Config): PlannedKey {
  const { id, purpose, algorithm } = options
  if (id === undefined) throw usage('--id, or --new-version-of, is needed: what is the key to be called?')
  const versions = config.keys.filter((key) => key.id === id).map(({ version }) => version)
  if (versions.length > 0 && options.keyVersion === undefined) {
    throw usage(`there is a key ${id} already: for its next version say --new-version-of ${id}`)
  }
  if (purpose === undefined) throw usage(`--purpose is needed: one of ${PURPOSES.join(', ')}`)
  if (algorithm === undefined) throw usage(`--algorithm is needed: one of ${ALGORITHMS.join(', ')}`)
  return {
    id,
    version: options.keyVersion ?? 1,
    state: options.state ?? (versions.length > 0 ? 'pending' : 'active'),
    purpose,
    ...members(options, purpose, algorithm),
    created: today(),
    ...(options.expires !== undefined && { expires: options.expires }),
  }
}

function members(options: KeyOptions, purpose: KeyEntry['purpose'], algorithm: KeyEntry['algorithm']) {
  const { direction, use, profile, d1Profile, kid, issuerId, audience, migrate, exportable, legacyBlocks } = options
  const formats = options.formats ?? (purpose === 'seccos-pin' ? (['SECCOS'] as ['SECCOS']) : undefined)
  return {
    ...(direction !== undefined && { direction }),
    ...(use !== undefined && { use }),
    algorithm,
    ...(formats !== undefined && { formats }),
    ...(profile !== undefined && { profile }),
    ...(isJweKey({ purpose }) && {
      alg: algorithm === 'EC-P256' ? ('ECDH-ES' as const) : ('RSA-OAEP-256' as const),
      enc: 'A256GCM' as const,
    }),
    ...(d1Profile !== undefined && { d1Profile }),
    ...(kid !== undefined && { kid }),
    ...(issuerId !== undefined && { issuerId }),
    ...(audience !== undefined && { audience }),
    ...(migrate && { migrate }),
    ...(exportable && { exportable }),
    ...(legacyBlocks && { legacyBlocks }),
  }
}

/** What a new version may be told; all else is that of the active one. */
const OF_A_VERSION: readonly (keyof KeyOptions)[] = ['newVersionOf', 'keyVersion', 'state', 'kid', 'expires']
const OF_A_KEY: readonly (keyof KeyOptions)[] = [
  'id',
  'purpose',
  'algorithm',
  'direction',
  'use',
  'formats',
  'profile',
  'd1Profile',
  'issuerId',
  'audience',
  'migrate',
  'exportable',
  'legacyBlocks',
]

function newVersion(options: KeyOptions, { keys }: Config): PlannedKey {
  const id = options.newVersionOf!
  const given = OF_A_KEY.filter((name) => options[name] !== undefined && !OF_A_VERSION.includes(name))
  if (given.length > 0)
    throw usage(`${given.map(optionName).join(', ')} cannot be said with --new-version-of: it is as before`)
  const versions = keys.filter((key) => key.id === id)
  if (versions.length === 0) throw usage(`--new-version-of: there is no key ${id}; use --id for a first version`)
  const like = versions.find(({ state }) => state === 'active')
  if (like === undefined)
    throw usage(`--new-version-of: key ${id} has no active version that the new one could be like`)
  const waiting = versions.find(({ state }) => state === 'pending')
  if (waiting) {
    throw new CommandError(
      EX_CANTCREAT,
      `key ${id} has a pending version ${waiting.version} already: activate it with "pinbridge rotate ${id}", or destroy it`,
    )
  }
  return {
    ...sameFor(like),
    version: options.keyVersion ?? Math.max(...versions.map(({ version }) => version)) + 1,
    state: options.state ?? 'pending',
    ...(options.kid !== undefined && { kid: options.kid }),
    created: today(),
    ...(options.expires !== undefined && { expires: options.expires }),
  }
}

/** What stays from version to version: a kid names one public key, and a KCV, a known answer and a day one value. */
function sameFor(key: KeyEntry): Omit<PlannedKey, 'version' | 'state'> {
  const own: readonly string[] = ['version', 'state', 'kcv', 'check', 'origin', 'kid', 'created', 'expires']
  const members = Object.entries(key).filter(([name]) => !own.includes(name))
  return Object.fromEntries(members) as Omit<PlannedKey, 'version' | 'state'>
}

const NOT_GENERATED =
  'The key is several objects of one value, and no token generates that: bring it in with "pinbridge ceremony import" or "pinbridge keys import"'

/** Holds the key against the rules of the configuration, as if it stood there. */
function expectFit(planned: PlannedKey, config: Config, origin: KeyEntry['origin']): void {
  const at = config.keys.length
  const problems: string[] = []
  const report = (place: readonly (string | number)[], sentence: string): void => {
    if (place[0] !== 'keys' || place[1] !== at) return
    const option = optionOf(String(place[2]), planned)
    problems.push(place[2] === 'origin' ? `${option}: ${sentence}. ${NOT_GENERATED}` : `${option}: ${sentence}`)
  }
  checkKeys({ ...config, keys: [...config.keys, { ...planned, origin, ...placeholders(planned, config) }] }, report)
  if (problems.length > 0) throw usage(problems.join('\n'))
}

/** A KCV and a known answer of the right lengths. */
function placeholders(planned: PlannedKey, config: Config): Pick<KeyEntry, 'kcv' | 'check'> {
  const { algorithm, purpose, profile } = planned
  const isTdea = algorithm.startsWith('TDEA')
  const kcv = '00'.repeat(isTdea ? 3 : 5)
  if (isKeyPair({ purpose })) return { kcv }
  const kind = purpose === 'prw' || purpose === 'pin-mac' ? purpose : undefined
  const form = macFormOf(planned, kind && findProfile(profilesOf(config), kind, profile ?? ''))
  const isLong = form !== undefined || kind !== undefined || isWrappingKey({ purpose })
  return { kcv, check: isLong ? '00'.repeat(isTdea ? 8 : 16) : kcv }
}

function optionOf(member: string, planned: PlannedKey): string {
  if (member === 'alg' || member === 'enc') return '--algorithm'
  if (member === 'origin') return `--profile ${planned.profile ?? ''}`.trimEnd()
  return member === 'version' ? '--key-version' : optionName(member)
}

function optionName(name: string): string {
  return `--${name.replace(/[A-Z]|\d(?=[A-Z])/g, (letter) => (/\d/.test(letter) ? letter : `-${letter.toLowerCase()}`))}`
}

function usage(sentence: string): CommandError {
  return new CommandError(EX_USAGE, sentence)
}
