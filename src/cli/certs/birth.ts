/** A JWE key that makes its request and its certificate itself, once, while it is made: afterwards it deciphers and signs nothing. */
import type { KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { EX_UNAVAILABLE } from '../../exit-codes.ts'
import { HsmStartError, type PublicKey } from '../../hsm/hsm.ts'
import type { OpenedToken } from '../open-token.ts'
import { CommandError } from '../command-error.ts'
import { usageOf } from './key-of.ts'
import { refusal } from './refusal.ts'
import type { NamePart } from './subject.ts'
import { makeCertificate, makeRequest } from './x509.ts'

/** What the request and the certificate say. */
export interface Wanted {
  readonly subject: readonly NamePart[]
  /** Of the certificate. */
  readonly days: number
}

/** A new key pair, and what it signed; PEM. */
export interface CertifiedPair {
  readonly publicKey: PublicKey
  readonly request: string
  readonly certificate: string
}

/**
 * Generates the pair of a JWE key in the token, and has it sign a PKCS#10 request and a self-signed certificate for its one use.
 *
 * @throws CommandError if the token cannot do that; nothing of the key is in the token then.
 */
export async function generateCertifiedPair(
  { maker, throwIfInterrupted }: Pick<OpenedToken, 'maker' | 'throwIfInterrupted'>,
  key: KeyEntry,
  { subject, days }: Wanted,
): Promise<CertifiedPair> {
  const signed = { request: '', certificate: '' }
  try {
    const publicKey = await maker.generateProvenKeyPair(key, async (publicKey, sign) => {
      const holder = { subject, dnsNames: [], usage: usageOf(key, undefined), publicKey }
      signed.request = await makeRequest(holder, sign)
      signed.certificate = await makeCertificate(holder, { publicKey, sign }, days, new Date())
      throwIfInterrupted()
    })
    return { publicKey, ...signed }
  } catch (error) {
    if (error instanceof ServiceError) throw refusal(error)
    if (!(error instanceof HsmStartError)) throw error
    throw new CommandError(
      EX_UNAVAILABLE,
      `this token cannot make a JWE key that signs its own request (${error.message}).\n` +
        'Make the key without a request, and have its certificate issued by a key that signs: pinbridge certs issue-for.',
    )
  }
}
