/** The rules of the D1 profiles: names that do not collide, and keys that can do what a profile needs of them. */
import type { Report } from './problems.ts'
import { profilesOf } from './profile-rules.ts'
import type { Config, D1Profile, KeyEntry } from './schema.ts'
import type { Profile } from '../pin-change/profile.ts'
import { findProfile } from '../pin-change/shipped-profiles.ts'

const PAYLOAD_MEMBERS = ['pinBlock', 'prw', 'mac', 'counter', 'transactionId'] as const

/** Checks every D1 profile. */
export function checkD1Profiles(config: Config, report: Report): void {
  const { profiles } = config.d1
  profiles.forEach((profile, i) => {
    const at = (members: readonly string[], sentence: string): void =>
      report(['d1', 'profiles', i, ...members], sentence)
    const j = profiles.findIndex(({ id }) => id === profile.id)
    if (j < i) at(['id'], `is the id of d1.profiles[${j}] too`)
    checkNames(profile, at)
    checkInnerKey(config, profile, at)
    checkSeccosKeys(config, profile, at)
  })
}

type At = (members: readonly string[], sentence: string) => void

function checkNames({ types, members }: D1Profile, at: At): void {
  const seccos = types['3DES_SECCOS']
  if (seccos !== undefined && types.ISO0 === seccos) at(['types', '3DES_SECCOS'], 'is the wire name of ISO0 too')
  // In the order of the schema: the file's own members stand before the ones that were filled in.
  PAYLOAD_MEMBERS.forEach((member, i) => {
    const earlier = PAYLOAD_MEMBERS.slice(0, i).find((other) => members[other] === members[member])
    if (earlier) at(['members', member], `is the name of ${earlier} too`)
  })
}

/** pin/set deciphers under the inner key of a JWE key's profile, pin/get enciphers under that of a recipient's. */
function checkInnerKey(config: Config, { id, innerKey }: D1Profile, at: At): void {
  if (innerKey === undefined) return
  const key = findActive(config, innerKey, 'zone-pin', ['innerKey'], at)
  if (key === undefined) return
  const forRecipients = config.d1.recipients.some(({ profile }) => profile === id)
  const forJweKeys = config.keys.some(({ d1Profile }) => d1Profile === id)
  if (key.direction === 'out' && (forJweKeys || !forRecipients)) {
    at(['innerKey'], 'names a key whose direction is out, and PIN blocks come in under it')
  }
  if (key.direction === 'in' && forRecipients) {
    at(['innerKey'], 'names a key whose direction is in, and PIN blocks go out to a recipient under it')
  }
  if (!key.formats?.includes('ISO-0')) at(['innerKey'], 'names a key that does not list ISO-0')
}

function checkSeccosKeys(config: Config, { types, seccos }: D1Profile, at: At): void {
  if (types['3DES_SECCOS'] === undefined) {
    if (seccos !== undefined) at(['seccos'], 'belongs to a profile that takes 3DES_SECCOS')
    return
  }
  if (seccos === undefined) return at(['seccos'], 'is missing; 3DES_SECCOS needs it')

  const pinKey = findActive(config, seccos.pinKey, 'seccos-pin', ['seccos', 'pinKey'], at)
  if (pinKey?.direction === 'out') {
    at(['seccos', 'pinKey'], 'names a key whose direction is out, and PIN blocks come in under it')
  }
  const prw = findVerifying(config, seccos.prwKey, 'prw', ['seccos', 'prwKey'], at)
  // D1's payload has no member for it.
  if (prw?.randomBytes !== undefined) {
    at(['seccos', 'prwKey'], 'names a key whose profile takes a random number, and D1 sends none')
  } else if (prw && prw.outputBytes !== 8) at(['seccos', 'prwKey'], 'names a key whose profile does not give 8 bytes')
  const mac = findVerifying(config, seccos.macKey, 'pin-mac', ['seccos', 'macKey'], at)
  if (mac?.blockBytes !== undefined && mac.blockBytes !== 8) {
    at(['seccos', 'macKey'], 'names a key whose profile is not for PIN blocks of 8 bytes')
  }
  if (mac && mac.outputBytes !== 8) at(['seccos', 'macKey'], 'names a key whose profile does not give 8 bytes')
}

/** The profile of the key that is named, if that key verifies. */
function findVerifying(
  config: Config,
  id: string,
  purpose: Profile['kind'],
  members: readonly string[],
  at: At,
): Profile | undefined {
  const key = findActive(config, id, purpose, members, at)
  if (key === undefined) return undefined
  if (!key.use?.includes('verify')) at(members, 'names a key that may not verify')
  return findProfile(profilesOf(config), purpose, key.profile ?? '')
}

/** The active version of the key that is named, if it has this purpose; what is wrong instead is reported. */
function findActive(
  { keys }: Config,
  id: string,
  purpose: KeyEntry['purpose'],
  members: readonly string[],
  at: At,
): KeyEntry | undefined {
  const versions = keys.filter((key) => key.id === id)
  const active = versions.find(({ state }) => state === 'active')
  if (versions.length === 0) at(members, 'names no key')
  else if (active === undefined) at(members, 'names a key of which no version is active')
  else if (active.purpose !== purpose) at(members, `must name a ${purpose} key`)
  else return active
  return undefined
}
