/** Puts a clear symmetric key into tokens as a key of the catalogue, and takes it out again unless everything went well (M-36). */
import { loadConfig } from '../../config/config.ts'
import { addKeyEntry, expectEditable } from '../../config/edit.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_CANTCREAT, EX_DATAERR, EX_INTERRUPTED, EX_UNAVAILABLE } from '../../exit-codes.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { countObjects, isBeyondToken } from '../../hsm/pkcs11/key-objects.ts'
import { ckrOf, nameOf } from '../../hsm/pkcs11/return-values.ts'
import { checkOfValue, computeCheck } from '../../hsm/self-test.ts'
import { symmetricKcv } from '../../key-block/kcv.ts'
import { isWeakTdeaKey } from '../../key-block/tdea-key.ts'
import { SecretScope } from '../../secret.ts'
import { ServiceError } from '../../errors.ts'
import { CommandError } from '../command-error.ts'
import { hearInterrupts, type OpenedToken } from '../open-token.ts'
import type { PlannedKey } from './planned-key.ts'

/**
 * Imports a value, proves it by KCV and known answer in each token, and adds its entry to the configuration.
 *
 * @param opened - one token, or several that are open at once.
 * @param value - the clear key, TDEA 16 or 24 bytes, AES 16, 24 or 32; not wiped here, its owner does.
 * @param writesEntry - false if the caller has the entry written by somebody else.
 * @returns the entry, as it stands in the configuration now.
 * @throws CommandError, ConfigError or ConfigEditError; then nothing of the key is in a token, nor in the configuration.
 */
export async function storeSymmetricKey(
  opened: OpenedToken | readonly OpenedToken[],
  configPath: string,
  planned: PlannedKey,
  value: Buffer,
  { writesEntry = true }: { readonly writesEntry?: boolean } = {},
): Promise<KeyEntry> {
  const tokens: readonly OpenedToken[] = 'token' in opened ? [opened] : opened
  using secrets = new SecretScope()
  const config = loadConfig(configPath, {}, 'keys')
  if (writesEntry) expectEditable(configPath)
  const kcv = clearKcv(planned, value, secrets)
  const entry: KeyEntry = { ...planned, kcv, origin: 'imported' }
  expectFree(tokens, entry)
  try {
    let proven = entry
    for (const token of tokens) {
      token.throwIfInterrupted()
      proven = await importInto(token, config, entry, value)
    }
    await hearInterrupts()
    for (const { throwIfInterrupted } of tokens) throwIfInterrupted()
    if (writesEntry) addKeyEntry(configPath, proven)
    return proven
  } catch (error) {
    throw undone(tokens, entry, error)
  }
}

/** The KCV of a clear value that is fit to be this key. */
function clearKcv({ id, algorithm }: PlannedKey, value: Buffer, secrets: SecretScope): string {
  const bytes = Number(/\d+$/.exec(algorithm)?.[0]) / 8
  if (value.length !== bytes) {
    throw new CommandError(
      EX_DATAERR,
      `key ${id}: ${algorithm} takes ${bytes} bytes, and the value has ${value.length}`,
    )
  }
  const isTdea = algorithm.startsWith('TDEA')
  if (isTdea && isWeakTdeaKey(value)) {
    throw new CommandError(
      EX_DATAERR,
      `key ${id}: the value is a weak key, or two of its parts are equal; it must not be used`,
    )
  }
  return symmetricKcv(isTdea ? 'TDEA' : 'AES', value, secrets)
}

/** Two objects of one name are a key that nobody can use: the service refuses to guess which is meant. */
export function expectFree(tokens: readonly OpenedToken[], key: KeyEntry): void {
  for (const { token, settings } of tokens) {
    if (countObjects(token, key) === 0) continue
    throw new CommandError(
      EX_CANTCREAT,
      `token ${settings.name} holds a key ${key.id} version ${key.version} already, and it is left as it is: ` +
        '"pinbridge keys list" shows it. If no configuration names it, because a command was cut off, ' +
        `"pinbridge keys destroy ${key.id}@${key.version}" removes it`,
    )
  }
}

