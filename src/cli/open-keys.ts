/** Opens the HSM for some keys of the catalogue and no others, for a command that uses keys and makes none. */
import { profilesOf } from '../config/config.ts'
import type { Config, KeyEntry } from '../config/schema.ts'
import { EX_UNAVAILABLE } from '../exit-codes.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { KeyCatalogue } from '../hsm/key-catalogue.ts'
import { openHsm, type OpenHsm } from '../hsm/pkcs11/open-hsm.ts'
import { isRefused, readPin, REFUSED_BEFORE, rememberRefusal } from '../pin-file.ts'
import { CommandError } from './command-error.ts'

/**
 * Opens the first token, which holds the same keys as every other, and asks each of the keys for its known answer; a login is
 * tried once and never again.
 *
 * @throws CommandError that says why it cannot be used.
 */
export async function openKeys(
  config: Config,
  keys: readonly KeyEntry[],
): Promise<{ readonly open: OpenHsm; readonly catalogue: KeyCatalogue }> {
  const token = config.hsm.tokens[0]!
  if (isRefused(token)) throw new CommandError(EX_UNAVAILABLE, REFUSED_BEFORE)
  Object.assign(process.env, token.environment)
  const catalogue = new KeyCatalogue(keys, profilesOf(config))
  const { pin, identity } = readPin(token.pinFile)
  try {
    const { environment } = config
    const open = await openHsm({ address: token, sessions: 1, environment, keys, catalogue }, pin)
    return { open, catalogue }
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    if (error.reason === 'pin-refused') rememberRefusal(token, identity)
    throw new CommandError(EX_UNAVAILABLE, error.message)
  }
}
