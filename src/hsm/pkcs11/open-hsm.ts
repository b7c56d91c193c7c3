/** Opens a token as an Hsm: finds out what it can do, finds every key that serves, and holds it against the catalogue. */
import type { KeyEntry } from '../../config/schema.ts'
import { publicKeyKcv } from '../../key-block/kcv.ts'
import { ConfirmedHsm } from '../confirmed-hsm.ts'
import { HsmStartError, type Hsm, type HsmStartFailure, type PublicKey, type UnavailableKey } from '../hsm.ts'
import { isUsable, type KeyCatalogue } from '../key-catalogue.ts'
import { isJweKey, isKeyPair } from '../key-pairs.ts'
import { checkKey, computeKcv } from '../self-test.ts'
import { chooseModes, type Measured } from './call-modes.ts'
import { Calls } from './calls.ts'
import { findCapabilities, type Capabilities } from './capabilities.ts'
import { generateSpare } from './cek-in-token.ts'
import { chooseCekWay, type CekChoice } from './cek-ways.ts'
import { findKey, readPublicKey, type Found } from './find-key.ts'
import { foreignShape, keyShapes, whyUnavailable } from './key-shapes.ts'
import { openToken, type Token, type TokenAddress } from './module.ts'
import { Pkcs11Hsm, type KeyObjects } from './pkcs11-hsm.ts'
import { knownAnswerProblems } from './profile-check.ts'
import { toServiceError } from './return-values.ts'
import { SessionPool } from './session-pool.ts'

/** An open HSM, the keys it serves, and how to end it. */
export interface OpenHsm {
  readonly hsm: Hsm
  /** The adapter itself, for whoever looks at how it works. */
  readonly adapter: Pkcs11Hsm
  readonly token: Token
  readonly can: Capabilities
  readonly measured: Measured
  /** How the CEKs of each JWE key are handled. */
  readonly cekChoices: ReadonlyMap<KeyEntry, CekChoice>
  /** The keys that serve: active or retiring, found and checked. */
  readonly keys: readonly KeyEntry[]
  /** The keys that would serve if this token had what they need. */
  readonly unavailable: ReadonlyMap<KeyEntry, UnavailableKey>
  /** The public halves of the key pairs among them. */
  readonly publicKeys: ReadonlyMap<KeyEntry, PublicKey>
  /** What was chosen, in a word each, for the log. */
  readonly choices: Readonly<Record<string, string>>
  close(): void
}

/** What is needed to open one. */
export interface HsmSettings {
  readonly address: TokenAddress
  readonly sessions: number
  readonly environment: 'development' | 'production'
  readonly keys: readonly KeyEntry[]
  readonly catalogue: KeyCatalogue
  /** Refuses a token that cannot serve every key: where there are several tokens, each has to do what the others do. */
  readonly allKeysNeeded?: boolean
  /** Hears of keys and profiles that are wrong, instead of having them refuse the token: for doctor, which goes on with the rest. */
  readonly judge?: Judge
}

/** What is wrong with a key; without one, with a profile that keys use. */
export interface KeyProblem {
  readonly key?: KeyEntry
  readonly sentence: string
}

/** Is told of all problems of one kind, none too; who throws ends the opening. */
export type Judge = (
  reason: Extract<HsmStartFailure, 'keys-unusable' | 'self-test-failed'>,
  problems: readonly KeyProblem[],
) => void

const refuseAny: Judge = (reason, problems) => {
  if (problems.length === 0) return
  throw new HsmStartError(
    reason,
    problems.map(({ sentence }) => sentence),
  )
}

/**
 * Opens the token, finds the keys and runs the self-test.
 *
 * @throws HsmStartError with every problem of every key, not only the first.
 */
