/** The CPU time of processes, user and system, as the kernel counts it for each of them. */
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

/** The CPU time of all children of this process that have ended, with all of theirs that they waited for, in microseconds. */
export function cpuUsOfEndedChildren(): number {
  const stat = statOf('self')
  return (stat[CUTIME]! + stat[CSTIME]!) * TICK_US
}
