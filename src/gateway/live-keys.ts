/** What the gateway knows of keys, as it is now: a reload puts another view in its place, at one blow. */
import type { KeyRef } from '../bridge/contract.ts'
import type { GatewayConfig } from '../config/schema.ts'

/** A key as a request names it: without a version, the active one. */
export type NamedKey = string | { readonly key: string; readonly version?: number }

/** The members of the configuration that it is made from. */
export type KeyConfig = Pick<GatewayConfig, 'keys' | 'setPinTypes' | 'counterOnceKeys' | 'audit'>

/** One state of the catalogue. */
export interface KeyView {
  /** What GET /v1/keys shows. */
  readonly keys: GatewayConfig['keys']
  /** How records name a key; undefined for one that the catalogue does not know: then it is the caller's text. */
  readonly refOf: (named: NamedKey) => KeyRef | undefined
  /** The ids of the JWE keys. */
  readonly jweKeys: readonly string[]
  /** The ids of the keys that open other JWEs than those with PINs. */
  readonly openKeys: readonly string[]
  /** Whether a vault that serves has public keys for GET /v1/jwks. */
  readonly expectsJwks: boolean
  /** The ids of the JWE keys whose D1 profile accepts a change counter once. */
  readonly countOnce: ReadonlySet<string>
  /** The wire names of `type` in pin/set. */
  readonly setPinTypes: readonly string[]
  /** The id of the key that seals the audit record, if there is one. */
  readonly auditKey: string | undefined
}

/** The view that is in use. */
export interface LiveKeys {
  readonly now: KeyView
  readonly replace: (config: KeyConfig) => void
}

/** Makes the first view. */
export function createLiveKeys(config: KeyConfig): LiveKeys {
  let now = viewOf(config)
  return {
    get now() {
      return now
    },
    replace: (next) => {
      now = viewOf(next)
    },
  }
}

/** The id of a key that a request names. */
export function idOf(named: NamedKey): string {
  return typeof named === 'string' ? named : named.key
}

function viewOf({ keys, setPinTypes, counterOnceKeys, audit }: KeyConfig): KeyView {
  const active = new Map<string, KeyRef>()
  const versions = new Map<string, KeyRef>()
  for (const { id, version, kcv, state } of keys) {
    if (state === 'retired') continue
    const ref = { id, version, kcv: kcv.toUpperCase() }
    if (state === 'active') active.set(id, ref)
    versions.set(nameOf(id, version), ref)
  }
  const inUse = keys.filter(({ state }) => state !== 'retired')
  const jweKeys = inUse.filter(({ purpose }) => purpose === 'jwe-decrypt')
  const openKeys = inUse.filter(({ purpose }) => purpose === 'jwe-open')
  return {
    keys,
    refOf: (named) => {
      const id = idOf(named)
      const version = typeof named === 'string' ? undefined : named.version
      return version === undefined ? active.get(id) : versions.get(nameOf(id, version))
    },
    jweKeys: [...new Set(jweKeys.map(({ id }) => id))],
    openKeys: [...new Set(openKeys.map(({ id }) => id))],
    expectsJwks: jweKeys.some(({ state }) => state === 'active'),
    countOnce: new Set(counterOnceKeys),
    setPinTypes,
    auditKey: audit?.key,
  }
}

/** Ids hold no space. */
function nameOf(id: string, version: number): string {
  return `${id} ${version}`
}
