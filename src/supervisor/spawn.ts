/**
 * How the two kinds of children are started: by the launcher (native-config/launcher.c), which leaves them little to ask the
 * kernel for, under node's permission model with explicit flags, and with a bare environment (M-31).
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config, ProcessUser, TokenConfig } from '../config/schema.ts'
import type { BridgeEnd, GatewayCommand, VaultCommand } from './messages.ts'

/** The built code, and the packages it imports: all that a child reads of the installation. */
const CODE = dirname(dirname(fileURLToPath(import.meta.url)))
const EXTENSION = extname(fileURLToPath(import.meta.url))
/** Built beside the code; where it is not, the code runs from its sources, or its build is not whole. */
const LAUNCHER = join(CODE, 'launcher')
/** Looked for once: should it be taken away from a running service, nothing is started any more, rather than without it. */
const IS_THERE = existsSync(LAUNCHER)
/** Where the launcher leaves the socket that it has opened. */
const BRIDGE_FD = 4

/** A command by way of the launcher, for a process that starts others: it writes no core, and gains no privileges. */
export function launchedAsSupervisor(command: readonly string[]): readonly string[] {
  return hasLauncher() ? [LAUNCHER, '--role', 'supervisor', '--', ...command] : command
}

/** Whether processes can be started by the launcher. */
export function hasLauncher(): boolean {
  return IS_THERE
}

/** A command that shows whether the launcher can confine a process on this machine: it ends at once, with 0 if it can. */
export function launcherTrial(): readonly string[] {
  return [LAUNCHER, '--role', 'vault', '--parent', String(process.pid), '--', process.execPath, '--version']
}

/** Every node_modules folder from the code upwards, as node looks packages up, and the package.json beside the code. */
export function codePaths(): string[] {
  const paths = [CODE]
  for (let folder = CODE; ; folder = dirname(folder)) {
    for (const name of ['node_modules', 'package.json']) {
      const path = join(folder, name)
      if (existsSync(path)) paths.push(path)
    }
    if (folder === dirname(folder)) return paths
  }
}

/** No prototype pollution by `__proto__`, and no inspector on SIGUSR1 to read the memory with. */
export const HARDENING_FLAGS = ['--disable-proto=delete', '--disable-sigusr1', '--no-addons']

/**
 * Blocks pass through as buffers, megabytes a second of them: with the small heap that node begins with, every few of them
 * would have the garbage collector look through all of it.
 */
export const HEAP_FLAGS = ['--initial-heap-size=128']

/** Under overload V8's young generation would grow by 90 MiB, and stay so. */
const YOUNG_HEAP_FLAG = '--max-semi-space-size=16'

/** V8 overwrites what it collects, and the gateway may have it collect: PANs are strings there (M-7). */
const FORGETTING_FLAGS = ['--clear-free-memory', '--expose-gc']

/**
 * glibc overwrites what is freed or moved. Its caches of the threads are left out of that, so there are none.
 *
 * PKCS#11 modules free buffers with clear PIN blocks and keys in them, and a gateway those with PANs (M-6).
 */
const OVERWRITING_MALLOC = { GLIBC_TUNABLES: 'glibc.malloc.perturb=165:glibc.malloc.tcache_count=0' }

/** A vault that neither gets ready nor says why not is taken for hung; one on an HSM of 50 ms a call gets ready in 17 s. */
export const VAULT_START_MS = 30_000

/** What a child is told first, and the path of the bridge socket that it is given. */
type Start<Command> = Omit<Command, 'type' | 'bridge'> & { readonly bridgeSocket: string }
export type GatewayStart = Start<Extract<GatewayCommand, { type: 'start' }>>
export type VaultStart = Start<Extract<VaultCommand, { type: 'start' }>>

/**
 * Starts the gateway: it may read the code and the files of its listener, limit store and trace collector, start nothing and load nothing native.
 * The launcher makes the bridge socket that it listens on.
 */