export async function openHsm(settings: HsmSettings, pin: string): Promise<OpenHsm> {
  const token = openToken(settings.address, pin)
  try {
    const calls = new Calls(token.lib, new SessionPool(token, settings.sessions))
    const can = await findCapabilities(token, calls, settings.address.retailMacMechanism)
    const { objects, publicKeys, unavailable } = findKeys(token, can, settings)
    const adapter = new Pkcs11Hsm(calls, { chaining: can.chaining, retailMac: can.vendorRetailMac }, objects)
    await adapter.learn()
    const keepsCeks = [...objects.values()].some((key) => key.objects.get('private')?.usage.unwrap)
    if (keepsCeks && can.aesGcm) adapter.spareCek = generateSpare(calls, token.anchor.handle)

    const cekChoices = new Map<KeyEntry, CekChoice>()
    for (const [key, publicKey] of publicKeys) {
      if (!isJweKey(key)) continue
      const choice = await chooseCekWay(adapter, calls, can, key, objects.get(key)!, publicKey)
      cekChoices.set(key, choice)
      if (choice.chosen !== undefined || !choice.lacking) continue
      unavailable.set(key, { reason: choice.why, publicKey })
      objects.delete(key)
      publicKeys.delete(key)
    }
    if (settings.allKeysNeeded) expectAll(unavailable)
    const { catalogue } = settings
    const measured = await chooseModes(adapter, [...objects.keys()], publicKeys, (key) => catalogue.macFormOf(key))
    const failed = await answerProblems(token, calls, can, adapter, { objects, publicKeys, catalogue })
    const { judge = refuseAny } = settings
    judge('self-test-failed', failed)
    const givesKnownAnswer = (key: KeyEntry): Promise<boolean> =>
      checkKey(adapter, key, catalogue.macFormOf(key), publicKeys.get(key))
    return {
      hsm: new ConfirmedHsm(adapter, givesKnownAnswer),
      adapter,
      token,
      can,
      measured,
      cekChoices,
      keys: [...objects.keys()],
      unavailable,
      publicKeys,
      choices: choicesOf(can, cekChoices, adapter),
      close: () => token.close(),
    }
  } catch (error) {
    const isThere = token.isThere()
    token.close()
    // A connection that breaks meanwhile looks like keys that are missing or wrong.
    if (!isThere) throw new HsmStartError('token-absent', ['hsm: the token went away while it was opened'])
    if (error instanceof HsmStartError) throw error
    const { code, detail } = toServiceError(error)
    throw new HsmStartError('self-test-failed', [`hsm: the self-test could not run (${detail?.ckr ?? code})`])
  }
}

/** The keys that a token holds. */
export interface FoundKeys {
  readonly objects: Map<KeyEntry, KeyObjects>
  readonly publicKeys: Map<KeyEntry, PublicKey>
  readonly unavailable: Map<KeyEntry, UnavailableKey>
}

/** Finds every key that serves and holds it against the catalogue; throws HsmStartError with every problem, unless a judge hears them. */
export function findKeys(
  token: Token,
  can: Capabilities,
  settings: Pick<HsmSettings, 'keys' | 'environment' | 'catalogue' | 'judge'>,
): FoundKeys {
  const found: FoundKeys = { objects: new Map(), publicKeys: new Map(), unavailable: new Map() }
  const { judge = refuseAny } = settings
  const problems: KeyProblem[] = []
  for (const key of settings.keys.filter(isUsable)) {
    const report = (sentence: string): void => {
      problems.push({ key, sentence })
      found.objects.delete(key)
    }
    const publicKey = isKeyPair(key) ? readPublicKey(token.lib, token.anchor, key) : undefined
    const reason = whyUnavailable(key, settings.catalogue.macFormOf(key), can)
    if (reason !== undefined) {
      found.unavailable.set(key, { reason, ...(publicKey && { publicKey }) })
      continue
    }
    const outcome = findInAnyShape(token, can, key, settings)
    if (outcome.objects === undefined) {
      const lacking = isHalfRetailMac(outcome)
        ? `its second object ${key.id}.cbc is not in the token`
        : whyForeign(token, can, key, settings)
      if (lacking !== undefined) {
        found.unavailable.set(key, { reason: lacking })
        continue
      }
      outcome.problems.forEach(report)
    } else {
      found.objects.set(key, {
        objects: outcome.objects,
        ...(publicKey && { publicKey }),
      })
    }
    if (!isKeyPair(key)) continue
    if (publicKey === undefined) report(`key ${key.id}: its public key object is missing or not ${key.algorithm}`)
    else if (publicKeyKcv(publicKey) !== key.kcv.toUpperCase()) report(`key ${key.id}: its KCV is not the catalogue's`)
    else if (found.objects.has(key)) found.publicKeys.set(key, publicKey)
  }
  judge('keys-unusable', problems)
  return found
}

