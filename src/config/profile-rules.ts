/** The rules of the configured PRW and MAC profiles, and the list of all profiles that keys may name. */
import type { Place, Report } from './problems.ts'
import type { Config } from './schema.ts'
import { checkProfileMessages } from '../pin-change/known-answers.ts'
import type { Profile } from '../pin-change/profile.ts'
import { profileProblems } from '../pin-change/profile-rules.ts'
import { findProfile, SHIPPED_PROFILES } from '../pin-change/shipped-profiles.ts'

/** The shipped and the configured profiles, as the key catalogue takes them. */
export function profilesOf(config: Pick<Config, 'profiles'>): readonly Profile[] {
  return [...SHIPPED_PROFILES, ...config.profiles]
}

/**
 * Checks every configured profile, and that it encodes each of its known answers to the message given.
 *
 * @param isWellFormed - the rules of a profile are for one that has the form of the schema.
 */
export function checkProfiles({ profiles }: Config, report: Report, isWellFormed: (place: Place) => boolean): void {
  profiles.forEach((profile, i) => {
    const { kind, id } = profile
    if (findProfile(SHIPPED_PROFILES, kind, id)) report(['profiles', i, 'id'], `is the id of a shipped ${kind} profile`)
    const j = profiles.findIndex((other) => other.kind === kind && other.id === id)
    if (j < i) report(['profiles', i, 'id'], `is the id of profiles[${j}] too, which has the same kind`)
    if (!isWellFormed(['profiles', i])) return
    const problems = profileProblems(profile)
    for (const problem of problems) report(['profiles', i], problem)
    if (problems.length > 0) return
    profile.knownAnswers.forEach((answer, j) => {
      if (checkProfileMessages({ ...profile, knownAnswers: [answer] })) return
      report(['profiles', i, 'knownAnswers', j, 'messageHex'], 'is not what the fields make of the inputs')
    })
  })
}
