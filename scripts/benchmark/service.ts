/** The service under a benchmark: started from the build, its log in a file, its processes' CPU time told apart. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import type { ReadyLine } from '../../src/supervisor/supervisor.ts'
import { cpuUsOf } from './cpu.ts'

const START_MS = 30_000

/** The built command. */
export const CLI = join(import.meta.dirname, '../../dist/cli/main.js')

/** CPU time in microseconds, by kind of process. */
export interface ServiceCpu {
  readonly supervisor: number
  readonly gateway: number
  readonly vaults: number
}

/** A running service. */
export interface BenchService {
  readonly ready: ReadyLine
  /** What its processes have used so far. */
  readonly cpuUs: () => ServiceCpu
  readonly stop: () => Promise<void>
}

/** Starts it and waits until it is ready. */
export async function startBenchService(setUp: DevelopmentSetUp, folder: string): Promise<BenchService> {
  const logFile = join(folder, 'log')
  // A file and no pipe: whoever had to read a pipe would take CPU time from what is measured.
  const log = openSync(logFile, 'w', 0o600)
  const child = spawn(
    process.execPath,
    [CLI, 'serve', '--config', setUp.config, '--port', '0', '--management-port', '0'],
    { stdio: ['ignore', 'pipe', log], env: { PATH: process.env['PATH'] ?? '' } },
  )
  closeSync(log)
  endWithUs(child)
  const ended = once(child, 'exit')
  const lines = createInterface(child.stdout!)
  const isLate = sleep(START_MS, undefined, { ref: false })
  const line = await Promise.race([once(lines, 'line'), ended.then(() => undefined), isLate])
  if (line === undefined) throw new Error(`the service did not get ready:\n${readFileSync(logFile, 'utf8')}`)
  const ready = JSON.parse(String(line[0])) as ReadyLine
  return {
    ready,
    cpuUs: () => ({
      supervisor: cpuUsOf(ready.pid),
      gateway: cpuUsOf(ready.gateway),
      vaults: ready.vaults.reduce((sum, pid) => sum + cpuUsOf(pid), 0),
    }),
    stop: async () => {
      child.kill('SIGTERM')
      await ended
    },
  }
}

/** Whatever ends the benchmark ends what it started. */
export function endWithUs(child: ChildProcess): void {
  const end = (): void => void child.kill()
  process.once('exit', end)
  child.once('exit', () => process.removeListener('exit', end))
}
