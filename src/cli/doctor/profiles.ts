/** What `doctor` says of PRW and MAC profiles, and of routes that a token cannot serve. */
import type { KeyEntry } from '../../config/schema.ts'
import type { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import type { KeyProblem, OpenHsm } from '../../hsm/pkcs11/open-hsm.ts'
import type { Profile } from '../../pin-change/profile.ts'
import { SHIPPED_PROFILES } from '../../pin-change/shipped-profiles.ts'
import { finding, type Finding } from './finding.ts'
import { unservedRoutes } from './routes.ts'

const DEFAULT_TODO =
  'put the layout that you agreed with D1 into `profiles`, with its known answers; production takes a default with `acceptDefaultProfiles: true` only'
const ANSWER_TODO = 'compare the layout and the known answers in `profiles` with the document they come from'

/** One line for each profile that a key uses: whose it is, and whether its known answers come out. */
export function profileFindings(
  keys: readonly KeyEntry[],
  catalogue: Pick<KeyCatalogue, 'profileOf'>,
  problems: readonly KeyProblem[],
): Finding[] {
  const used = new Set(keys.map((key) => catalogue.profileOf(key)).filter((profile) => profile !== undefined))
  return [...used].map((profile) => profileFinding(profile, problems))
}

function profileFinding(profile: Profile, problems: readonly KeyProblem[]): Finding {
  const subject = `profile ${profile.kind} ${profile.id}`
  const wrong = problems.find(({ key, sentence }) => key === undefined && sentence.startsWith(`${subject}: `))
  if (wrong) {
    const text = wrong.sentence.slice(subject.length + 2)
    return finding('profiles and routes', subject, 'wrong', text, ANSWER_TODO)
  }
  return SHIPPED_PROFILES.includes(profile)
    ? finding('profiles and routes', subject, 'note', 'our default layout, not the licensed DK or D1 one', DEFAULT_TODO)
    : finding('profiles and routes', subject, 'ok', `your own: ${profile.knownAnswers.length} known answers right`)
}

/** One line for each route that no key serves, for want of a mechanism or of a key that is as it must be. */
export function routeFindings({ keys, unavailable }: OpenHsm, problems: readonly KeyProblem[]): Finding[] {
  const wrong = new Set(problems.map(({ key }) => key).filter((key) => key !== undefined))
  const isActive = ({ state }: KeyEntry): boolean => state === 'active'
  const serving = keys.filter((key) => isActive(key) && !wrong.has(key))
  const lacking = new Set([...unavailable.keys(), ...wrong].filter(isActive))
  return [...unservedRoutes(serving, lacking)].map(([route, ids]) => {
    const text = `cannot be served: unavailable ${ids.map((id) => `key ${id}`).join(', ')}`
    return finding('profiles and routes', `route ${route}`, 'wrong', text, 'see what is said of these keys above')
  })
}
