/** Ends a key's exportability: in every token and in the configuration, or nowhere. */
import { changeKeyEntry } from '../../config/edit.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_UNAVAILABLE } from '../../exit-codes.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { destroyHandles, handlesOf } from '../../hsm/pkcs11/key-objects.ts'
import { ckrOf, nameOf } from '../../hsm/pkcs11/return-values.ts'
import { CommandError } from '../command-error.ts'
import type { OpenedToken } from '../open-token.ts'

/**
 * Puts the key into every token once more, so that it cannot leave, then changes its entry, and then destroys what could leave.
 *
 * An object that may not be modified may not be copied with a change either, so that the value is imported: it has been outside
 * of the token already. What fails before the old objects go is taken back.
 *
 * @param value - the key as it was exported; not wiped here.
 * @throws CommandError, ConfigError or ConfigEditError; then the key is exportable, as it was.
 */
export function makeUnexportable(
  opened: readonly OpenedToken[],
  configPath: string,
  config: Pick<Config, 'profiles'>,
  key: KeyEntry,
  value: Buffer,
): void {
  const { exportable: _, ...others } = key
  const final: KeyEntry = { ...others, origin: 'imported' }
  const form = new KeyCatalogue([final], profilesOf(config)).macFormOf(final)
  const before = opened.map(({ token }) => handlesOf(token, key))
  try {
    for (const { maker, throwIfInterrupted } of opened) {
      throwIfInterrupted()
      maker.importSecretKey(final, form, value)
    }
    changeKeyEntry(configPath, key, { exportable: undefined, origin: 'imported' })
  } catch (error) {
    try {
      for (const { maker } of opened) maker.destroyMade(key)
    } catch (second) {
      throw tokenError(
        key,
        'objects that cannot be exported may be in the token beside the old ones: destroy those of CKA_EXTRACTABLE false with the HSM’s own tool',
        second,
      )
    }
    throw ckrOf(error) === undefined ? error : tokenError(key, 'it is exportable, as it was', error)
  }
  try {
    opened.forEach(({ token }, i) => destroyHandles(token, before[i]!))
  } catch (error) {
    throw tokenError(
      key,
      'the objects that can be exported are in the token still, beside the new ones: destroy those of CKA_EXTRACTABLE true with the HSM’s own tool',
      error,
    )
  }
}

function tokenError({ id, version }: KeyEntry, what: string, error: unknown): CommandError {
  return new CommandError(EX_UNAVAILABLE, `key ${id} version ${version}: the token failed (${nameOf(error)}); ${what}`)
}
