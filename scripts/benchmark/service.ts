/** The services under the benchmark, pinbridge from the build and the plain one: started, reached over mTLS, their use of the machine told apart. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ReadyLine } from '../../src/supervisor/supervisor.ts'
import { childrenOf, cpuUsOf, cpuUsOfEndedChildren, endWithUs, memoryBytesOf } from './processes.ts'

const START_MS = 30_000
const PLAIN_SERVICE = join(import.meta.dirname, 'plain-service.ts')

/** The built command. */
export const CLI = join(import.meta.dirname, '../../dist/cli/main.js')

/** A running service. */
export interface BenchService {
  readonly url: string
  /** The CPU microseconds that it has used so far, by kind of process. */
  readonly cpuUs: () => Readonly<Record<string, number>>
  /** The bytes of its memory, by kind of process. */
  readonly memoryBytes: () => Readonly<Record<string, number>>
  readonly stop: () => Promise<void>
}

/**
 * Starts `pinbridge serve` and waits until it is ready.
 *
 * @param logFile - is written anew.
 */
export async function startPinbridge(configFile: string, logFile: string): Promise<BenchService> {
  const args = [CLI, 'serve', '--config', configFile, '--port', '0', '--management-port', '0']
  const { line, stop } = await start(args, logFile)
  const { url, pid, gateway } = JSON.parse(line) as ReadyLine
  // Asked each time: a vault that has done enough is replaced.
  const vaults = (): number[] => childrenOf(pid).filter((child) => child !== gateway)
  const sum = (figures: readonly number[]): number => figures.reduce((all, one) => all + one, 0)
  return {
    url,
    cpuUs: () => ({
      supervisor: cpuUsOf(pid),
      gateway: cpuUsOf(gateway),
      vaults: sum(vaults().map(cpuUsOf)) + cpuUsOfEndedChildren(pid),
    }),
    memoryBytes: () => ({
      supervisor: memoryBytesOf(pid),
      gateway: memoryBytesOf(gateway),
      vaults: sum(vaults().map(memoryBytesOf)),
    }),
    stop,
  }
}

/** Starts the plain service, and waits until it is ready. */
export async function startPlain(configFile: string, logFile: string): Promise<BenchService> {
  const { line, stop } = await start([PLAIN_SERVICE, configFile], logFile)
  const { url, pid } = JSON.parse(line) as { url: string; pid: number }
  return {
    url,
    cpuUs: () => ({ service: cpuUsOf(pid) }),
    memoryBytes: () => ({ service: memoryBytesOf(pid) }),
    stop,
  }
}

/** Starts a program that says in one line that it is ready. */
export async function start(args: string[], logFile: string): Promise<{ line: string; stop: () => Promise<void> }> {
  // A file and no pipe: whoever had to read a pipe would take CPU time from what is measured.
  const log = openSync(logFile, 'w', 0o600)
  const env = { PATH: process.env['PATH'] ?? '' }
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', log], env })
  closeSync(log)
  endWithUs(child)
  const ended = once(child, 'exit')
  const lines = createInterface(child.stdout!)
  const isLate = sleep(START_MS, undefined, { ref: false })
  const line = await Promise.race([once(lines, 'line'), ended.then(() => undefined), isLate])
  if (line === undefined) {
    child.kill('SIGKILL')
    throw new Error(`${args.join(' ')} did not get ready:\n${readFileSync(logFile, 'utf8')}`)
  }
  return {
    line: String(line[0]),
    stop: async () => {
      child.kill('SIGTERM')
      await ended
    },
  }
}
