/**
 * Which keys make MACs, and how: PRW and MAC keys by their profile; keys that no caller can name and no profile lays out a
 * message for, always by whole CMACs.
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
  // The keys of a key block are derived by CMAC (ANSI X9.143).
  'key-transport': ['generate'],
}

const OWN_FORMS: Readonly<Record<'AES' | 'TDEA', MacForm>> = Object.freeze({
  AES: Object.freeze({ algorithm: 'AES-CMAC', outputBytes: 16 }),
  TDEA: Object.freeze({ algorithm: 'TDEA-CMAC', outputBytes: 8 }),
})

/** How a key makes MACs; undefined for one that makes none. */
export function macFormOf(
  { purpose, algorithm }: Pick<KeyEntry, 'purpose' | 'algorithm'>,
  profile: Profile | undefined,
): MacForm | undefined {
  if (OWN_USES[purpose] === undefined) return profile
  return OWN_FORMS[algorithm.startsWith('TDEA') ? 'TDEA' : 'AES']
}

/** What a key may do with MACs; none for one that makes none. */
export function macUsesOf(key: Pick<KeyEntry, 'purpose' | 'use'>): readonly MacUse[] {
  return OWN_USES[key.purpose] ?? key.use?.filter((use) => use === 'generate' || use === 'verify') ?? []
}
