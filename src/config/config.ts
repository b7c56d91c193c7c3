/** Reads the configuration: one YAML file, every problem of it told at once, and what each process is given of it. */
import { hash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import {
  checkAuditDirectory,
  checkHsmFiles,
  checkLimitFiles,
  checkListenerFiles,
  checkTracingFiles,
  fileProblem,
  writableProblem,
} from './files.ts'
import { checkForm } from './form.ts'
import { listTokens } from './one-token.ts'
import { ConfigError, Problems, type Place } from './problems.ts'
import { checkRules } from './rules.ts'
import {
  servesRequests,
  type Config,
  type GatewayConfig,
  type KeyEntry,
  type TokenConfig,
  type TokenKey,
  type TracingConfig,
  type VaultConfig,
} from './schema.ts'
import { readTokenKeys } from './token-keys.ts'
import { parseYaml } from './yaml.ts'
import { randomBytesOf, requiredInputs, type RequiredInput } from '../pin-change/profile.ts'
import { findProfile } from '../pin-change/shipped-profiles.ts'
import { profilesOf } from './profile-rules.ts'

export { ConfigError } from './problems.ts'
export { profilesOf } from './profile-rules.ts'

const MOST_BYTES = 4 * 1024 * 1024

/** What the command line may say instead of the file. */
export interface ConfigOverrides {
  readonly port?: number | undefined
  readonly managementPort?: number | undefined
}

/** What a configuration is loaded for: commands that work on keys need none of the listeners' files, and are run when one is bad. */
export type ConfigUse = 'service' | 'keys'

/**
 * Reads and checks a configuration.
 *
 * A file that is no plain YAML is refused as such; otherwise form, rules and files are checked in one run.
 *
 * @param path - relative paths in the file are resolved against its directory.
 * @param use - with `keys`, no file is looked at but those of the HSM.
 * @returns the configuration with every default filled in and every path absolute, frozen throughout.
 * @throws ConfigError with all problems, which hold no value of the file.
 */
export function loadConfig(path: string, overrides: ConfigOverrides = {}, use: ConfigUse = 'service'): Config {
  const { config, problems } = readConfig(path, overrides, use)
  problems.throwIfAny()
  return freezeDeep(config)
}

/** A configuration with everything that is wrong with it, for whoever examines what can be relied on of it. */
export interface ExaminedConfig {
  readonly config: Config
  readonly problems: readonly string[]
  /** The tokens, as far as they are listed, and the place of each. */
  readonly tokens: readonly { readonly token: TokenConfig; readonly place: Place }[]
  /** Whether nothing is wrong with a place, below it and above it. */
  readonly isSound: (place: Place) => boolean
  /** Whether a place is there in the form of the schema, though a rule may be broken. */
  readonly isWellFormed: (place: Place) => boolean
}

/**
 * Reads a configuration that may have problems.
 *
 * @throws ConfigError if it cannot be read at all.
 */
export function examineConfig(path: string): ExaminedConfig {
  const { config, problems } = readConfig(path, {}, 'service')
  const hsm: unknown = config.hsm
  const tokens: unknown = isRecord(hsm) ? hsm['tokens'] : undefined
  const list = (Array.isArray(tokens) ? tokens : []).map((token: unknown, i) => ({
    token,
    place: ['hsm', 'tokens', i],
  }))
  return {
    config: freezeDeep(config),
    problems: problems.texts(),
    tokens: list.filter(({ token }) => isRecord(token)) as ExaminedConfig['tokens'],
    isSound: (place) => problems.isSound(place),
    isWellFormed: (place) => problems.isWellFormed(place),
  }
}

/** Checks a text that is to become the configuration file of this path, as it is loaded for work on keys; throws as `loadConfig` does. */
export function checkConfigText(path: string, text: string): void {
  configIn(path, text, {}, 'keys').problems.throwIfAny()
}

function readConfig(path: string, overrides: ConfigOverrides, use: ConfigUse) {
  const bytes = readBytes(path)
  const { config, problems } = configIn(path, textOf(path, bytes), overrides, use)
  return { config: { ...config, sha256: hash('sha256', bytes) }, problems }
}

function configIn(path: string, text: string, overrides: ConfigOverrides, use: ConfigUse) {
  const yaml = parseYaml(text)
  const { data } = yaml
  const shown = isRecord(data) ? listTokens(data) : undefined
  const problems = new Problems(path, yaml.lineOf, shown)
  for (const { line, place, sentence } of yaml.problems) problems.addAt(line, place, sentence)
  problems.throwIfAny()
  if (!isRecord(data)) throw new ConfigError([`${path}:1: must be a set of members`])
  applyOverrides(data, overrides)
  const sound = checkForm(data, problems)
  const config = data as Config
  checkRules(config, sound, problems)
  const directory = dirname(path)
  const users = sound.has('processes') ? config.processes.users : undefined
  if (sound.has('hsm')) {
    resolveHsmPaths(config.hsm, directory)
    checkHsmFiles(config.hsm, problems.add, users?.vault.uid)
  }
  if (sound.has('listeners')) resolveListenerPaths(config.listeners, directory)
  if (sound.has('limits')) resolveLimitPaths(config.limits, directory)
  if (sound.has('tracing') && config.tracing) resolveTracingPaths(config.tracing, directory)
  if (sound.has('audit') && config.audit) config.audit.directory = resolve(directory, config.audit.directory)
  if (sound.has('authentication')) resolveBearerPath(config.authentication, directory)
  if (use === 'keys') return { config: { ...config, tokenKeys: [] }, problems }
  const gatewayUid = users?.gateway.uid
  if (sound.has('listeners')) checkListenerFiles(config.listeners, problems.add, new Date(), gatewayUid)
  if (sound.has('limits')) checkLimitFiles(config.limits, problems.add, gatewayUid)
  if (sound.has('tracing') && config.tracing) checkTracingFiles(config.tracing, problems.add, gatewayUid)
  if (sound.has('audit') && config.audit) checkAuditDirectory(config.audit, problems.add, gatewayUid)
  const tokenKeys = sound.has('authentication') ? tokenKeysOf(config.authentication, problems) : []
  return { config: { ...config, tokenKeys }, problems }
}

/** What the gateway is given: no HSM member, and of the keys only what GET /v1/keys may show. */
export function gatewayConfig(config: Config): GatewayConfig {
  const { environment, clients, listeners, limits, audit, tracing, logLevel, d1 } = config
  const iso0 = d1.profiles.flatMap(({ types }) => types.ISO0 ?? [])
  const seccos = d1.profiles.flatMap(({ types }) => types['3DES_SECCOS'] ?? [])
  return freezeDeep({
    environment,
    clients,
    listeners,
    limits,
    ...(audit && { audit }),
    ...(tracing && { tracing }),
    logLevel,
    keys: config.keys.filter(servesRequests).map(shownOfKey),
    setPinTypes: [...new Set([...iso0, ...seccos])],
    counterOnceKeys: counterOnceKeys(config),
    authentication: authenticationOf(config),
  })
}

/** The check of tokens with its keys, so that the gateway reads no file for them. */
function authenticationOf({ authentication: { bearer }, tokenKeys }: Config): GatewayConfig['authentication'] {
  if (bearer === undefined) return {}
  const { issuer, audience, clockSkewS, required } = bearer
  return { bearer: { issuer, audience, clockSkewS, required, keys: tokenKeys } }
}

function counterOnceKeys({ keys, d1 }: Config): string[] {
  const profiles = new Set(d1.profiles.filter(({ counterOnce }) => counterOnce).map(({ id }) => id))
  return keys.filter(({ d1Profile }) => d1Profile !== undefined && profiles.has(d1Profile)).map(({ id }) => id)
}

/** What a vault of this token is given: nothing of the network and nothing of the callers. */
export function vaultConfig(config: Config, token: TokenConfig): VaultConfig {
  const { environment, profiles, d1, weakPins, logLevel } = config
  const keys = config.keys.filter(servesRequests)
  const granted = config.clients.flatMap(({ grants }) => grants.flatMap(({ operations }) => operations))
  const seccosTranslation = granted.includes('pin-blocks/translate-seccos')
  const hsm = hsmOf(config, token)
  const migratesOnly = false
  return freezeDeep({ environment, hsm, keys, profiles, d1, weakPins, logLevel, seccosTranslation, migratesOnly })
}

/** What a vault of a migration is given: its own keys and nothing besides, so that it can do nothing else. */
export function migrationVaultConfig(config: Config, token: TokenConfig, keys: readonly KeyEntry[]): VaultConfig {
  const { environment, profiles, logLevel } = config
  const seccosTranslation = keys.some(({ purpose }) => purpose === 'seccos-pin')
  return freezeDeep({
    environment,
    hsm: hsmOf(config, token),
    keys: [...keys],
    profiles: profiles.filter(({ kind, id }) =>
      keys.some(({ purpose, profile }) => purpose === kind && profile === id),
    ),
    d1: { profiles: [], recipients: [] },
    weakPins: { repeated: false, rising: false, falling: false, list: [] },
    logLevel,
    seccosTranslation,
    migratesOnly: true,
  })
}

function hsmOf({ hsm: { tokens, recycle } }: Config, token: TokenConfig): VaultConfig['hsm'] {
  return { token, recycle, allKeysNeeded: tokens.length > 1 }
}

/** What the PRW profile of a key takes, and whether a random number of the HSM's is part of it. */
export function prwInputsOf(
  config: Config,
  key: KeyEntry,
): { readonly inputs: ReadonlySet<RequiredInput>; readonly drawsRandomNumber: boolean } {
  const profile = findProfile(profilesOf(config), 'prw', key.profile ?? '')
  if (profile === undefined) return { inputs: new Set(), drawsRandomNumber: false }
  return { inputs: requiredInputs(profile), drawsRandomNumber: randomBytesOf(profile) > 0 }
}

function shownOfKey(key: KeyEntry) {
  const { id, version, purpose, direction, use, algorithm, kcv, profile, state, created, expires } = key
  return {
    id,
    version,
    purpose,
    ...(direction !== undefined && { direction }),
    ...(use !== undefined && { use }),
    algorithm,
    kcv,
    ...(profile !== undefined && { profile }),
    state,
    ...(created !== undefined && { created }),
    ...(expires !== undefined && { expires }),
  }
}

function readBytes(path: string): Buffer {
  const unfit = fileProblem(path) ?? writableProblem(path)
  if (unfit) throw new ConfigError([`${path}: ${unfit}`])
  if (statSync(path).size > MOST_BYTES) throw new ConfigError([`${path}: is larger than ${MOST_BYTES} bytes`])
  return readFileSync(path)
}

/** The file's bytes as UTF-8. */
function textOf(path: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ConfigError([`${path}: is not UTF-8 text`])
  }
}

