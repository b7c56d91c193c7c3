/** Which key of the configuration a person means by `ID` or `ID@VERSION`. */
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** What a person typed. */
export interface NamedKey {
  readonly id: string
  readonly version?: number
}

/**
 * Reads a name.
 *
 * @throws CommandError if it is none.
 */
export function parseKeyName(text: string): NamedKey {
  const [, id, version] = /^([A-Za-z0-9._-]{1,64})(?:@([1-9]\d{0,3}))?$/.exec(text) ?? []
  if (id === undefined) throw new CommandError(EX_USAGE, 'a key is named as ID, or as ID@VERSION, such as zpk@2')
  return { id, ...(version !== undefined && { version: Number(version) }) }
}

/** Writes a key's full name. */
export function fullName({ id, version }: Pick<KeyEntry, 'id' | 'version'>): string {
  return `${id}@${version}`
}

/**
 * Finds the key; without a version the active one, or the only one.
 *
 * @throws CommandError that says which there are.
 */
export function keyNamed(config: Config, text: string): KeyEntry {
  const { id, version } = parseKeyName(text)
  const versions = config.keys.filter((key) => key.id === id)
  if (versions.length === 0) {
    const ids = [...new Set(config.keys.map((key) => key.id))].join(', ')
    throw new CommandError(EX_USAGE, `the configuration has no key ${id}; it has ${ids}`)
  }
  const fitting = versions.filter((key) => (version === undefined ? key.state === 'active' : key.version === version))
  const found = fitting[0] ?? (version === undefined && versions.length === 1 ? versions[0] : undefined)
  if (found !== undefined) return found
  const names = versions.map((key) => `${fullName(key)} (${key.state})`).join(', ')
  throw new CommandError(EX_USAGE, `which version of ${id} is meant? There is ${names}`)
}
