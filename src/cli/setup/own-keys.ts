/** The keys that the service needs for itself and for D1: generated inside the HSM, where nobody ever sees their values. */
import type { KeyEntry } from '../../config/schema.ts'
import { EX_CANTCREAT, EX_UNAVAILABLE } from '../../exit-codes.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { countObjects } from '../../hsm/pkcs11/key-objects.ts'
import { CommandError } from '../command-error.ts'
import { generateKey } from '../keys/generate-key.ts'
import { today, type PlannedKey } from '../keys/planned-key.ts'
import type { OpenedToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'

/** How D1 encrypts to the service. */
export type JweAlg = 'ECDH-ES' | 'RSA-OAEP-256'

/** The id of the D1 profile that the JWE key is for. */
export const D1_PROFILE = 'd1'

/** What each of the keys is for, by its id, in the words of a question. */
export const WHAT_FOR: Readonly<Record<string, string>> = {
  jwe: 'D1 encrypts new PINs to it',
  'audit-mac': 'seals the audit record',
  'limit-hash': 'hides PANs where guesses are counted',
  'transcript-sign': 'signs the transcripts of key ceremonies',
}

/** The keys that are generated, in the order of the configuration. */
export function ownKeys(jweAlg: JweAlg): PlannedKey[] {
  const shared = { version: 1, state: 'active', created: today() } as const
  return [
    {
      ...shared,
      id: 'jwe',
      purpose: 'jwe-decrypt',
      algorithm: jweAlg === 'ECDH-ES' ? 'EC-P256' : 'RSA-3072',
      alg: jweAlg,
      enc: 'A256GCM',
      d1Profile: D1_PROFILE,
    },
    { ...shared, id: 'audit-mac', purpose: 'audit-mac', algorithm: 'AES-256' },
    { ...shared, id: 'limit-hash', purpose: 'limit-hash', algorithm: 'AES-256' },
    { ...shared, id: 'transcript-sign', purpose: 'transcript-sign', algorithm: 'EC-P256' },
  ]
}

/**
 * Looks whether the token is free for these keys and can hold them.
 *
 * @throws CommandError (73, 69) that names every key that cannot be made.
 */
export function expectRoom({ token, maker }: OpenedToken, planned: readonly PlannedKey[]): void {
  const entries = planned.map((key): KeyEntry => ({ ...key, kcv: '', origin: 'generated' }))
  const there = entries.filter((key) => countObjects(token, key) > 0).map(({ id }) => id)
  if (there.length > 0) {
    throw new CommandError(
      EX_CANTCREAT,
      `the token holds ${there.join(', ')} already: it is in use. If another node uses it, answer keysOf with that node's
configuration; otherwise take another token. Nothing in it was touched.`,
    )
  }
  const problems = entries.flatMap((key) => {
    const reason = maker.whyUnavailable(key, new KeyCatalogue([key], []).macFormOf(key))
    return reason === undefined ? [] : [`key ${key.id}: the token cannot hold it (${reason})`]
  })
  if (problems.length > 0) throw new CommandError(EX_UNAVAILABLE, problems.join('\n'))
}

/** Generates the keys; what was generated is gone again if one of them fails, or at Ctrl-C. */
export async function generateOwnKeys(opened: OpenedToken, planned: readonly PlannedKey[]): Promise<KeyEntry[]> {
  const made: KeyEntry[] = []
  try {
    for (const key of planned) {
      opened.throwIfInterrupted()
      made.push(await withProgress(`generating ${key.id} in the HSM`, () => generateKey(opened, key)))
    }
    return made
  } catch (error) {
    destroyOwnKeys(opened, made)
    throw error
  }
}

/** Takes keys out of the token again. */
export function destroyOwnKeys({ maker }: OpenedToken, made: readonly KeyEntry[]): void {
  for (const key of made) maker.destroyMade(key)
}
