/** Starts this process anew in its place, as one that leaves no core and takes no debugger: clear keys are in its memory. */
import { hasLauncher, launchedAsSupervisor } from '../../supervisor/spawn.ts'

/** A signal opens node's debugger otherwise, for everybody of the same user. */
const FLAGS = ['--disable-sigusr1', '--disable-proto=delete']

/** Returns in the process that is guarded; where this node or this machine cannot do it, in the one that is there. */
export function guardMemory(): void {
  if (process.execArgv.includes(FLAGS[0]!) || process.execve === undefined || !hasLauncher()) return
  const command = [process.execPath, ...process.execArgv, '--no-warnings', ...FLAGS, ...process.argv.slice(1)]
  const [program = '', ...args] = launchedAsSupervisor(command)
  process.execve(program, [program, ...args], process.env)
}
