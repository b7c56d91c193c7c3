/** Generates a key inside a token as a key of the catalogue, and takes it out again unless everything went well. */
import type { KeyEntry } from '../../config/schema.ts'
import { EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { isKeyPair, isWrappingKey } from '../../hsm/key-pairs.ts'
import { macUsesOf, type MacForm } from '../../hsm/mac-keys.ts'
import { computeCheck } from '../../hsm/self-test.ts'
import { publicKeyKcv } from '../../key-block/kcv.ts'
import type { Profile } from '../../pin-change/profile.ts'
import { SHIPPED_PROFILES } from '../../pin-change/shipped-profiles.ts'
import { CommandError } from '../command-error.ts'
import { hearInterrupts, type OpenedToken } from '../open-token.ts'
import type { PlannedKey } from './planned-key.ts'
import { expectFree, undone } from './store-key.ts'

/**
 * Generates the key and proves it by KCV and known answer; writes no configuration.
 *
 * @param profiles - those that the key may name.
 * @param keep - is lent the entry while the key can still be taken back, to write it down.
 * @param makePair - how a key pair is generated, if not as usual.
 * @param origin - what its entry says of where it was made: `imported` if its value has been wrapped out, which no token would vouch for.
 * @returns its entry; `origin` is `imported` where the token does not prove that it made the key.
 * @throws CommandError, or what `keep` throws; then nothing of the key is in the token.
 */
export async function generateKey(
  opened: OpenedToken,
  planned: PlannedKey,
  profiles: readonly Profile[] = SHIPPED_PROFILES,
  keep: (entry: KeyEntry) => void = () => undefined,
  makePair: (key: KeyEntry) => Promise<PublicKey> = (key) => opened.maker.generateKeyPair(key),
  origin: KeyEntry['origin'] = 'generated',
): Promise<KeyEntry> {
  const { maker, settings, throwIfInterrupted } = opened
  const unmade: KeyEntry = { ...planned, kcv: '', origin }
  const form = new KeyCatalogue([unmade], profiles).macFormOf(unmade)
  expectGenerable(unmade, form)
  const reason = maker.whyUnavailable(unmade, form)
  if (reason !== undefined)
    throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} cannot serve such a key: ${reason}`)
  expectFree([opened], unmade)
  try {
    throwIfInterrupted()
    const entry = isKeyPair(unmade)
      ? { ...unmade, kcv: publicKeyKcv(await makePair(unmade)) }
      : await generateSecret(opened, unmade, form, profiles)
    if (!(await maker.proves(entry, new KeyCatalogue([entry], profiles)))) {
      throw new CommandError(
        EX_UNAVAILABLE,
        `token ${settings.name} does not compute with the key ${entry.id} as it must`,
      )
    }
    await hearInterrupts()
    throwIfInterrupted()
    keep(entry)
    return entry
  } catch (error) {
    throw undone([opened], unmade, error)
  }
}

async function generateSecret(
  { maker }: OpenedToken,
  unmade: KeyEntry,
  form: MacForm | undefined,
  profiles: readonly Profile[],
): Promise<KeyEntry> {
  const entry: KeyEntry = { ...unmade, ...(await maker.generateSecretKey(unmade, form)) }
  const check = await computeCheck(await maker.find([entry], new KeyCatalogue([entry], profiles)), entry, form)
  return { ...entry, ...(check !== undefined && { check }) }
}

/** What no generator can make, or what would be of use to nobody. */
function expectGenerable(key: KeyEntry, form: MacForm | undefined): void {
  const { id, profile = '', algorithm } = key
  const refuse = (sentence: string): never => {
    throw new CommandError(EX_USAGE, `key ${id}: ${sentence}`)
  }
  if (form?.algorithm === 'ISO-9797-1-ALG-3') {
    refuse(
      `the profile ${profile} makes retail MACs, for which the key is two objects of one value. No token generates that: ` +
        'bring the key in with "pinbridge ceremony" or "pinbridge keys import"',
    )
  }
  if (key.legacyBlocks) {
    refuse(
      'a key for key blocks of versions A and C is three objects of one value, and no token generates that: import it',
    )
  }
  if (form !== undefined && !macUsesOf(key).includes('generate')) {
    refuse('a key that only verifies is of use when another party generates with the same one: import that')
  }
  if (key.direction === 'in' && !key.exportable) {
    refuse(
      `a key of ${algorithm} that only deciphers is of use when another party enciphers under the same one: import that, ` +
        'or say --exportable to give this one to them',
    )
  }
  if (isWrappingKey(key) && !key.exportable) {
    refuse(
      'a key that wraps is of use when somebody else can unwrap with the same one: bring it in with "pinbridge ceremony", ' +
        'or say --exportable to give this one to them',
    )
  }
}
