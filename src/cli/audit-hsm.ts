/** Opens the HSM for the service's own keys and no others, as `audit` needs it. */
import { profilesOf } from '../config/config.ts'
import type { Config, KeyEntry } from '../config/schema.ts'
import { HsmStartError } from '../hsm/hsm.ts'
import { KeyCatalogue } from '../hsm/key-catalogue.ts'
import { openHsm, type OpenHsm } from '../hsm/pkcs11/open-hsm.ts'
import { isRefused, readPin, REFUSED_BEFORE, rememberRefusal } from '../pin-file.ts'
import { EX_UNAVAILABLE } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'

/**
 * Opens the first token, which holds the same keys as every other; a login is tried once and never again.
 *
 * @throws CommandError that says why it cannot be used.
 */
export async function openOwnKeys(
  config: Config,
  purpose: KeyEntry['purpose'],
): Promise<{ readonly open: OpenHsm; readonly catalogue: KeyCatalogue }> {
  const [token] = config.hsm.tokens
  const keys = config.keys.filter((key) => key.purpose === purpose)
  if (token === undefined || keys.length === 0) {
    throw new CommandError(EX_UNAVAILABLE, `the configuration has no key with the purpose ${purpose}`)
  }
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
