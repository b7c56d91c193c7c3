/** Finds out how a token is best asked for the CEKs of a JWE key: each way is tried with JWEs of our own making, the strongest first. */
import { createECDH, randomBytes } from 'node:crypto'
import type { KeyEntry } from '../../config/schema.ts'
import { CEK_BYTES } from '../../jwe/algorithms.ts'
import { otherInfo } from '../../jwe/concat-kdf.ts'
import { P256_CURVE } from '../../jwe/ephemeral-key.ts'
import type { PublicKey } from '../hsm.ts'
import { opensOwnJwe, wrapCek } from '../self-test.ts'
import type { Calls } from './calls.ts'
import type { Capabilities } from './capabilities.ts'
import { keepsCek } from './cek-in-token.ts'
import { kdfInfo } from './cek-in-vault.ts'
import { ecdhWithKdf, RSA_OAEP_256 } from './mechanisms.ts'
import type { CekWay, KeyObjects, Pkcs11Hsm } from './pkcs11-hsm.ts'
import { isLacking, toServiceError } from './return-values.ts'
import { CEK_TEMPLATE, UNWRAPPED_CEK_TEMPLATE } from './templates.ts'

/** What came of all ways: the one chosen and why not a stronger one; or why the token lacks them all; or none of both, which is an error. */
export interface CekChoice {
  readonly chosen?: CekWay
  readonly why: string
  readonly lacking: boolean
}

/** The ways that the key's one use permits, the one that gives least to the vault first. */
function candidates({ objects }: KeyObjects): readonly CekWay[] {
  const usage = objects.get('private')?.usage
  if (usage?.unwrap) return ['kept']
  return usage?.derive ? ['kept', 'derived-there', 'derived-here'] : ['oaep', 'raw-rsa']
}

/** Tries the ways one after the other and leaves the key at the first that is right in everything. */
export async function chooseCekWay(
  hsm: Pkcs11Hsm,
  calls: Calls,
  can: Pick<Capabilities, 'aesGcm'>,
  key: KeyEntry,
  objects: KeyObjects,
  publicKey: PublicKey,
): Promise<CekChoice> {
  const reasons: string[] = []
  let lacking = true
  for (const way of candidates(objects)) {
    if (way === 'kept' && !can.aesGcm) {
      reasons.push(`${WAY_NAMES[way]}: the token has no CKM_AES_GCM`)
      continue
    }
    objects.cekWay = way
    try {
      const problem =
        way === 'kept' && !(await isKept(calls, objects, publicKey))
          ? 'the token does not keep it as its template says'
          : await answerProblem(hsm, key, publicKey)
      if (problem === undefined) return { chosen: way, why: reasons.join('; '), lacking: false }
      reasons.push(`${WAY_NAMES[way]}: ${problem}`)
      // A CEK that the token would give out is no fault of the key; a wrong answer may be.
      if (way !== 'kept') lacking = false
    } catch (error) {
      const { code, detail } = toServiceError(error)
      reasons.push(`${WAY_NAMES[way]}: ${detail?.ckr ?? code}`)
      if (!isLacking(error)) lacking = false
    }
  }
  delete objects.cekWay
  return { why: reasons.join('; '), lacking }
}

/** Opens JWEs that it must open and must not: with a wrong tag, and, under RSA, with what does not unwrap or is too short. */
async function answerProblem(hsm: Pkcs11Hsm, key: KeyEntry, publicKey: PublicKey): Promise<string | undefined> {
  if (!(await opensOwnJwe(hsm, key, publicKey))) return 'it does not open a good JWE'
  for (const fault of publicKey.kty === 'EC'
    ? (['tag'] as const)
    : (['tag', 'wrapping', 'short-cek', 'long-cek'] as const)) {
    if (await opensOwnJwe(hsm, key, publicKey, fault)) return `it opens a JWE with a wrong ${fault}`
  }
  return undefined
}

/** Whether a CEK that this key gives stays in the token, by every attribute and by trying to read it. */
async function isKept(calls: Calls, { objects }: KeyObjects, publicKey: PublicKey): Promise<boolean> {
  const handle = objects.get('private')?.handle
  if (handle === undefined) return false
  return await calls.withSession((session) =>
    calls.withObject(
      session,
      () => {
        if (publicKey.kty === 'RSA') {
          const cek = randomBytes(CEK_BYTES)
          return calls.unwrap(session, RSA_OAEP_256, handle, wrapCek(publicKey, cek), UNWRAPPED_CEK_TEMPLATE)
        }
        const agreement = { ephemeralKey: createECDH(P256_CURVE).generateKeys(), apu: NONE, apv: NONE }
        return calls.derive(
          session,
          ecdhWithKdf(agreement.ephemeralKey, otherInfo(kdfInfo(agreement))),
          handle,
          CEK_TEMPLATE,
        )
      },
      (cek) => keepsCek(calls, session, cek),
    ),
  )
}

const NONE = Buffer.alloc(0)

/** What doctor calls the ways. */
export const WAY_NAMES: Readonly<Record<CekWay, string>> = {
  kept: 'CEK kept in the token, content deciphered there',
  'derived-there': 'Concat KDF in the token',
  'derived-here': 'Z by the token, Concat KDF in the vault',
  oaep: 'by the token',
  'raw-rsa': 'raw RSA by the token, decoded in constant time here',
}
