/** Processes looked at from outside: which there are, what they hold open, and when something comes true. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'

/** The node that everything runs on. */
export const NODE = new URL('../../../node_modules/.bin/node', import.meta.url).pathname
const CLI = new URL('../../../dist/cli/main.js', import.meta.url).pathname

/** Waits until `condition` gives something other than undefined or false; returns it and how long it took. */
export async function until<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  withinMs = 15_000,
): Promise<{ value: T; ms: number }> {
  const started = performance.now()
  for (;;) {
    const value = await condition()
    const ms = performance.now() - started
    if (value !== undefined && value !== false) return { value, ms }
    if (ms > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await sleep(10)
  }
}

/** Whether a process is there and is not a zombie that waits to be reaped. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** The arguments of a process. */
export function argumentsOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
}

/** The environment of a process when it was started. */
export function environmentOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/environ`, 'utf8')
    .split('\0')
    .filter((entry) => entry !== '')
}

/** The children of the supervisor by their entry. */
export function childrenOf(supervisor: number): { gateways: number[]; vaults: number[] } {
  const children = execFileSync('ps', ['-o', 'pid=', '--ppid', String(supervisor)], { encoding: 'utf8' })
    .split('\n')
    .map(Number)
    .filter((pid) => pid > 0 && isAlive(pid))
  const named = (name: string) =>
    children.filter((pid) => {
      try {
        return argumentsOf(pid).at(-1)?.endsWith(`/${name}/main.js`)
      } catch {
        return false
      }
    })
  return { gateways: named('gateway'), vaults: named('vault') }
}

/** The inodes of the sockets that a process holds. */
export function socketInodes(pid: number): Set<string> {
  const inodes = new Set<string>()
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1]
      if (inode !== undefined) inodes.add(inode)
    } catch {
      // Closed between the two calls.
    }
  }
  return inodes
}

/** The sockets of a process by kind, and which of them listen. */
export function socketsOf(pid: number): { listening: string[]; connected: string[] } {
  const inodes = socketInodes(pid)
  const listening: string[] = []
  const connected: string[] = []
  for (const family of ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6']) {
    for (const line of readFileSync(`/proc/${pid}/net/${family}`, 'utf8').split('\n').slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
      if (inode === undefined || !inodes.has(inode)) continue
      // TCP_LISTEN is 0A; a datagram socket that is bound receives from anyone.
      if (family.startsWith('tcp') && state !== '0A') connected.push(`${family} ${local}`)
      else listening.push(`${family} ${local}`)
    }
  }
  for (const line of readFileSync(`/proc/${pid}/net/unix`, 'utf8').split('\n').slice(1)) {
    const [, , , flags, , , inode, path] = line.trim().split(/\s+/)
    if (inode === undefined || !inodes.has(inode)) continue
    // __SO_ACCEPTCON: the socket listens.
    if ((Number.parseInt(flags!, 16) & 0x10000) !== 0) listening.push(`unix ${path}`)
    else connected.push(`unix ${path ?? ''}`)
  }
  return { listening, connected }
}

/** A service that need not get ready. */
export interface Launched {
  readonly process: ChildProcess
  readonly output: () => string
  /** The records of its log so far. */
  readonly log: () => any[]
  readonly managementPort: () => Promise<number>
  readonly end: () => Promise<void>
}

/** Starts `pinbridge serve` without waiting for it. */
export function launch(setUp: DevelopmentSetUp): Launched {
  const args = [CLI, 'serve', '--config', setUp.config, '--port', '0', '--management-port', '0']
  const child = spawn(NODE, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] ?? '' } })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const log = () => recordsOf(output)
  return {
    process: child,
    output: () => output,
    log,
    managementPort: async () => {
      const { value } = await until('listening', () => log().find(({ msg }) => msg === 'listening'))
      return value.managementPort as number
    },
    end: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** The records of a log; the last line may still be on its way. */
export function recordsOf(output: string): any[] {
  return output.split('\n').flatMap((line) => {
    try {
      return line.startsWith('{') ? [JSON.parse(line)] : []
    } catch {
      return []
    }
  })
}