async function importInto(
  { maker, settings }: OpenedToken,
  config: Config,
  entry: KeyEntry,
  value: Buffer,
): Promise<KeyEntry> {
  const form = new KeyCatalogue([entry], profilesOf(config)).macFormOf(entry)
  const reason = maker.whyUnavailable(entry, form)
  if (reason !== undefined)
    throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} cannot serve such a key: ${reason}`)
  maker.importSecretKey(entry, form, value)
  const hsm = await maker.find([entry], new KeyCatalogue([entry], profilesOf(config)))
  using secrets = new SecretScope()
  const check = (await computeCheck(hsm, entry, form)) ?? (form && checkOfValue(form, value, secrets))
  const proven: KeyEntry = { ...entry, ...(check !== undefined && { check }) }
  if (await maker.proves(proven, new KeyCatalogue([proven], profilesOf(config)))) return proven
  throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} does not compute with the key ${entry.id} as it must`)
}

/** A token keeps some of a key that was to be taken out again; the sentence says what to do. */
export class KeyLeftError extends CommandError {}

/** Takes out of each token what its maker has put there, and words the error: a KeyLeftError where a token keeps some of it. */
export function undone(tokens: readonly OpenedToken[], key: KeyEntry, error: unknown): unknown {
  const left = tokens.filter(({ maker }) => {
    try {
      maker.destroyMade(key)
      return false
    } catch {
      return true
    }
  })
  const said = wordsOf(key, error)
  const isStopped = said instanceof CommandError && said.exitCode === EX_INTERRUPTED
  const sentence = isStopped ? 'stopped' : said instanceof Error ? said.message : 'it failed'
  if (left.length === 0) return withOthers(tokens, key, said, sentence)
  const names = left.map(({ settings }) => settings.name).join(', ')
  return new KeyLeftError(
    EX_UNAVAILABLE,
    `${sentence}\nThe token could not be cleaned: objects of key ${key.id} version ${key.version} may be in ${names}; ` +
      `"pinbridge keys list" shows them, "pinbridge keys destroy ${key.id}@${key.version}" removes them`,
  )
}

/** Two commands that ran at one time may have made the same key: only the own one is taken back. */
function withOthers(tokens: readonly OpenedToken[], key: KeyEntry, said: unknown, sentence: string): unknown {
  const holding = tokens.filter(({ token }) => holdsAny(token, key)).map(({ settings }) => settings.name)
  if (holding.length === 0) return said
  return new CommandError(
    said instanceof CommandError ? said.exitCode : EX_UNAVAILABLE,
    `${sentence}\nToken ${holding.join(', ')} holds another key ${key.id} version ${key.version}, which this command did ` +
      'not make and has left there: "pinbridge keys list" shows it',
  )
}

function holdsAny(token: OpenedToken['token'], key: KeyEntry): boolean {
  try {
    return countObjects(token, key) > 0
  } catch {
    return false
  }
}

const CKR_SENTENCES: ReadonlyMap<number, string> = new Map([
  [0x31, 'the token is full (CKR_DEVICE_MEMORY): remove what is no longer needed, or ask its vendor for more space'],
  [0xb5, 'the token can only be read (CKR_SESSION_READ_ONLY)'],
  [0xe2, 'the token is write-protected (CKR_TOKEN_WRITE_PROTECTED)'],
  [0x05, 'the token could not store it (CKR_GENERAL_ERROR): it may be full or read-only; look at its own log'],
  [0x06, 'the token could not store it (CKR_FUNCTION_FAILED): it may be full or read-only; look at its own log'],
])

/** What a token answered, for a person. */
function wordsOf(key: KeyEntry, error: unknown): unknown {
  if (error instanceof ServiceError) {
    return new CommandError(EX_UNAVAILABLE, `key ${key.id}: the token failed (${error.detail?.ckr ?? error.code})`)
  }
  const ckr = ckrOf(error)
  if (ckr === undefined) return error
  const sentence = CKR_SENTENCES.get(ckr)
  if (sentence !== undefined) return new CommandError(EX_UNAVAILABLE, `key ${key.id}: ${sentence}`)
  return new CommandError(
    EX_UNAVAILABLE,
    isBeyondToken(error)
      ? `key ${key.id}: this token does not take a key of ${key.algorithm} (${nameOf(error)})`
      : `key ${key.id}: the token failed (${nameOf(error)})`,
  )
}