export function spawnGateway(config: Config, { bridgeSocket, ...start }: GatewayStart): ChildProcess {
  const { certificate, privateKey, clientCa } = config.listeners.api
  const { passwordFile, caFile } = config.limits.store ?? {}
  const { tracing } = config
  const others = [passwordFile, caFile, tracing?.caFile, tracing?.certificateFile, tracing?.privateKeyFile]
  const files = mayRead([certificate, privateKey, clientCa, ...others.filter((path) => path !== undefined)])
  // It writes the audit record, and nothing else.
  const record = (config.audit ? [config.audit.directory] : []).flatMap((path) => [
    `--allow-fs-read=${path}`,
    `--allow-fs-write=${path}`,
  ])
  const user = config.processes.users?.gateway
  const flags = [...HARDENING_FLAGS, YOUNG_HEAP_FLAG, ...FORGETTING_FLAGS, ...files, ...record]
  const child = spawnChild('gateway', flags, OVERWRITING_MALLOC, ['--bridge', bridgeSocket], user)
  sendTo(child, { type: 'start', ...start, bridge: bridgeEnd(bridgeSocket) } satisfies GatewayCommand)
  return child
}

/**
 * Starts a vault of a token: it may read the code and the HSM PIN, may load the one native module, and opens no socket but of
 * the kind that this module needs. The launcher connects it to the gateway.
 */
export function spawnVault({ bridgeSocket, ...start }: VaultStart, user: ProcessUser | undefined): ChildProcess {
  const { flags, env, socket } = vaultSurroundings(start.config.hsm.token)
  const child = spawnChild('vault', flags, env, ['--socket', socket, '--bridge', bridgeSocket], user)
  sendTo(child, { type: 'start', ...start, bridge: bridgeEnd(bridgeSocket) } satisfies VaultCommand)
  return child
}

/**
 * Starts a program of ours that looks at a token: with the rights, the user and the environment that a vault of it has, and
 * without a bridge.
 *
 * @param program - its path in the built code, without the extension.
 */
export function spawnExaminer(program: string, token: TokenConfig, user: ProcessUser | undefined): ChildProcess {
  const { flags, env, socket } = vaultSurroundings(token)
  return spawnChild('vault', flags, env, ['--socket', socket], user, program)
}

function vaultSurroundings({ pinFile, environment, sessions, socket }: TokenConfig) {
  const flags = HARDENING_FLAGS.filter((flag) => flag !== '--no-addons')
  return {
    flags: [...flags, ...HEAP_FLAGS, '--allow-addons', ...mayRead([pinFile])],
    env: {
      ...environment,
      ...OVERWRITING_MALLOC,
      // Asynchronous calls hold a thread each for as long as the HSM takes.
      UV_THREADPOOL_SIZE: String(sessions + 4),
    },
    socket,
  }
}

/** Calls `handle` once, when a child has ended or could not be started at all; node then says `error` and never `exit`. */
export function onEnd(child: ChildProcess, handle: (code: number | null, signal: NodeJS.Signals | null) => void): void {
  child.once('exit', handle)
  child.once('error', () => {
    if (child.pid !== undefined) return
    child.removeListener('exit', handle)
    handle(null, null)
  })
  // A later error, of a message or a signal, is followed by the exit.
  child.on('error', () => {})
}

/** Sends a message; one that cannot be sent is to a child whose end is being handled. */
export function sendTo(child: ChildProcess | undefined, message: object): void {
  if (child?.connected) child.send(message, () => {})
}

function bridgeEnd(path: string): BridgeEnd {
  return hasLauncher() ? { fd: BRIDGE_FD } : { path }
}

function mayRead(files: readonly string[]): string[] {
  return [...codePaths(), ...files].map((path) => `--allow-fs-read=${path}`)
}

function spawnChild(
  role: 'gateway' | 'vault',
  flags: readonly string[],
  env: Record<string, string>,
  confinement: readonly string[],
  user: ProcessUser | undefined,
  code = `${role}/main`,
): ChildProcess {
  const entry = join(CODE, `${code}${EXTENSION}`)
  const command = [process.execPath, '--permission', '--no-warnings', ...flags, entry]
  const become = user ? ['--user', [user.uid, user.gid, ...user.groups].join(':')] : []
  const parent = ['--parent', String(process.pid)]
  const launch = [LAUNCHER, '--role', role, ...confinement, ...become, ...parent, '--']
  const [program = '', ...args] = hasLauncher() ? [...launch, ...command] : command
  // Standard output is the supervisor's alone; logs go to standard error.
  return spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], env })
}
