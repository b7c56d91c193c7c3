/** The short form of `hsm`: one token may stand in it directly, and is read as a list of one. */
import type { Place } from './problems.ts'
import { Token } from './schema.ts'

/**
 * Puts a token that stands directly in `hsm` into `hsm.tokens`, and gives every token without a name its label as one.
 *
 * @returns how a place of the list is shown to whoever wrote the file.
 */
export function listTokens(data: Record<string, unknown>): (place: Place) => Place {
  const { hsm } = data
  if (!isRecord(hsm)) return (place) => place
  if (Array.isArray(hsm['tokens'])) {
    for (const token of hsm['tokens']) if (isRecord(token)) token['name'] ??= nameOf(token)
  }
  if ('tokens' in hsm) return (place) => place

  const isOfToken = ([member]: [string, unknown]): boolean => member in Token.properties
  const members = Object.entries(hsm)
  const token = Object.fromEntries(members.filter(isOfToken))
  // Nobody has to name a token that is the only one.
  token['name'] ??= nameOf(token) ?? 'token'
  data['hsm'] = { ...Object.fromEntries(members.filter((member) => !isOfToken(member))), tokens: [token] }
  return (place) => (place[0] === 'hsm' && place[1] === 'tokens' ? ['hsm', ...place.slice(3)] : place)
}

/** The label as a name; a label may hold what a name may not. */
function nameOf({ tokenLabel }: Record<string, unknown>): string | undefined {
  return typeof tokenLabel === 'string' && /^[A-Za-z0-9._-]{1,64}$/.test(tokenLabel) ? tokenLabel : undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
