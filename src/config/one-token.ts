/** The short form of `hsm`: one token may stand in it directly, and is read as a list of one. */
import type { Place } from './problems.ts'

/** The members of the schema's Token, written out: this is read before the schema, which takes long to load. */
export const TOKEN_MEMBERS: readonly string[] = [
  'name',
  'module',
  'tokenLabel',
  'pinFile',
  'environment',
  'libraryParameters',
  'retailMacMechanism',
  'sessions',
  'socket',
]

/** Nobody has to name a token that is the only one. */
export const NAME_OF_THE_ONLY_ONE = 'token'

/**
 * Puts a token that stands directly in `hsm` into `hsm.tokens`, and gives every token without a name its label as one.
 *
 * @returns how a place of the list is shown to whoever wrote the file.
 */
export function listTokens(data: Record<string, unknown>): (place: Place) => Place {
  const { hsm } = data
  if (!isRecord(hsm)) return (place) => place
  if (Array.isArray(hsm['tokens'])) {
    for (const token of hsm['tokens']) if (isRecord(token)) token['name'] ??= nameByLabel(token['tokenLabel'])
  }
  if ('tokens' in hsm) return (place) => place

  const isOfToken = ([member]: [string, unknown]): boolean => TOKEN_MEMBERS.includes(member)
  const members = Object.entries(hsm)
  const token = Object.fromEntries(members.filter(isOfToken))
  token['name'] ??= nameByLabel(token['tokenLabel']) ?? NAME_OF_THE_ONLY_ONE
  data['hsm'] = { ...Object.fromEntries(members.filter((member) => !isOfToken(member))), tokens: [token] }
  return (place) => (place[0] === 'hsm' && place[1] === 'tokens' ? ['hsm', ...place.slice(3)] : place)
}

/** The name of a token that was given none: its label, which may hold what a name may not. */
export function nameByLabel(label: unknown): string | undefined {
  return typeof label === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(label) ? label : undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