/** The objects of a key in the first shape that fits; if none does, the problems of the one that a new key would get. */
function findInAnyShape(
  { lib, anchor }: Token,
  can: Capabilities,
  key: KeyEntry,
  { environment, catalogue }: Pick<HsmSettings, 'environment' | 'catalogue'>,
): Found {
  let first: Found | undefined
  for (const shape of keyShapes(key, catalogue.macFormOf(key), can)) {
    const outcome = findKey(lib, anchor, key, { shape, originMarks: can.originMarks, environment })
    if (outcome.objects !== undefined) return outcome
    first ??= outcome
  }
  return first ?? { problems: [], missing: [] }
}

/** What the token lacks for a key that is as it must be for another token; undefined if it is not that. */
function whyForeign(
  { lib, anchor }: Token,
  can: Capabilities,
  key: KeyEntry,
  { environment, catalogue }: Pick<HsmSettings, 'environment' | 'catalogue'>,
): string | undefined {
  const foreign = foreignShape(key, catalogue.macFormOf(key), can)
  if (foreign === undefined) return undefined
  const outcome = findKey(lib, anchor, key, { shape: foreign.shape, originMarks: can.originMarks, environment })
  return outcome.objects === undefined ? undefined : `it was made to be used by a mechanism, and ${foreign.lacking}`
}

/** A composed retail MAC key whose K1|K1|K1 is not there, perhaps because the token refused it: its profile is out of use, not the service. */
function isHalfRetailMac({ problems, missing }: Exclude<Found, { objects: object }>): boolean {
  return problems.length === 1 && missing[0] === 'retail-cbc'
}

function expectAll(unavailable: FoundKeys['unavailable']): void {
  if (unavailable.size === 0) return
  const problems = [...unavailable].map(([key, { reason }]) => `key ${key.id}: this token cannot serve it: ${reason}`)
  throw new HsmStartError('keys-unusable', problems)
}

/** Whether every profile, key and KCV is right by computing with it. */
async function answerProblems(
  token: Token,
  calls: Calls,
  can: Capabilities,
  hsm: Hsm,
  { objects, publicKeys, catalogue }: Omit<FoundKeys, 'unavailable'> & { readonly catalogue: KeyCatalogue },
): Promise<KeyProblem[]> {
  const keys = [...objects.keys()]
  const profiles = new Set(keys.map((key) => catalogue.profileOf(key)).filter((profile) => profile !== undefined))
  const wrongProfiles = await knownAnswerProblems(token, calls, can, profiles)
  const failed: KeyProblem[] = wrongProfiles.map((sentence) => ({ sentence }))
  for (const key of keys) {
    const form = catalogue.macFormOf(key)
    if (!(await checkKey(hsm, key, form, publicKeys.get(key)))) {
      failed.push({ key, sentence: `key ${key.id}: it does not give its known answer` })
      continue
    }
    const kcv = await computeKcv(hsm, key, form)
    if (kcv === undefined || kcv === key.kcv.toUpperCase()) continue
    failed.push({ key, sentence: `key ${key.id}: its KCV is not the catalogue's` })
  }
  return failed
}

function choicesOf(
  can: Capabilities,
  cekChoices: ReadonlyMap<KeyEntry, CekChoice>,
  { modes }: Pkcs11Hsm,
): Record<string, string> {
  // Of several keys, each way once.
  const ways = (alg: string): string => {
    const chosen = [...cekChoices].filter(([key]) => key.alg === alg).map(([, choice]) => choice.chosen ?? 'none')
    return [...new Set(chosen)].join(' ') || 'none'
  }
  return {
    oaep256: ways('RSA-OAEP-256'),
    ecdhEs: ways('ECDH-ES'),
    tdeaCmac: can.cmac.TDEA.chosen ?? 'none',
    aesCmac: can.cmac.AES.chosen ?? 'none',
    retailMac: can.retailMac.chosen ?? 'none',
    ...modes,
  }
}
