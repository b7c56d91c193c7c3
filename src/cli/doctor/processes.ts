/** What `doctor` says of how processes are kept apart on this machine. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import type { ExaminedConfig } from '../../config/config.ts'
import { hasLauncher, launcherTrial } from '../../supervisor/spawn.ts'
import { startProblems } from '../../supervisor/start-rules.ts'
import { finding, type Finding, type Verdict } from './finding.ts'

const NODE_MAJOR = 24
const TRIAL_MS = 10_000

const say = (subject: string, verdict: Verdict, text: string, todo?: string): Finding =>
  finding('processes', subject, verdict, text, todo)

/** All of it; what hangs on the configuration only where that can be relied on. */
export async function processFindings(examined: ExaminedConfig | undefined): Promise<Finding[]> {
  const config = examined?.isSound(['environment']) && examined.isSound(['processes']) ? examined.config : undefined
  return [
    await launcherFinding(config?.environment === 'production'),
    ...(config ? userFindings(config) : []),
    domainFinding(config?.processes.users !== undefined),
    swapFinding(),
    nodeFinding(),
  ]
}

/** Confines a process that does nothing: it shows the launcher and the kernel together. */
async function launcherFinding(isProduction: boolean): Promise<Finding> {
  if (!hasLauncher()) {
    const text = 'is not built: gateway and vaults may ask the kernel for anything'
    const todo = 'build it beside the code: `scripts/setup.sh` does'
    return say('launcher', isProduction ? 'wrong' : 'note', text, todo)
  }
  const [program = '', ...args] = launcherTrial()
  try {
    await promisify(execFile)(program, args, { timeout: TRIAL_MS, env: {} })
    return say('launcher', 'ok', 'confines processes here: no core dumps, no new privileges, a filter for system calls')
  } catch (error) {
    const { stderr } = error as { stderr?: string }
    const why = stderr?.trim().split('\n').at(-1) || 'it cannot be executed'
    const todo =
      'it must be executable, the kernel must have seccomp filters, and a container must allow seccomp(2) and prctl(2)'
    return say('launcher', 'wrong', `cannot confine a process here: ${why}`, todo)
  }
}

function userFindings(config: ExaminedConfig['config']): Finding[] {
  // Whoever runs this need not be who runs the service.
  const problems = startProblems(config, { uid: process.getuid?.(), hasLauncher: true })
  if (problems.length > 0) {
    return problems.map((text) => say('user', 'note', `as this user the service would not start: ${text}`))
  }
  const { users } = config.processes
  const text = users
    ? `gateway and vaults run as users of their own (${users.gateway.uid}, ${users.vault.uid})`
    : `gateway and vaults run as the user who starts the service (here ${process.getuid?.()})`
  return [say('users', 'ok', text)]
}

/** What keeps one process from reading the memory of another of the same user. */
function domainFinding(hasUsers: boolean): Finding {
  const hasLandlock = textOf('/sys/kernel/security/lsm').split(',').includes('landlock')
  const hasYama = Number(textOf('/proc/sys/kernel/yama/ptrace_scope') || 0) > 0
  const ways = [
    ...(hasLandlock ? ['Landlock'] : []),
    ...(hasYama ? ['Yama'] : []),
    ...(hasUsers ? ['users of their own'] : []),
  ]
  if (ways.length > 0)
    return say('memory', 'ok', `processes are kept out of each other’s memory by ${ways.join(' and ')}`)
  const text = 'cannot be told to be kept from other processes of the same user: neither Landlock nor Yama is seen here'
  const todo =
    'start the service as root with `processes.users`, or use a kernel with Landlock, or set kernel.yama.ptrace_scope to 1; let nothing else run as its user'
  return say('memory', 'note', text, todo)
}

function swapFinding(): Finding {
  const isOn = textOf('/proc/swaps').trim().split('\n').length > 1
  if (!isOn) return say('swap', 'ok', 'off')
  const todo = '`swapoff -a` and take it out of /etc/fstab, or encrypt it'
  return say('swap', 'note', 'is on: what a vault holds in memory may be written to disk', todo)
}

function nodeFinding(): Finding {
  const { version } = process
  if (Number(/^v(\d+)/.exec(version)?.[1]) !== NODE_MAJOR) {
    return say('Node.js', 'wrong', `${version}, and ${NODE_MAJOR} is needed`, `use Node.js ${NODE_MAJOR}`)
  }
  if (!process.env['NODE_OPTIONS']) return say('Node.js', 'ok', version)
  const text = `${version}; NODE_OPTIONS is set, and changes what the supervisor may do`
  return say('Node.js', 'note', text, 'take NODE_OPTIONS out of the environment that the service is started in')
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
