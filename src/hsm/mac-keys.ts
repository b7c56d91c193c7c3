/**
 * Which keys make MACs, and how: PRW and MAC keys by their profile; the service's own keys, which no caller can name and no
 * profile lays out a message for, always by whole AES-CMACs.
 */
import type { KeyEntry } from '../config/schema.ts'
import type { Profile } from '../pin-change/profile.ts'

/** The MAC algorithm of a key, and how many leftmost bytes of a MAC are given. */
export type MacForm = Pick<Profile, 'algorithm' | 'outputBytes'>

/** What a MAC key may do. */
export type MacUse = 'generate' | 'verify'

const OWN_USES: Readonly<Partial<Record<KeyEntry['purpose'], readonly MacUse[]>>> = {
  // A seal is made by a vault, and verified by whoever audits.
  'audit-mac': ['generate', 'verify'],
  'limit-hash': ['generate'],
}

const OWN_FORM: MacForm = Object.freeze({ algorithm: 'AES-CMAC', outputBytes: 16 })

/** How a key makes MACs; undefined for one that makes none. */
export function macFormOf(key: Pick<KeyEntry, 'purpose'>, profile: Profile | undefined): MacForm | undefined {
  return OWN_USES[key.purpose] === undefined ? profile : OWN_FORM
}

/** What a key may do with MACs; none for one that makes none. */
export function macUsesOf(key: Pick<KeyEntry, 'purpose' | 'use'>): readonly MacUse[] {
  return OWN_USES[key.purpose] ?? key.use ?? []
}
