/** Looks at one token as a vault would: what it shows to everybody, then one login, its mechanisms, its keys and its profiles. */
import { HsmStartError } from '../../hsm/hsm.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { describeModule, type ModuleDescription, type TokenDescription } from '../../hsm/pkcs11/list-tokens.ts'
import { openHsm, type KeyProblem, type OpenHsm } from '../../hsm/pkcs11/open-hsm.ts'
import { readPin } from '../../pin-file.ts'
import { SHIPPED_PROFILES } from '../../pin-change/shipped-profiles.ts'
import { capabilityFindings } from './capabilities.ts'
import { finding, type Finding } from './finding.ts'
import { keyFindings } from './key-findings.ts'
import type { Examination, Report } from './messages.ts'
import { profileFindings, routeFindings } from './profiles.ts'
import { ABSENT_TODO, moduleFinding, MODULE_TODO, REFUSED_TODO, slotFinding, tokenFindings } from './token-findings.ts'

type Say = (report: Report) => void

/** Says what it finds as soon as it has found it. */
export async function lookAtToken(examination: Examination, say: Say): Promise<void> {
  const { token, withoutLogin, nowMs } = examination
  const tell = (...findings: Finding[]): void => {
    for (const each of findings) say({ type: 'finding', finding: each })
  }
  say({ type: 'step', step: 'loading the module and reading its slots' })
  let module: ModuleDescription
  try {
    module = describeModule(token.module, token.libraryParameters)
  } catch (error) {
    tell(...startFindings(error))
    return
  }
  tell(moduleFinding(module))
  const named = module.tokens.filter(({ label }) => label === token.tokenLabel)
  const [shown] = named
  if (shown === undefined || named.length > 1) {
    tell(slotFinding(module.tokens, named))
    return
  }
  const { findings, mayLogIn } = tokenFindings(shown, nowMs)
  tell(...findings)
  if (withoutLogin || !mayLogIn) return

  say({ type: 'step', step: 'logging in, and trying mechanisms and keys' })
  await logIn(examination, shown, say, tell)
}

async function logIn(
  { token, environment, keys, otherKeys, profiles, nowMs }: Examination,
  shown: TokenDescription,
  say: Say,
  tell: (...findings: Finding[]) => void,
): Promise<void> {
  const catalogue = new KeyCatalogue(keys, [...SHIPPED_PROFILES, ...profiles])
  const problems: KeyProblem[] = []
  let pinIdentity = ''
  let open: OpenHsm
  try {
    const { pin, identity } = readPin(token.pinFile)
    pinIdentity = identity
    const judge = (_reason: string, heard: readonly KeyProblem[]): void => void problems.push(...heard)
    open = await openHsm({ address: token, sessions: token.sessions, environment, keys, catalogue, judge }, pin)
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    tell(...startFindings(error))
    if (error.reason !== 'pin-refused') return
    say({ type: 'refused', pinIdentity })
    tell(...afterRefusal(token))
    return
  }
  try {
    tell(finding('token', 'login', 'ok', 'the PIN of the file opens the token'))
    if (shown.pinState === 'count-low') {
      const text = 'somebody gave it a wrong PIN since the last right one; this login has set its count back'
      tell(finding('token', 'login', 'note', text, 'find out who it was, if it was not you'))
    }
    say({ type: 'step', step: 'looking for keys that the configuration does not know' })
    tell(
      ...keyFindings({ open, problems, keys, otherKeys, environment, nowMs }),
      ...capabilityFindings(open),
      ...profileFindings(keys, catalogue, problems),
      ...routeFindings(open, problems),
    )
  } finally {
    open.close()
  }
}

/** What the token says of its tries once it has refused one. */
function afterRefusal({ module, libraryParameters, tokenLabel }: Examination['token']): Finding[] {
  try {
    const shown = describeModule(module, libraryParameters).tokens.find(({ label }) => label === tokenLabel)
    return shown === undefined ? [] : tokenFindings(shown).findings.filter(({ subject }) => subject === 'PIN tries')
  } catch {
    return []
  }
}

const SUBJECTS = {
  'module-unusable': ['module', MODULE_TODO],
  'token-absent': ['token', ABSENT_TODO],
  'pin-refused': ['login', REFUSED_TODO],
  'pin-tries-low': ['login', undefined],
  'keys-unusable': ['token', undefined],
  'self-test-failed': ['token', ABSENT_TODO],
} as const

function startFindings(error: unknown): Finding[] {
  if (!(error instanceof HsmStartError)) throw error
  const [subject, todo] = SUBJECTS[error.reason]
  return error.problems.map((text) => finding('token', subject, 'wrong', text, todo))
}
