/** The rules of the limits: what nodes that share a store must agree on, and what belongs to one server only. */
import type { Report } from './problems.ts'
import type { Config } from './schema.ts'

/** Checks the limits. */
export function checkLimits({ limits, keys }: Config, report: Report): void {
  const { store } = limits
  if (store === undefined) return
  // Nodes that hash one card differently would each give it a budget of its own.
  if (!keys.some(({ purpose, state }) => purpose === 'limit-hash' && state === 'active')) {
    report(['limits', 'store'], 'needs an active key with the purpose limit-hash')
  }
  if (!URL.canParse(store.url)) report(['limits', 'store', 'url'], 'has an address or a port that cannot be')
  if (store.caFile !== undefined && !store.url.startsWith('rediss:')) {
    report(['limits', 'store', 'caFile'], 'belongs to a url that begins with rediss:')
  }
}
