/** Opens the HSM for the service's own keys and no others, as `audit` needs it. */
import type { Config, KeyEntry } from '../config/schema.ts'
import { EX_UNAVAILABLE } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'
import { openKeys } from './open-keys.ts'

/**
 * Opens the first token for the keys of one purpose; a login is tried once and never again.
 *
 * @throws CommandError that says why it cannot be used.
 */
export async function openOwnKeys(
  config: Config,
  purpose: KeyEntry['purpose'],
): Promise<Awaited<ReturnType<typeof openKeys>>> {
  const keys = config.keys.filter((key) => key.purpose === purpose)
  if (keys.length === 0) {
    throw new CommandError(EX_UNAVAILABLE, `the configuration has no key with the purpose ${purpose}`)
  }
  return await openKeys(config, keys)
}
