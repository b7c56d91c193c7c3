/** The token of the benchmark's set-up as it is, and as an HSM that takes longer for every call: the shim stands before it and waits. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parse, stringify } from 'yaml'
import { Shim, type Pkcs11Function } from '../../test/support/shim.ts'

/** The calls that do cryptography; what prepares one or clears up after it is answered by the module's own memory. */
const SLOW_CALLS: readonly Pkcs11Function[] = [
  'C_Encrypt',
  'C_Decrypt',
  'C_Sign',
  'C_Verify',
  'C_DeriveKey',
  'C_UnwrapKey',
  'C_GenerateRandom',
]

/**
 * What an operator sets for an HSM that takes milliseconds, beside what `init --dev` writes: more sessions, as README's
 * "Replicas" asks for where calls wait, and as many messages as there are sessions. A token that computes in the vault is
 * neither quicker nor slower by it, so that it stands at every latency.
 */
const SETTINGS = { hsm: { sessions: 16 }, limits: { inFlightPerVault: 32 } }

/** The same as YAML. */
export const SETTINGS_TEXT = stringify(SETTINGS)

/** A way to the keys of the set-up. */
export interface BenchHsm {
  readonly latencyMs: number
  /** The configuration of all subjects, with an audit record of its own. */
  readonly config: string
  readonly close: () => void
}

/**
 * Writes the configuration for one latency beside that of the set-up.
 *
 * @param config - what `init --dev` wrote.
 * @param latencyMs - added to each call; 0 leaves the shim out.
 */
export function createHsm(config: string, latencyMs: number, folder: string): BenchHsm {
  const own = parse(readFileSync(config, 'utf8'))
  Object.assign(own.hsm, SETTINGS.hsm)
  Object.assign(own.limits, SETTINGS.limits)
  own.audit.directory = `audit-${latencyMs}ms`
  mkdirSync(join(dirname(config), own.audit.directory), { mode: 0o700 })
  const shim = latencyMs === 0 ? undefined : insertShim(own.hsm, latencyMs, folder)
  const path = join(dirname(config), `pinbridge-${latencyMs}ms.yaml`)
  writeFileSync(path, stringify(own, { aliasDuplicateObjects: false }), { mode: 0o600 })
  return { latencyMs, config: path, close: () => shim?.close() }
}

function insertShim(
  hsm: { module: string; environment?: Record<string, string> },
  latencyMs: number,
  folder: string,
): Shim {
  const own = join(folder, `hsm-${latencyMs}ms`)
  mkdirSync(own)
  const shim = new Shim(own)
  shim.insert(hsm)
  for (const name of SLOW_CALLS) shim.inject({ function: name, kind: 'delay', value: latencyMs * 1000 })
  return shim
}
