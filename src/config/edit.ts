/**
 * The one writer of the configuration file: it changes the list of keys and nothing else.
 *
 * The new text is checked as a configuration before it takes the place of the old, in one rename, with the old file's mode and
 * owner. A symbolic link stays, and what it leads to is replaced.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { identityOf } from '../pin-file.ts'
import { checkConfigText } from './config.ts'
import { ConfigEditError } from './problems.ts'
import { changeKeyList, keyEntryText, type KeyChange } from './key-list-text.ts'
import { ConfigFile, type KeyEntry } from './schema.ts'
import { parseYaml } from './yaml.ts'

export { ConfigEditError } from './problems.ts'
export { keyEntryText } from './key-list-text.ts'

/** Which entry is meant; with a state, it must still be in that one. */
export type KeyName = Pick<KeyEntry, 'id' | 'version'> & Partial<Pick<KeyEntry, 'state'>>

/** What is to change of an entry; a member that is given as undefined is taken out. */
export type KeyMembers = { readonly [member in keyof KeyEntry]?: KeyEntry[member] | undefined }

/**
 * Adds an entry at the end of the list of keys.
 *
 * @throws ConfigError if the configuration would not be fit with it; ConfigEditError if the file cannot be written.
 */
export function addKeyEntry(configPath: string, entry: KeyEntry): void {
  const ordered = inOrder(entry)
  edit(configPath, () => [{ kind: 'add', entry: ordered }], `add this to keys:\n${keyEntryText(ordered)}`)
}

/** The members in the order of the schema, whoever put them together. */
export function inOrder(entry: KeyEntry): KeyEntry {
  const members = Object.keys(ConfigFile.properties.keys.items.properties) as (keyof KeyEntry)[]
  return Object.fromEntries(
    members.flatMap((member) => (entry[member] === undefined ? [] : [[member, entry[member]]])),
  ) as KeyEntry
}

/** Changes members of one entry; errors as for `addKeyEntry`. */
export function changeKeyEntry(configPath: string, key: KeyName, members: KeyMembers): void {
  changeKeyEntries(configPath, [{ key, members }])
}

/** Changes several entries at once: the configuration is fit with all of the changes, or is left as it was. */
export function changeKeyEntries(
  configPath: string,
  changes: readonly { readonly key: KeyName; readonly members: KeyMembers }[],
): void {
  const byHand = changes.map(({ key, members }) => `  ${key.id} version ${key.version}: ${membersText(members)}`)
  edit(
    configPath,
    (keys) =>
      changes.map(({ key, members }) => ({
        kind: 'change',
        at: placeOf(keys, key),
        members: members as Partial<KeyEntry>,
      })),
    `change of keys\n${byHand.join('\n')}`,
  )
}

/** Removes an entry; errors as for `addKeyEntry`. */
export function removeKeyEntry(configPath: string, key: KeyName): void {
  const byHand = `remove from keys the entry of ${key.id} version ${key.version}`
  edit(configPath, (keys) => [{ kind: 'remove', at: placeOf(keys, key) }], byHand)
}

/**
 * Makes sure that the file can be written, before anything is done that would have to be written into it.
 *
 * @throws ConfigEditError
 */
export function expectEditable(configPath: string): void {
  const target = realpathSync(configPath)
  for (const path of [target, dirname(target)]) {
    try {
      accessSync(path, constants.W_OK)
    } catch {
      const what = path === target ? 'this user may not write it' : `this user may not write into its folder ${path}`
      throw new ConfigEditError(`${configPath}: is left as it was, because ${what}`)
    }
  }
  if (existsSync(temporaryOf(target))) throw alreadyWritten(configPath, temporaryOf(target))
}

/** The new text on its way; its name is also what keeps a second writer out. */
function temporaryOf(target: string): string {
  return join(dirname(target), `.${basename(target)}.new`)
}

function alreadyWritten(configPath: string, temporary: string): ConfigEditError {
  return new ConfigEditError(
    `${configPath}: is left as it was, because another command is writing it; if none is running, remove ${temporary}`,
  )
}

function edit(configPath: string, changesOf: (keys: readonly KeyEntry[]) => KeyChange[], byHand: string): void {
  try {
    expectEditable(configPath)
    const target = realpathSync(configPath)
    const before = identityOf(target)
    const text = readFileSync(target, 'utf8')
    const { keys } = (parseYaml(text).data ?? {}) as { readonly keys?: KeyEntry[] }
    let changed: string | undefined = text
    for (const change of changesOf(keys ?? [])) changed &&= changeKeyList(changed, change)
    if (changed === undefined) {
      throw new ConfigEditError(
        `${configPath}: is left as it was, because its list of keys is laid out in an unknown way`,
      )
    }
    checkConfigText(configPath, changed)
    replace(configPath, target, before, changed)
  } catch (error) {
    if (!(error instanceof ConfigEditError)) throw error
    throw new ConfigEditError(`${error.message}. By hand: ${byHand}`)
  }
}

function placeOf(keys: readonly KeyEntry[], { id, version, state }: KeyName): number {
  const at = keys.findIndex((key) => key.id === id && key.version === version)
  if (at < 0) throw new ConfigEditError(`the configuration has no key ${id} version ${version} any more`)
  const now = keys[at]!.state
  if (state === undefined || now === state) return at
  throw new ConfigEditError(
    `key ${id} version ${version} is ${now} and no longer ${state}: somebody has changed it meanwhile`,
  )
}

/** Writes the new text beside the file and renames it. */
function replace(configPath: string, target: string, before: string, text: string): void {
  const temporary = temporaryOf(target)
  const { mode, uid, gid } = statSync(target)
  let file: number
  try {
    file = openSync(temporary, 'wx', 0o600)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') throw alreadyWritten(configPath, temporary)
    throw new ConfigEditError(`${configPath}: is left as it was, because ${temporary} cannot be written (${code})`)
  }
  try {
    try {
      writeFileSync(file, text)
      const own = statSync(temporary)
      if (own.uid !== uid || own.gid !== gid) fchownSync(file, uid, gid)
      fchmodSync(file, mode & 0o7777)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    if (identityOf(target) !== before) {
      throw new ConfigEditError(`${configPath}: is left as it was, because somebody has changed it meanwhile`)
    }
    renameSync(temporary, target)
  } catch (error) {
    rmSync(temporary, { force: true })
    const { code } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    throw new ConfigEditError(`${configPath}: is left as it was, because the new one cannot be written (${code})`)
  }
  syncFolder(dirname(target))
}

/** So that the rename outlives a power cut; it has been done, so that no failure here may have its caller take back the key. */
function syncFolder(path: string): void {
  let folder: number | undefined
  try {
    folder = openSync(path, 'r')
    fsyncSync(folder)
  } catch {
    // Some file systems sync no folder, and not everybody who may write in one may read it.
  } finally {
    if (folder !== undefined) closeSync(folder)
  }
}

function membersText(members: KeyMembers): string {
  return Object.entries(members)
    .map(([name, value]) => (value === undefined ? `without ${name}` : `${name}: ${String(value)}`))
    .join(', ')
}
