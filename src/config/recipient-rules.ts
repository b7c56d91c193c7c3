/** The rules of the recipients that PINs and data are sealed for: a public key that is wrong here gives them away. */
import { createPublicKey } from 'node:crypto'
import { decodeBase64url } from '../bytes.ts'
import type { Report } from './problems.ts'
import type { Config, Recipient } from './schema.ts'
import { isP256Point } from '../jwe/ephemeral-key.ts'

const LEAST_RSA_BITS = 2048
const LEAST_RSA_EXPONENT = 65_537n

type PublicKeyMember = 'crv' | 'x' | 'y' | 'n' | 'e'

const NEEDED: Readonly<Record<Recipient['publicKey']['kty'], readonly PublicKeyMember[]>> = {
  EC: ['crv', 'x', 'y'],
  RSA: ['n', 'e'],
}

/** Checks every recipient. */
export function checkRecipients({ environment, d1 }: Config, report: Report): void {
  d1.recipients.forEach((recipient, i) => {
    const at = (members: readonly string[], sentence: string): void =>
      report(['d1', 'recipients', i, ...members], sentence)
    const j = d1.recipients.findIndex(({ kid }) => kid === recipient.kid)
    if (j < i) at(['kid'], `is the kid of d1.recipients[${j}] too`)
    checkProfile(recipient, d1.profiles, at)
    if (environment === 'production' && recipient.development) at(['development'], 'is refused in production')
    checkPublicKey(recipient, at)
  })
}

type At = (members: readonly string[], sentence: string) => void

/** A profile says what a PIN's payload looks like; data have one form. */
function checkProfile({ use, profile }: Recipient, profiles: Config['d1']['profiles'], at: At): void {
  if (use === 'data') {
    if (profile !== undefined) at(['profile'], 'does not belong to a recipient of data')
  } else if (profile === undefined) at(['profile'], 'is missing; a recipient of PINs needs it')
  else if (!profiles.some(({ id }) => id === profile)) at(['profile'], 'names no profile of d1.profiles')
}

function checkPublicKey({ publicKey, alg }: Recipient, at: At): void {
  const { kty } = publicKey
  if (!Object.hasOwn(NEEDED, kty)) return
  const expected = kty === 'EC' ? 'ECDH-ES' : 'RSA-OAEP-256'
  if (alg !== expected) at(['alg'], `must be ${expected} for a key of type ${kty}`)
  let complete = true
  for (const member of ['crv', 'x', 'y', 'n', 'e'] as const) {
    const needed = NEEDED[kty].includes(member)
    const present = publicKey[member] !== undefined
    if (needed && !present) at(['publicKey', member], `is missing; a key of type ${kty} needs it`)
    if (!needed && present) at(['publicKey', member], `does not belong to a key of type ${kty}`)
    if (needed && !present) complete = false
  }
  if (!complete) return
  const problem = kty === 'EC' ? pointProblem(publicKey) : rsaProblem(publicKey)
  if (problem) at(['publicKey'], problem)
}

/** RFC 7518 section 6.2.1: both coordinates have the full 32 bytes. */
function pointProblem({ x, y }: Recipient['publicKey']): string | undefined {
  const [xBytes, yBytes] = [decodeBase64url(x!), decodeBase64url(y!)]
  if (xBytes?.length !== 32 || yBytes?.length !== 32) return 'must have x and y of 32 bytes in base64url'
  return isP256Point(Buffer.concat([Buffer.of(0x04), xBytes, yBytes])) ? undefined : 'is not a point of P-256'
}

/** RFC 7518 section 6.3.1, and FIPS 186-5 appendix A.1.1: an exponent of 1 would seal nothing at all. */
function rsaProblem({ n, e }: Recipient['publicKey']): string | undefined {
  const [modulus, exponent] = [decodeBase64url(n!), decodeBase64url(e!)]
  if (!modulus?.length || !exponent?.length || modulus[0] === 0 || exponent[0] === 0) {
    return 'must have n and e in base64url without leading zero bytes'
  }
  const details = rsaDetails(n!, e!)
  if (details === undefined || (modulus.at(-1)! & 1) === 0) return 'is not an RSA public key'
  if (details.bits < LEAST_RSA_BITS) return `must have at least ${LEAST_RSA_BITS} bits`
  if (details.exponent < LEAST_RSA_EXPONENT || details.exponent % 2n === 0n) {
    return `must have an odd exponent of at least ${LEAST_RSA_EXPONENT}`
  }
  return undefined
}

function rsaDetails(n: string, e: string): { readonly bits: number; readonly exponent: bigint } | undefined {
  try {
    const key = createPublicKey({ key: { kty: 'RSA', n, e }, format: 'jwk' })
    const { modulusLength: bits, publicExponent: exponent } = key.asymmetricKeyDetails ?? {}
    return bits === undefined || exponent === undefined ? undefined : { bits, exponent }
  } catch {
    // OpenSSL refused the numbers; its reason is of no use to an operator.
    return undefined
  }
}
