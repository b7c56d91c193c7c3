/** Which routes of the HTTP contract a key serves, for `doctor` to say what is missing when a token cannot serve it. */
import type { KeyEntry } from '../../config/schema.ts'

/** The routes that need a key like this one, each with what of it depends on the key. */
export function routesOf(key: KeyEntry): string[] {
  const { purpose, alg, formats = [], use = [] } = key
  if (purpose === 'jwe-decrypt') return [`pin/set with ${alg ?? ''}`]
  if (purpose === 'jwe-open') return [`jwe/open with ${alg ?? ''}`]
  if (purpose === 'assertion-sign') return ['d1/assertion']
  if (purpose === 'prw' || purpose === 'pin-mac') {
    const routes = use.map((one) => `${purpose === 'prw' ? 'prw' : 'mac'}/${one} with ${key.profile ?? ''}`)
    return use.includes('generate') ? [...routes, `pin/set that issues a ${purpose === 'prw' ? 'PRW' : 'MAC'}`] : routes
  }
  const bulk = key.migrate ? ['translate-batch', 'migrate'] : ['translate-batch']
  const incoming = ['translate', ...bulk].map((route) => `${route} from`).concat(['pin/get from', 'prw/* from'])
  const outgoing = ['translate', ...bulk].map((route) => `${route} to`).concat(['pin/set to'])
  const ways = [...(key.direction === 'out' ? [] : incoming), ...(key.direction === 'in' ? [] : outgoing)]
  const routes = formats.flatMap((format) => ways.map((way) => `${way} ${format}`))
  return purpose === 'seccos-pin' ? ['pin/set of 3DES_SECCOS', ...routes] : routes
}

/** The routes that no key serves once these are unavailable, each with the keys that it lacks. */
export function unservedRoutes(
  serving: readonly KeyEntry[],
  unavailable: Iterable<KeyEntry>,
): ReadonlyMap<string, readonly string[]> {
  const served = new Set(serving.flatMap(routesOf))
  const unserved = new Map<string, string[]>()
  for (const key of unavailable) {
    for (const route of routesOf(key)) {
      if (!served.has(route)) unserved.set(route, [...(unserved.get(route) ?? []), key.id])
    }
  }
  return unserved
}
