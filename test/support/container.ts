/**
 * Containers by runc, as a careful operator runs them: read-only root, no capability, no new privileges, a network of their own, and
 * the kernel calls that container engines allow by default.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** What an image says of how it is run. */
export interface ImageConfig {
  readonly User: string
  readonly Env: readonly string[]
  readonly Entrypoint: readonly string[]
  readonly Cmd: readonly string[]
  readonly WorkingDir: string
  readonly StopSignal: string
  readonly Healthcheck?: { readonly Test: readonly string[] }
}

/** An image, laid out by scripts/build-image. */
export interface Image {
  readonly rootfs: string
  readonly config: ImageConfig
}

/** Reads an image of `folder`. */
export function readImage(folder: string, name: string): Image {
  const inspected = JSON.parse(readFileSync(join(folder, name, 'image.json'), 'utf8'))
  return { rootfs: join(folder, name, 'rootfs'), config: inspected.Docker.config }
}

/** Where containers see the one folder of the host that they are given. */
const DATA = '/etc/pinbridge'
/** What Docker, Podman and CRI-O allow, as Debian packages it beside buildah. */
const SECCOMP_PROFILE = '/usr/share/containers/seccomp.json'

/** What is run in a container, and which folders of the data it may write to: `.` for all of them. */
export interface Run {
  readonly args?: readonly string[]
  readonly writable?: readonly string[]
}

/** How a container ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A container. */
export interface Container {
  /** Resolves with the first line of standard output that begins so. */
  readonly line: (beginning: string) => Promise<string>
  /** Runs a program in it, as the image's user; its exit code. */
  readonly exec: (args: readonly string[]) => number
  /** The processes, seen from outside. */
  readonly processes: () => number[]
  readonly kill: (signal: string) => void
  readonly ended: Promise<Ended>
}

/** Runs the containers of one test file, in one network with nothing but loopback. */
export class Containers {
  readonly #network = `pinbridge-test-${process.pid}`
  readonly #folder: string
  readonly #data: string
  readonly #running = new Map<string, ChildProcess>()
  #count = 0

  /** @param data - the folder that containers see as /etc/pinbridge. */
  constructor(folder: string, data: string) {
    this.#folder = mkdtempSync(join(folder, 'runc-'))
    this.#data = data
    execFileSync('ip', ['netns', 'add', this.#network])
    execFileSync('ip', ['-n', this.#network, 'link', 'set', 'lo', 'up'])
  }

  /** Starts `image` with its own arguments unless told. */
  run({ rootfs, config }: Image, { args = config.Cmd, writable = [] }: Run = {}): Container {
    const id = `${this.#network}-${++this.#count}`
    const bundle = join(this.#folder, id)
    const process = { ...processOf(config), args: [...config.Entrypoint, ...args], env: config.Env }
    mkdirSync(bundle)
    writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ...this.#isolation(rootfs, writable), process }))
    const child = spawn('runc', [...this.#state(), 'run', '--bundle', bundle, id], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#running.set(id, child)
    let stdout = ''
    let stderr = ''
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    const ended = new Promise<Ended>((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })))
    return {
      ended,
      line: (beginning) =>
        new Promise((resolve, reject) => {
          const look = () => {
            const found = stdout.split('\n').find((line) => line.startsWith(beginning))
            if (found !== undefined) resolve(found)
          }
          look()
          child.stdout.on('data', look)
          void ended.then(({ code }) => reject(new Error(`the container ended with ${code}:\n${stderr}`)))
        }),
      exec: (command) => {
        try {
          execFileSync('runc', [...this.#state(), 'exec', '--cwd', config.WorkingDir, id, ...command], {
            stdio: 'pipe',
          })
          return 0
        } catch (error) {
          return (error as { status: number }).status
        }
      },
      processes: () =>
        JSON.parse(execFileSync('runc', [...this.#state(), 'ps', '--format', 'json', id], { encoding: 'utf8' })),
      kill: (signal) => void execFileSync('runc', [...this.#state(), 'kill', id, signal]),
    }
  }

  /** Runs a program of the host in the containers' network. */
  inNetwork(command: string, args: readonly string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.#network, command, ...args], { encoding: 'utf8' })
  }

  async dispose(): Promise<void> {
    for (const [id, child] of this.#running) {
      if (child.exitCode === null && child.signalCode === null) {
        const closed = new Promise((resolve) => child.once('close', resolve))
        execFileSync('runc', [...this.#state(), 'kill', id, 'KILL'])
        await closed
      }
    }
    execFileSync('ip', ['netns', 'delete', this.#network])
    rmSync(this.#folder, { recursive: true })
  }

  #state(): string[] {
    return ['--root', join(this.#folder, 'state')]
  }

  #isolation(rootfs: string, writable: readonly string[]): object {
    const mount = (destination: string, type: string, ...options: string[]) => ({
      destination,
      type,
      source: type,
      options: ['nosuid', 'noexec', 'nodev', ...options],
    })
    const bind = (folder: string, mode: 'ro' | 'rw') => ({
      ...mount(join(DATA, folder), 'bind', 'bind', mode),
      source: join(this.#data, folder),
    })
    return {
      ociVersion: '1.0.2',
      root: { path: rootfs, readonly: true },
      mounts: [
        mount('/proc', 'proc'),
        { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
        mount('/tmp', 'tmpfs', 'mode=1777', 'size=16m'),
        bind('.', 'ro'),
        ...writable.map((folder) => bind(folder, 'rw')),
      ],
      linux: {
        namespaces: [
          ...['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
          { type: 'network', path: `/run/netns/${this.#network}` },
        ],
        maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/timer_list'],
        readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
        seccomp: defaultSeccomp(),
      },
    }
  }
}

function processOf({ User, WorkingDir }: ImageConfig): object {
  const [uid, gid] = User.split(':').map(Number)
  const none = { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] }
  return { user: { uid, gid }, cwd: WorkingDir, capabilities: none, noNewPrivileges: true }
}

interface SeccompProfile {
  readonly defaultAction: string
  readonly defaultErrnoRet: number
  readonly archMap: readonly { readonly architecture: string; readonly subArchitectures: readonly string[] }[]
  readonly syscalls: readonly {
    readonly names: readonly string[]
    readonly action: string
    readonly errnoRet?: number
    readonly args?: readonly object[]
    readonly includes?: { readonly caps?: readonly string[]; readonly arches?: readonly string[] }
  }[]
}

/** The engines' profile as runc wants it, for this machine and a process without capabilities. */
function defaultSeccomp(): object {
  const { defaultAction, defaultErrnoRet, archMap, syscalls } = JSON.parse(
    readFileSync(SECCOMP_PROFILE, 'utf8'),
  ) as SeccompProfile
  const [name, goName] = process.arch === 'x64' ? ['X86_64', 'amd64'] : ['AARCH64', 'arm64']
  const own = archMap.find(({ architecture }) => architecture === `SCMP_ARCH_${name}`)!
  return {
    defaultAction,
    defaultErrnoRet,
    architectures: [own.architecture, ...own.subArchitectures],
    syscalls: syscalls
      .filter(({ includes }) => !includes?.caps && (includes?.arches?.includes(goName) ?? true))
      .map(({ names, action, errnoRet, args }) => ({ names, action, errnoRet, args: args ?? [] })),
  }
}
