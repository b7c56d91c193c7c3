/** The keys that callers' tokens are verified with: a JWK Set (RFC 7517) in a file, as the issuer of the tokens publishes it. */
import { createPublicKey, type JsonWebKey } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { fileProblem, writableProblem } from './files.ts'
import type { TokenKey } from './schema.ts'

const MOST_BYTES = 1024 * 1024
const LEAST_RSA_BITS = 2048

/** The members that are no secret; everything else of a key is left in the file. */
const PUBLIC_MEMBERS = ['kty', 'kid', 'use', 'alg', 'crv', 'x', 'y', 'n', 'e'] as const
/** Members of private and symmetric keys (RFC 7518 sections 6.2.2, 6.3.2 and 6.4). */
const SECRET_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']

/**
 * Reads the keys of a file that serve one of our algorithms; RFC 7517 section 5 has the others ignored.
 *
 * @returns public members only, or why the file cannot serve.
 */
export function readTokenKeys(path: string): TokenKey[] | string {
  const unfit = fileProblem(path) ?? writableProblem(path)
  if (unfit) return unfit
  if (statSync(path).size > MOST_BYTES) return `is larger than ${MOST_BYTES} bytes`
  const set = parse(readFileSync(path, 'utf8'))
  if (set === undefined) return 'is not a JWK Set'
  if (set.some((key) => SECRET_MEMBERS.some((member) => member in key))) return 'holds a private or symmetric key'

  const keys = set.filter(isForTokens).map(publicMembersOf)
  if (keys.length === 0) return 'holds no key for ES256, PS256, RS256 or EdDSA'
  const problem = keys.map(keyProblem).find((sentence) => sentence !== undefined)
  if (problem) return problem
  const kids = keys.flatMap(({ kid }) => kid ?? [])
  if (new Set(kids).size < kids.length) return 'has the same kid twice'
  return keys
}

function parse(text: string): Record<string, unknown>[] | undefined {
  try {
    const { keys } = JSON.parse(text) as { keys?: unknown }
    const isSet = Array.isArray(keys) && keys.every((key) => typeof key === 'object' && key !== null)
    return isSet ? (keys as Record<string, unknown>[]) : undefined
  } catch {
    return undefined
  }
}

function isForTokens({ kty, crv, use, alg }: Record<string, unknown>): boolean {
  if (use !== undefined && use !== 'sig') return false
  const serves = (...algorithms: string[]): boolean => alg === undefined || algorithms.includes(alg as string)
  if (kty === 'EC') return crv === 'P-256' && serves('ES256')
  if (kty === 'OKP') return crv === 'Ed25519' && serves('EdDSA')
  return kty === 'RSA' && serves('PS256', 'RS256')
}

function publicMembersOf(key: Record<string, unknown>): TokenKey {
  const members = PUBLIC_MEMBERS.filter((member) => key[member] !== undefined)
  return Object.fromEntries(members.map((member) => [member, key[member]])) as unknown as TokenKey
}

function keyProblem(key: TokenKey): string | undefined {
  if (key.kid !== undefined && typeof key.kid !== 'string') return 'holds a kid that is no text'
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: key as JsonWebKey, format: 'jwk' })
    const bits = asymmetricKeyDetails?.modulusLength ?? LEAST_RSA_BITS
    return bits < LEAST_RSA_BITS ? `holds an RSA key of less than ${LEAST_RSA_BITS} bits` : undefined
  } catch {
    return 'holds a key that cannot be read'
  }
}
