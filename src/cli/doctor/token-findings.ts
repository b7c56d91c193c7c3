/** What `doctor` says of a module and of a token before anyone logs in. */
import type { ModuleDescription, TokenDescription } from '../../hsm/pkcs11/list-tokens.ts'
import { finding, type Finding, type Verdict } from './finding.ts'

export const MODULE_TODO =
  '`hsm.module` must be the PKCS#11 library of your HSM (such as /usr/lib/softhsm/libsofthsm2.so), built for this machine, readable, with all libraries that it needs (`ldd` lists them)'
export const ABSENT_TODO =
  'see that the HSM or its daemon runs and is reached: `hsm.environment`, `hsm.socket`, the vendor’s client configuration, the rights on the token’s files'
export const REFUSED_TODO =
  'do not run this again and again: tries are counted. Write the right user PIN into the file of `hsm.pinFile`; this one is not tried again until that file changes'

const SESSIONS_LOW = 4
const MEMORY_LOW = 0.1
const CLOCK_OFF_MS = 60_000
const MOST_LABELS = 8

/** Says what the library is. */
export function moduleFinding({ library, manufacturer, version, cryptoki }: ModuleDescription): Finding {
  return finding('token', 'module', 'ok', `${library} ${version} of ${manufacturer}, PKCS#11 ${cryptoki}`)
}

/** Says that no token, or more than one, has the label that is looked for. */
export function slotFinding(all: readonly TokenDescription[], named: readonly TokenDescription[]): Finding {
  if (named.length > 1) {
    const serials = named.map(({ serialNumber }) => serialNumber || 'none').join(', ')
    const text = `${named.length} tokens carry the label of hsm.tokenLabel (serial numbers ${serials}), and one is needed`
    const todo = 'take the one that does not belong here out of this machine’s reach, or give it another label'
    return finding('token', 'token', 'wrong', text, todo)
  }
  const labels = all.map(({ label, isReady }) => label || (isReady ? '(no label)' : '(an empty slot, not initialised)'))
  const shown = [...new Set(labels)].slice(0, MOST_LABELS).join(', ') || 'no token at all'
  const text = `no token carries the label of hsm.tokenLabel; the module shows ${shown}`
  const todo =
    'correct `hsm.tokenLabel`, or give the module what it finds its tokens by (`hsm.environment`, `hsm.libraryParameters`)'
  return finding('token', 'token', 'wrong', text, `${todo}; a token that was lost is restored from the HSM’s backup`)
}

/** What a token shows to everybody, and whether its PIN may be tried. */
export function tokenFindings(
  token: TokenDescription,
  nowMs = Date.now(),
): { readonly findings: Finding[]; readonly mayLogIn: boolean } {
  const { label, serialNumber, manufacturer, model, firmware } = token
  const identity = `${label}, serial number ${serialNumber || 'none'} (${manufacturer} ${model}, firmware ${firmware})`
  const findings = [finding('token', 'token', 'ok', identity), ...roomFindings(token)]
  const say = (subject: string, verdict: Verdict, text: string, todo: string): void =>
    void findings.push(finding('token', subject, verdict, text, todo))
  if (token.isWriteProtected) {
    const todo = 'take the write protection away before you make or import keys; how, says the HSM’s manual'
    say('write protection', 'note', 'the token is write-protected: its keys can be used, and none can be made', todo)
  }
  if (!token.hasUserPin) {
    const todo = 'have the security officer set one (C_InitPIN; for SoftHSM `softhsm2-util --init-token`)'
    say('user PIN', 'wrong', 'the token has no user PIN yet', todo)
  }
  const tries = PIN_STATES[token.pinState]
  if (tries) say('PIN tries', ...tries)
  if (token.isOfficerPinLow) {
    const todo = 'find out who tried it; the HSM’s manual says what sets its count back'
    say('officer PIN', 'note', 'the security officer’s PIN was given wrong, or is locked', todo)
  }
  if (token.clockMs !== undefined) findings.push(clockFinding(token.clockMs, nowMs))
  const isHeldBack = token.pinState === 'final-try' || token.pinState === 'locked' || token.pinState === 'to-be-changed'
  return { findings, mayLogIn: token.hasUserPin && !isHeldBack }
}

const PIN_STATES: Readonly<
  Record<TokenDescription['pinState'], readonly [verdict: Verdict, text: string, todo: string] | undefined>
> = {
  untouched: undefined,
  'count-low': [
    'note',
    'the token has counted a wrong PIN since the last right one',
    'be sure that the file of `hsm.pinFile` holds the right PIN: few tries are left until the token locks itself',
  ],
  'final-try': [
    'wrong',
    'one wrong PIN more locks the token: no login was tried',
    'see that the PIN file is right, then log in once with the HSM’s own tool, which sets the count back',
  ],
  locked: [
    'wrong',
    'the token has locked its user PIN after too many wrong ones: no login was tried',
    'have the security officer unlock it (C_InitPIN), put the new PIN into the file of `hsm.pinFile`, and find out who tried',
  ],
  'to-be-changed': [
    'wrong',
    'the token wants its user PIN changed before it is used: no login was tried',
    'change it with the HSM’s own tool, and put the new PIN into the file of `hsm.pinFile`',
  ],
}

function roomFindings({ sessions, memory }: TokenDescription): Finding[] {
  const told: string[] = []
  let isLow = false
  if (sessions.most !== undefined) {
    told.push(`${sessions.open ?? 'some'} of ${sessions.most} sessions open`)
    isLow = sessions.most - (sessions.open ?? 0) < SESSIONS_LOW
  }
  if (memory.total !== undefined && memory.free !== undefined) {
    told.push(`${memory.free} of ${memory.total} bytes for keys free`)
    isLow ||= memory.free < MEMORY_LOW * memory.total
  }
  if (told.length === 0) return []
  const todo = 'end programs that hold sessions, lower `hsm.sessions` and `hsm.vaults`, destroy keys that nobody needs'
  return [finding('token', 'room', isLow ? 'note' : 'ok', told.join(', '), isLow ? todo : undefined)]
}

function clockFinding(clockMs: number, nowMs: number): Finding {
  const off = Math.round((clockMs - nowMs) / 1000)
  const isOff = Math.abs(clockMs - nowMs) > CLOCK_OFF_MS
  const text = `the token’s own clock and this machine’s are ${Math.abs(off)} s apart`
  const todo = 'set the one that is wrong: this machine’s by NTP, the token’s as its manual says'
  return finding('clock', 'clock of the token', isOff ? 'wrong' : 'ok', text, isOff ? todo : undefined)
}
