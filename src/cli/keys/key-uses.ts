/** What of a configuration names a key, so that nobody takes away what is in use. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import { servesRequests } from '../../config/schema.ts'

/** The places that name a key by its id, in words; an id stands for whichever version is the active one. */
export function usesOf({ clients, d1, audit }: Config, { id, purpose }: KeyEntry): string[] {
  return [
    ...d1.profiles
      .filter(({ innerKey, seccos }) => [innerKey, seccos?.pinKey, seccos?.prwKey, seccos?.macKey].includes(id))
      .map((profile) => `the D1 profile ${profile.id} names it`),
    ...(audit?.key === id ? ['it seals the audit record (audit.key)'] : []),
    ...clients
      .filter(({ grants }) => grants.some(({ keys }) => keys.includes(id)))
      .map((client) => `the client ${client.id} may use it`),
    ...(purpose === 'limit-hash' ? ['the guessing limits hash PANs with it'] : []),
  ]
}

/** Whether no other active key does what this one does, for those who name none. */
export function isLastOfItsKind({ keys }: Config, key: KeyEntry): boolean {
  if (!servesRequests(key)) return false
  return !keys.some(
    (other) => other !== key && other.state === 'active' && other.purpose === key.purpose && other.alg === key.alg,
  )
}
