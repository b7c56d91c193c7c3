/** What of a new configuration a running service takes over, and what has to wait for a restart. */
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/schema.ts'

/** The members that may change while the service runs. */
const LIVE: readonly (keyof Config)[] = ['clients', 'authentication', 'tokenKeys']

/** A running configuration with what was taken over from a new one. */
export interface Merged {
  readonly config: Config
  /** The members that were taken over and differ. */
  readonly changed: readonly string[]
  /** The members that differ and were not taken over, by their names down to the second level. */
  readonly takesRestart: readonly string[]
}

/** Takes over from `next` what may change, and says of the rest what differs. */
export function mergeLive(running: Config, next: Config): Merged {
  const members = Object.keys({ ...running, ...next }) as (keyof Config)[]
  const different = members.filter((member) => !isDeepStrictEqual(running[member], next[member]))
  const { clients, authentication, tokenKeys } = next
  return {
    config: Object.freeze({ ...running, clients, authentication, tokenKeys }),
    changed: different.filter((member) => LIVE.includes(member) && member !== 'tokenKeys'),
    takesRestart: different
      .filter((member) => !LIVE.includes(member))
      .flatMap((member) => differencesIn(member, running[member], next[member])),
  }
}

/** The names of the parts that differ; lists are told as a whole. */
function differencesIn(member: string, running: unknown, next: unknown): string[] {
  if (!isPlain(running) || !isPlain(next)) return [member]
  const names = Object.keys({ ...running, ...next })
  return names.filter((name) => !isDeepStrictEqual(running[name], next[name])).map((name) => `${member}.${name}`)
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
