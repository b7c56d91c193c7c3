/** What of a new configuration a running service takes over, and what has to wait for a restart. */
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/schema.ts'

/** A running configuration with what was taken over from a new one. */
export interface Merged {
  readonly config: Config
  /** The members that were taken over and differ. */
  readonly changed: readonly string[]
  /** The members that differ and were not taken over, by their names down to the second level. */
  readonly takesRestart: readonly string[]
}

/** Members that stand in no file of their own name: what they are read from is told instead. */
const UNNAMED: readonly (keyof Config)[] = ['tokenKeys', 'sha256']

/**
 * Takes over from `next` what may change, and says of the rest what differs.
 *
 * Keys are taken over together with everything that names them, so that a new key and a D1 profile of its own need one reload.
 */
export function mergeLive(running: Config, next: Config): Merged {
  const { clients, authentication, tokenKeys, keys, profiles, acceptDefaultProfiles, d1, weakPins, sha256 } = next
  const config = Object.freeze({
    ...running,
    ...{ clients, authentication, tokenKeys, keys, profiles, acceptDefaultProfiles, d1, weakPins, sha256 },
    ...(running.audit && next.audit && { audit: Object.freeze({ ...running.audit, key: next.audit.key }) }),
  })
  const members = Object.keys({ ...running, ...next }) as (keyof Config)[]
  const differing = (one: Config, other: Config) =>
    members.filter((member) => !isDeepStrictEqual(one[member], other[member]))
  return {
    config,
    changed: differing(running, config).filter((member) => !UNNAMED.includes(member)),
    takesRestart: differing(config, next).flatMap((member) => differencesIn(member, config[member], next[member])),
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