/** Puts the ports of the command line into the data, before the schema sees them. */
function applyOverrides(data: Record<string, unknown>, { port, managementPort }: ConfigOverrides): void {
  const { listeners } = data
  if (!isRecord(listeners)) return
  const { api, management } = listeners
  if (port !== undefined && isRecord(api)) api['port'] = port
  if (managementPort !== undefined && isRecord(management)) management['port'] = managementPort
}

function resolveHsmPaths(hsm: Config['hsm'], directory: string): void {
  for (const token of hsm.tokens) {
    // A bare name is for the dynamic loader to find.
    if (token.module.includes('/')) token.module = resolve(directory, token.module)
    token.pinFile = resolve(directory, token.pinFile)
  }
}

function resolveListenerPaths({ api }: Config['listeners'], directory: string): void {
  for (const member of ['certificate', 'privateKey', 'clientCa'] as const) api[member] = resolve(directory, api[member])
}

function resolveLimitPaths({ store }: Config['limits'], directory: string): void {
  if (store?.passwordFile !== undefined) store.passwordFile = resolve(directory, store.passwordFile)
  if (store?.caFile !== undefined) store.caFile = resolve(directory, store.caFile)
}

function resolveTracingPaths(tracing: TracingConfig, directory: string): void {
  for (const member of ['caFile', 'certificateFile', 'privateKeyFile'] as const) {
    if (tracing[member] !== undefined) tracing[member] = resolve(directory, tracing[member])
  }
}

function resolveBearerPath({ bearer }: Config['authentication'], directory: string): void {
  if (bearer) bearer.jwks = resolve(directory, bearer.jwks)
}

/** Reads the keys that tokens are verified with. */
function tokenKeysOf({ bearer }: Config['authentication'], problems: Problems): TokenKey[] {
  if (bearer === undefined) return []
  const keys = readTokenKeys(bearer.jwks)
  if (typeof keys !== 'string') return keys
  problems.add(['authentication', 'bearer', 'jwks'], keys)
  return []
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function freezeDeep<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const member of Object.values(value)) freezeDeep(member)
  }
  return value
}
