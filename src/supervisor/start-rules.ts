/** What a service may not be started without, and not as whom: apart from the configuration's form, which is the same for all. */
import { ConfigError } from '../config/problems.ts'
import type { Config } from '../config/schema.ts'
import { hasLauncher } from './spawn.ts'

const ROOT_UID = 0

/**
 * Refuses to start processes that would hold more rights than they need (M-32). Development may do without the launcher, and run
 * as root.
 *
 * @throws ConfigError that says what to do.
 */
export function assertMayStart(config: Pick<Config, 'environment' | 'processes'>): void {
  const problems = startProblems(config, { uid: process.getuid?.(), hasLauncher: hasLauncher() })
  if (problems.length > 0) throw new ConfigError(problems)
}

/** Why nothing may be started by this user of this installation. */
export function startProblems(
  { environment, processes: { users } }: Pick<Config, 'environment' | 'processes'>,
  { uid, hasLauncher }: { readonly uid: number | undefined; readonly hasLauncher: boolean },
): string[] {
  const problems: string[] = []
  const isDevelopment = environment === 'development'
  if (!hasLauncher && (!isDevelopment || users)) {
    problems.push('the launcher is not there: build native-config/launcher.c beside the code (scripts/setup.sh does)')
  }
  if (uid === ROOT_UID && !isDevelopment && !users) {
    problems.push('root does not run this outside development: use another user, or name two in processes.users')
  }
  if (uid !== ROOT_UID && users) {
    problems.push('processes.users: only root can start processes as other users; leave it out, or start as root')
  }
  return problems
}
