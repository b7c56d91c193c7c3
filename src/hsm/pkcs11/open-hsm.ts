/** Opens a token as an Hsm: finds every key that serves, holds it against the catalogue, and finds out how calls are best made. */
import type { Handle } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { publicKeyKcv } from '../../key-block/kcv.ts'
import type { Profile } from '../../pin-change/profile.ts'
import { SecretScope } from '../../secret.ts'
import { HsmStartError, type PublicKey } from '../hsm.ts'
import { isUsable, type KeyCatalogue } from '../key-catalogue.ts'
import { checkKey, computeKcv } from '../self-test.ts'
import { findKey, readPublicKey } from './find-key.ts'
import { openToken, type Token, type TokenAddress } from './module.ts'
import { toServiceError } from './return-values.ts'
import { Pkcs11Hsm, type CallMode, type KeyObjects } from './pkcs11-hsm.ts'
import { knownAnswerProblems } from './profile-check.ts'
import { SessionPool } from './session-pool.ts'
import { objectRoles, usageOf, type ObjectRole } from './templates.ts'

/** An open HSM, the public keys it holds, and how to end it. */
export interface OpenHsm {
  readonly hsm: Pkcs11Hsm
  readonly token: Token
  /** The keys that serve: active or retiring, found and checked. */
  readonly keys: readonly KeyEntry[]
  readonly publicKeys: ReadonlyMap<KeyEntry, PublicKey>
  close(): void
}

/** What is needed to open one. */
export interface HsmSettings {
  readonly address: TokenAddress
  readonly sessions: number
  readonly environment: 'development' | 'production'
  readonly keys: readonly KeyEntry[]
  readonly catalogue: KeyCatalogue
}

/**
 * Opens the token, finds the keys and runs the self-test.
 *
 * @throws HsmStartError with every problem of every key, not only the first.
 */
export async function openHsm(settings: HsmSettings, pin: string): Promise<OpenHsm> {
  const token = openToken(settings.address, pin)
  try {
    const { objects, publicKeys } = findKeys(token, settings)
    const pool = new SessionPool(token, settings.sessions)
    const hsm = new Pkcs11Hsm(token.lib, pool, objects)
    await chooseStrategies(hsm, settings, publicKeys)
    const keys = [...objects.keys()]
    const profiles = new Set(
      keys.map((key) => settings.catalogue.profileOf(key)).filter((profile) => profile !== undefined),
    )
    const failed = await knownAnswerProblems(token, pool, profiles)
    for (const key of keys) {
      const profile = settings.catalogue.profileOf(key)
      if (!(await checkKey(hsm, key, profile, publicKeys.get(key)))) {
        failed.push(`key ${key.id}: it does not give its known answer`)
        continue
      }
      const kcv = await computeKcv(hsm, key, profile)
      if (kcv !== undefined && kcv !== key.kcv.toUpperCase())
        failed.push(`key ${key.id}: its KCV is not the catalogue's`)
    }
    if (failed.length > 0) throw new HsmStartError('self-test-failed', failed)
    return { hsm, token, keys, publicKeys, close: () => token.close() }
  } catch (error) {
    token.close()
    if (error instanceof HsmStartError) throw error
    const { code, detail } = toServiceError(error)
    throw new HsmStartError('self-test-failed', [`hsm: the self-test could not run (${detail?.ckr ?? code})`])
  }
}

/** Finds every key that serves and holds it against the catalogue; throws HsmStartError with every problem. */
export function findKeys(
  token: Token,
  settings: Pick<HsmSettings, 'keys' | 'environment' | 'catalogue'>,
): { objects: Map<KeyEntry, KeyObjects>; publicKeys: Map<KeyEntry, PublicKey> } {
  const objects = new Map<KeyEntry, KeyObjects>()
  const publicKeys = new Map<KeyEntry, PublicKey>()
  const problems: string[] = []
  for (const key of settings.keys.filter(isUsable)) {
    const profile = settings.catalogue.profileOf(key)
    const handles = new Map<ObjectRole, Handle>()
    for (const role of objectRoles(key, profile?.algorithm)) {
      const usage = usageOf(key, role, isTruncated(profile))
      const found = findKey(token.lib, token.anchor, key, role, usage, settings.environment)
      if ('problems' in found) problems.push(...found.problems)
      else handles.set(role, found.handle)
    }
    const publicKey = key.purpose === 'jwe-decrypt' ? readPublicKey(token.lib, token.anchor, key) : undefined
    if (key.purpose === 'jwe-decrypt') {
      if (publicKey === undefined)
        problems.push(`key ${key.id}: its public key object is missing or not ${key.algorithm}`)
      else if (publicKeyKcv(publicKey) !== key.kcv.toUpperCase())
        problems.push(`key ${key.id}: its KCV is not the catalogue's`)
      else publicKeys.set(key, publicKey)
    }
    const signs = handles.has('secret') && (usageOf(key, 'secret', isTruncated(profile)).sign ?? false)
    objects.set(key, {
      handles,
      signs,
      ...(publicKey?.kty === 'RSA' && { modulus: Buffer.from(publicKey.n, 'base64url') }),
    })
  }
  if (problems.length > 0) throw new HsmStartError('keys-unusable', problems)
  return { objects, publicKeys }
}

/** Whether a profile's output is shorter than the MAC of its algorithm. */
export function isTruncated(profile: Profile | undefined): boolean {
  return profile !== undefined && profile.outputBytes < (profile.algorithm === 'AES-CMAC' ? 16 : 8)
}

/**
 * An Init and an operation above this go to a thread; below it the hop would cost more than the call, and a token that
 * computes in this process would leave clear blocks on the stacks of threads, which nothing wipes.
 */
const SYNC_BELOW_MS = 0.2
const MEASURED_RUNS = 10

async function chooseStrategies(
  hsm: Pkcs11Hsm,
  settings: HsmSettings,
  publicKeys: ReadonlyMap<KeyEntry, PublicKey>,
): Promise<void> {
  const keys = settings.keys.filter(isUsable)
  const rsa = keys.find((key) => key.algorithm.startsWith('RSA'))
  if (rsa) {
    hsm.strategies.oaep256 = 'native'
    if (!(await checkKey(hsm, rsa, undefined, publicKeys.get(rsa)))) hsm.strategies.oaep256 = 'raw'
    hsm.strategies.rsa = await measure(() => checkKey(hsm, rsa, undefined, publicKeys.get(rsa)))
  }
  const zone = keys.find((key) => key.purpose === 'zone-pin' || key.purpose === 'seccos-pin')
  if (zone) {
    hsm.strategies.cipher = await measure(async () => {
      using secrets = new SecretScope()
      const block = secrets.take(zone.algorithm.startsWith('TDEA') ? 8 : 16)
      if (zone.direction === 'in') await hsm.decipherBlocks(zone, block, secrets)
      else await hsm.encipherBlocks(zone, block)
    })
  }
}

/** The fastest run counts: a busy machine makes any of them slow, and none faster than the token is. */
async function measure(run: () => Promise<unknown>): Promise<CallMode> {
  let fastestMs = Infinity
  for (let i = 0; i < MEASURED_RUNS; i++) {
    const start = performance.now()
    try {
      await run()
    } catch {
      // The key's known answer fails next, and names the key.
      return 'sync'
    }
    fastestMs = Math.min(fastestMs, performance.now() - start)
  }
  return fastestMs < SYNC_BELOW_MS ? 'sync' : 'async'
}
