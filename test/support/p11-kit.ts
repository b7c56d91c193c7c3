/**
 * A remote HSM: p11-kit's server puts a token behind a Unix socket, and a module of p11-kit's speaks to it.
 *
 * The server answers nothing itself. For every connection, which is every process that initialised the module, it starts one
 * p11-kit-remote that loads the token's own module. So there are two things to kill, and they fail in different ways.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { globSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const START_MS = 5_000

/** What is put behind the socket: a module, what it needs in its environment, and the label of the one token that is shown. */
export interface Served {
  readonly module: string
  readonly environment: Readonly<Record<string, string>>
  readonly tokenLabel: string
}

/** A server of a test's own. */
export interface P11KitServer {
  /** What a configuration says instead of the served token's own; label and PIN stay those of the token. */
  readonly members: {
    readonly module: string
    readonly environment: Readonly<Record<string, string>>
    readonly socket: 'unix'
  }
  readonly socket: string
  /** The server's process number; undefined while there is none. */
  readonly pid: () => number | undefined
  /** The process numbers of the p11-kit-remote processes, also of servers that were killed. */
  readonly remotes: () => number[]
  /** Starts the server, again if need be, and waits until it listens; a stale socket is in nobody's way. */
  readonly start: () => Promise<void>
  /** Kills the server and waits for its end. Whoever is connected stays so; nobody else can connect. */
  readonly killServer: (signal?: 'SIGKILL' | 'SIGTERM') => Promise<void>
  /** Kills every p11-kit-remote, and so every connection; returns how many there were. */
  readonly killRemotes: () => number
  /** Stops server and remotes where they stand: connections are taken by the kernel, and nothing is answered. */
  readonly hang: () => void
  /** Lets them go on. */
  readonly resume: () => void
  /** Kills everything that was started here. */
  readonly dispose: () => Promise<void>
}

/** Starts a server in `folder`, which is short enough for a socket's path (107 bytes). */
export async function startP11Kit(folder: string, served: Served): Promise<P11KitServer> {
  const [module] = globSync('/usr/lib/*/pkcs11/p11-kit-client.so')
  if (module === undefined) throw new Error('p11-kit-modules is not installed: run scripts/test')
  const socket = join(folder, 'p11-kit.sock')
  const groups: number[] = []
  let server: ChildProcess | undefined

  const pid = () => (server !== undefined && isRunning(server) ? server.pid : undefined)
  const members = () => groups.flatMap((group) => membersOf(group, served.module))
  const remotes = () => members().filter((member) => !groups.includes(member))
  const signalAll = (signal: NodeJS.Signals) => {
    for (const member of members()) send(member, signal)
  }

  const start = async () => {
    if (pid() !== undefined) throw new Error('the p11-kit server runs already')
    const args = ['server', '--foreground', '--name', socket, '--provider', served.module]
    const child = spawn('p11-kit', [...args, `pkcs11:token=${encodeURIComponent(served.tokenLabel)}`], {
      // A process group of its own, by which the remotes are still known once their server is gone.
      detached: true,
      stdio: 'ignore',
      env: { PATH: process.env['PATH'] ?? '', ...served.environment },
    })
    server = child
    let failure: Error | undefined
    child.once('error', (error) => (failure = error))
    if (child.pid !== undefined) groups.push(child.pid)
    const end = performance.now() + START_MS
    while (!isListening(socket)) {
      if (failure !== undefined) throw failure
      if (!isRunning(child)) throw new Error(`p11-kit server ended with ${child.exitCode ?? child.signalCode}`)
      if (performance.now() > end) throw new Error('p11-kit server does not listen')
      await sleep(5)
    }
  }

  const killServer = async (signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL') => {
    const child = server
    if (child === undefined || !isRunning(child)) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await ended
  }

  // A test that fails half-way leaves no server behind.
  const onExit = () => signalAll('SIGKILL')
  process.once('exit', onExit)
  await start()
  return {
    members: { module, environment: { P11_KIT_SERVER_ADDRESS: `unix:path=${socket}` }, socket: 'unix' },
    socket,
    pid,
    remotes,
    start,
    killServer,
    killRemotes: () => {
      const victims = remotes()
      for (const victim of victims) send(victim, 'SIGKILL')
      return victims.length
    },
    hang: () => {
      // The server first, so that none of its children is missed.
      const running = pid()
      if (running !== undefined) send(running, 'SIGSTOP')
      signalAll('SIGSTOP')
    },
    resume: () => signalAll('SIGCONT'),
    dispose: async () => {
      await killServer()
      signalAll('SIGKILL')
      process.removeListener('exit', onExit)
    },
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.pid !== undefined && child.exitCode === null && child.signalCode === null
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended by itself meanwhile.
  }
}

/** The processes of a group that were given `module` and are no zombies, the leader first if it is there. */
function membersOf(group: number, module: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        // The name may hold blanks and parentheses; state, parent and group follow the last parenthesis.
        const [state, , itsGroup] = readFileSync(`/proc/${pid}/stat`, 'utf8')
          .replace(/^.*\) /s, '')
          .split(' ')
        // A number may have gone to somebody else's group since.
        return Number(itsGroup) === group && state !== 'Z' && argumentsOf(pid).includes(module)
      } catch {
        return false
      }
    })
    .sort((a, b) => Number(b === group) - Number(a === group))
}

function argumentsOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
}

/** Whether a Unix socket of this path listens: a connection would start a remote of its own. */
function isListening(path: string): boolean {
  // __SO_ACCEPTCON stands in the flags of a socket that listens.
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${path}`) && (Number.parseInt(line.split(/\s+/)[3]!, 16) & 0x10000) !== 0)
}
