/**
 * The built service in a copy that can be profiled: the entries of gateway and vault import the sampler first, and node lets them
 * use its inspector and write into one folder. All other hardening is as in the build: launcher, seccomp filter, Landlock,
 * permission model, environment, allocator.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import type { Profiler } from 'node:inspector'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReadyLine } from '../../src/supervisor/supervisor.ts'
import { start } from './service.ts'

const ROOT = join(import.meta.dirname, '../..')
const SAMPLER = 'profile-sampler.ts'
const WRITTEN_WITHIN_MS = 30_000

/** The two kinds of processes that serve. */
export type Role = 'gateway' | 'vault'

/** What of the hardening is off in a profiled service, in words. */
export const HARDENING_OFF =
  'In the profiled copy, and there alone, gateway and vaults may use the inspector and write profiles into one folder; all other hardening is on.'

/** What the threads of all processes of one kind have used since they started, in microseconds. */
export interface ThreadTimes {
  readonly cpuUs: Readonly<Record<ThreadKind, number>>
  /** How long the main threads could have run and had no core. */
  readonly waitedUs: number
}

/** The thread that runs JavaScript, V8's own that collect and compile beside it, and libuv's that write files and call slow HSMs. */
export type ThreadKind = 'main' | 'v8' | 'libuv'

/** A service that can be profiled. */
export interface ProfiledService {
  readonly url: string
  readonly management: string
  readonly pids: Readonly<Record<Role, readonly number[]>>
  readonly times: (role: Role) => ThreadTimes
  /** Begins to sample every process. */
  readonly begin: () => Promise<void>
  /** Ends sampling. */
  readonly end: () => Promise<Readonly<Record<Role, readonly Profiler.Profile[]>>>
  readonly stop: () => Promise<void>
}

/**
 * Makes the copy in a folder, and starts the service from it.
 *
 * @throws if the build is not as it is known here: then this file has to follow it.
 */
export async function startProfiled(configFile: string, folder: string): Promise<ProfiledService> {
  const copy = join(folder, 'profiled')
  const profiles = join(copy, 'profiles')
  makeCopy(copy, profiles)
  const args = [
    join(copy, 'dist/cli/main.js'),
    'serve',
    '--config',
    configFile,
    '--port',
    '0',
    '--management-port',
    '0',
  ]
  const { line, stop } = await start(args, join(folder, 'profiled.log'))
  const { url, management, gateway, vaults } = JSON.parse(line) as ReadyLine
  const pids = { gateway: [gateway], vault: vaults }
  const signalAll = (): void => [gateway, ...vaults].forEach((pid) => void process.kill(pid, 'SIGUSR2'))
  return {
    url,
    management,
    pids,
    times: (role) => timesOf(pids[role]),
    begin: async () => {
      signalAll()
      // To begin takes a moment in which nothing is answered.
      await sleep(500)
    },
    end: async () => {
      signalAll()
      const all = { gateway: [], vault: [] } as Record<Role, Profiler.Profile[]>
      for (const role of ['gateway', 'vault'] as const) {
        for (const pid of pids[role]) all[role].push(await readProfile(join(profiles, `${pid}.json`)))
      }
      return all
    },
    stop,
  }
}

function makeCopy(copy: string, profiles: string): void {
  mkdirSync(profiles, { recursive: true, mode: 0o700 })
  cpSync(join(ROOT, 'dist'), join(copy, 'dist'), { recursive: true })
  cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'))
  cpSync(join(import.meta.dirname, SAMPLER), join(copy, SAMPLER))
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
  for (const role of ['gateway', 'vault']) {
    edit(join(copy, 'dist', role, 'main.js'), (code) => `import '../../${SAMPLER}'\n${code}`)
  }
  const flags = [
    '--allow-inspector',
    `--allow-fs-read=${join(copy, SAMPLER)}`,
    `--allow-fs-read=${profiles}`,
    `--allow-fs-write=${profiles}`,
    // The permission model asks for the place that a link leads to.
    `--allow-fs-read=${realpathSync(join(ROOT, 'node_modules'))}`,
  ]
  edit(join(copy, 'dist/supervisor/spawn.js'), (code) =>
    code.replace("'--permission',", ["'--permission'", ...flags.map((flag) => JSON.stringify(flag)), ''].join(', ')),
  )
}

function edit(file: string, change: (code: string) => string): void {
  const code = readFileSync(file, 'utf8')
  const changed = change(code)
  if (changed === code) throw new Error(`${file} is not as it is known to the profiler`)
  writeFileSync(file, changed)
}

async function readProfile(file: string): Promise<Profiler.Profile> {
  const sinceMs = performance.now()
  while (!existsSync(file)) {
    if (performance.now() - sinceMs > WRITTEN_WITHIN_MS) throw new Error(`${file} was not written`)
    await sleep(50)
  }
  const profile = JSON.parse(readFileSync(file, 'utf8')) as Profiler.Profile
  rmSync(file)
  return profile
}

/** By the kernel's count in nanoseconds: what a thread has run, and what it has waited for a core. */
function timesOf(pids: readonly number[]): ThreadTimes {
  const cpuUs = { main: 0, v8: 0, libuv: 0 }
  let waitedUs = 0
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [ranNs = 0, waitedNs = 0] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1')
        .split(' ')
        .map(Number)
      const name = readFileSync(`/proc/${pid}/task/${thread}/comm`, 'latin1')
      const kind = thread === String(pid) ? 'main' : name.startsWith('libuv') ? 'libuv' : 'v8'
      cpuUs[kind] += ranNs / 1000
      if (kind === 'main') waitedUs += waitedNs / 1000
    }
  }
  return { cpuUs, waitedUs }
}
