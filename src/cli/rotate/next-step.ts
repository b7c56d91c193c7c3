/** Where the rotation of a key stands, and what comes next: it follows from the states of its versions alone. */
import type { KeyEntry } from '../../config/schema.ts'

/** The steps of a rotation, in their order. */
export const STEPS = ['new', 'activate', 'retire'] as const
export type Step = (typeof STEPS)[number]

/** The next step, and the versions that it is about. */
export type NextStep =
  | { readonly step: 'new'; readonly like: KeyEntry }
  | { readonly step: 'activate'; readonly pending: KeyEntry; readonly active: KeyEntry | undefined }
  | { readonly step: 'retire'; readonly retiring: readonly KeyEntry[]; readonly active: KeyEntry }

/**
 * Finds the next step of versions of one key; undefined where none of them is in use.
 *
 * A rotation that has begun is ended before another one: first what is being retired, unless nothing has taken its place.
 */
export function nextStep(versions: readonly KeyEntry[]): NextStep | undefined {
  const active = versions.find(({ state }) => state === 'active')
  const pending = versions.find(({ state }) => state === 'pending')
  const retiring = versions.filter(({ state }) => state === 'retiring')
  if (active && retiring.length > 0) return { step: 'retire', retiring, active }
  if (pending) return { step: 'activate', pending, active }
  return active && { step: 'new', like: active }
}
