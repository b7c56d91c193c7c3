/** How the two kinds of children are started: each under node's permission model with explicit flags and a bare environment. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config, TokenConfig } from '../config/schema.ts'

/** The built code, and the packages it imports: all that a child reads of the installation. */
const CODE = dirname(dirname(fileURLToPath(import.meta.url)))
const EXTENSION = extname(fileURLToPath(import.meta.url))

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

/** A vault that neither gets ready nor says why not is taken for hung; one on an HSM of 50 ms a call gets ready in 17 s. */
export const VAULT_START_MS = 30_000

/** Starts the gateway: it may read the code and its TLS files, and may start nothing and load nothing native. */
export function spawnGateway(config: Config): ChildProcess {
  const { certificate, privateKey, clientCa } = config.listeners.api
  const files = mayRead([certificate, privateKey, clientCa])
  return spawnChild('gateway', [...HARDENING_FLAGS, YOUNG_HEAP_FLAG, ...files], {})
}

/** Starts a vault of a token: it may read the code and the HSM PIN, and may load the one native module. */
export function spawnVault({ pinFile, environment, sessions }: TokenConfig): ChildProcess {
  const flags = HARDENING_FLAGS.filter((flag) => flag !== '--no-addons')
  return spawnChild('vault', [...flags, ...HEAP_FLAGS, '--allow-addons', ...mayRead([pinFile])], {
    ...environment,
    // glibc overwrites what is freed or moved: PKCS#11 modules free buffers with clear PIN blocks and keys in them. Its
    // caches of the threads are left out of that, so there are none.
    GLIBC_TUNABLES: 'glibc.malloc.perturb=165:glibc.malloc.tcache_count=0',
    // Asynchronous calls hold a thread each for as long as the HSM takes.
    UV_THREADPOOL_SIZE: String(sessions + 4),
  })
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

function mayRead(files: readonly string[]): string[] {
  return [...codePaths(), ...files].map((path) => `--allow-fs-read=${path}`)
}

function spawnChild(name: 'gateway' | 'vault', flags: readonly string[], env: Record<string, string>): ChildProcess {
  const entry = join(CODE, name, `main${EXTENSION}`)
  return spawn(process.execPath, ['--permission', '--no-warnings', ...flags, entry], {
    // Standard output is the supervisor's alone; logs go to standard error.
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env,
  })
}
