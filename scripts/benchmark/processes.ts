/** What processes use, as the kernel counts it for each of them: CPU time, user and system, and memory. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

/** The kernel's unit in /proc: USER_HZ is 100 wherever Linux runs node. */
const TICK_US = 10_000

/** The places in /proc/PID/stat of utime, stime, cutime and cstime, counted from the member behind the process's name. */
const UTIME = 11
const STIME = 12
const CUTIME = 13
const CSTIME = 14

function statOf(pid: number | 'self'): number[] {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The name stands in brackets and may hold blanks and brackets itself.
  return stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
}

/**
 * The CPU time that a process has used since its start, in microseconds.
 *
 * @throws if it has ended: whoever measures it would miss what it used.
 */
export function cpuUsOf(pid: number): number {
  const stat = statOf(pid)
  return (stat[UTIME]! + stat[STIME]!) * TICK_US
}

/** The CPU time of all children of a process that have ended, with all of theirs that they waited for, in microseconds. */
export function cpuUsOfEndedChildren(pid: number | 'self'): number {
  const stat = statOf(pid)
  return (stat[CUTIME]! + stat[CSTIME]!) * TICK_US
}

/** The children of a process that still run. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)
}

/** The memory of a process in bytes, of what it shares with others its part. */
export function memoryBytesOf(pid: number): number {
  const [, kib] = /^Pss: +(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))!
  return Number(kib) * 1024
}

const running = new Set<ChildProcess>()
process.once('exit', () => running.forEach((child) => void child.kill()))

/** Whatever ends the benchmark ends what it started. */
export function endWithUs(child: ChildProcess): void {
  running.add(child)
  child.once('exit', () => running.delete(child))
}

let ending: Promise<unknown> | undefined

/** Ends all that was started, and waits until it has; who is told twice to end does it at once, and leaves things behind. */
export async function endAll(): Promise<void> {
  ending ??= Promise.all(
    [...running].map((child) => {
      const end = once(child, 'exit')
      child.kill()
      return end
    }),
  )
  await ending
}
