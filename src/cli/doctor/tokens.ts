/** What `doctor` says of every token of the configuration, as far as the configuration can be relied on. */
import type { ExaminedConfig } from '../../config/config.ts'
import type { KeyEntry, TokenConfig } from '../../config/schema.ts'
import { isRefused, REFUSED_BEFORE, refusalPath } from '../../pin-file.ts'
import { withProgress } from '../terminal/progress.ts'
import { finding, type Finding } from './finding.ts'
import { examineToken } from './token-process.ts'

/** What has to be right of a token's entry before its module is loaded. */
const NEEDED = ['name', 'module', 'tokenLabel', 'environment', 'libraryParameters', 'sessions', 'socket'] as const

/**
 * Looks at one token after the other; each is logged in to once at most.
 *
 * @param timeoutMs - for each token.
 */
export async function tokensFindings(examined: ExaminedConfig, nowMs: number, timeoutMs: number): Promise<Finding[]> {
  const { tokens, isSound } = examined
  const findings: Finding[] = []
  for (const { token, place } of tokens) {
    const found = NEEDED.every((member) => isSound([...place, member]))
      ? await tokenFindings(examined, token, isSound([...place, 'pinFile']), nowMs, timeoutMs)
      : [finding('token', 'token', 'note', 'not looked at: its entry in the configuration is wrong')]
    // The name of the only one may be its label, and that whatever was written there.
    const prefix = tokens.length === 1 ? '' : `${token.name}: `
    findings.push(...found.map((each) => ({ ...each, subject: `${prefix}${each.subject}` })))
  }
  return findings
}

async function tokenFindings(
  { config, isSound }: ExaminedConfig,
  token: TokenConfig,
  isPinFileSound: boolean,
  nowMs: number,
  timeoutMs: number,
): Promise<Finding[]> {
  const soundOf = <T>(member: 'keys' | 'profiles'): T[] => {
    const list: unknown = config[member]
    return Array.isArray(list) ? (list as T[]).filter((_, i) => isSound([member, i])) : []
  }
  const { environment } = config
  const isEnvironmentSound = isSound(['environment'])
  const refused = isRefused(token)
  const withoutLogin = refused || !isPinFileSound || !isEnvironmentSound
  const users = isSound(['processes']) ? config.processes.users : undefined
  const keys = soundOf<KeyEntry>('keys')
  const profiles = soundOf<(typeof config.profiles)[number]>('profiles')
  const otherKeys = namesOf(config.keys).filter(
    ({ id, version }) => !keys.some((key) => key.id === id && key.version === version),
  )
  const examination = { token, environment, keys, otherKeys, profiles, withoutLogin, nowMs }
  // Another user than root cannot become one.
  const user = process.getuid?.() === 0 ? users?.vault : undefined
  const found = await withProgress('looking at the token', () => examineToken(examination, user, timeoutMs))
  if (refused) {
    const todo = `write the right PIN into that file; to have this one tried once more, remove ${refusalPath(token)}`
    return [...found, finding('token', 'login', 'wrong', REFUSED_BEFORE, todo)]
  }
  if (withoutLogin) {
    const text = 'not tried: the configuration is wrong where it says how, or with which PIN file'
    return [...found, finding('token', 'login', 'note', text, 'correct that first, then run this again')]
  }
  if (otherKeys.length === 0) return found
  const ids = otherKeys.map(({ id, version }) => `${id} v${version}`).join(', ')
  return [...found, finding('keys', 'keys', 'note', `not looked for, since their entries are wrong: ${ids}`)]
}

/** The names of all entries that have any. */
function namesOf(keys: unknown): Pick<KeyEntry, 'id' | 'version'>[] {
  const entries = Array.isArray(keys) ? (keys as (Partial<KeyEntry> | null)[]) : []
  return entries.flatMap((entry) => {
    const { id, version } = entry ?? {}
    const isName = typeof id === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(id) && Number.isSafeInteger(version)
    return isName ? [{ id, version: version! }] : []
  })
}
