/**
 * Puts this process under node's permission model by starting it anew in its place: a flag is the only way in, and whoever
 * types the command should not have to know it.
 */
import { HARDENING_FLAGS, launchedAsSupervisor } from '../supervisor/spawn.ts'
import { EX_UNAVAILABLE } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'

/**
 * Confines a command that starts vaults: from here on it may read files, start its children, and write where it is told.
 *
 * @param mayWrite - paths; one that ends in `*` stands for all that begin so.
 * @param more - flags of node's that the command wants besides.
 */
export function confine(mayWrite: readonly string[], more: readonly string[] = []): void {
  // The type says that it is always there; it is under --permission only.
  if ((process.permission as unknown) !== undefined) return
  if (process.execve === undefined)
    throw new CommandError(EX_UNAVAILABLE, 'this node cannot be confined: Node.js 24 is needed')
  const flags = ['--permission', '--no-warnings', ...HARDENING_FLAGS, ...more]
  const rights = ['--allow-child-process', '--allow-fs-read=*', ...mayWrite.map((path) => `--allow-fs-write=${path}`)]
  const command = [process.execPath, ...flags, ...rights, ...process.argv.slice(1)]
  const [program = '', ...args] = launchedAsSupervisor(command)
  process.execve(program, [program, ...args], process.env)
}
