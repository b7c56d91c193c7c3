/**
 * The two JSON texts of a credential of IBM Digital Asset Haven (powered by Dfns), byte for byte: the client data, which a signature
 * is over, and the attestation data, which carry the public key and the signature.
 *
 * The public pages leave some of it open, and say different things at different times. What is assumed here:
 *
 * 1. Client data of a registration have the four members challenge, crossOrigin, origin and type, sorted by name, without spaces.
 *    Newer pages name challenge and type alone: that is written where no origin is given.
 * 2. Client data of an assertion have type and challenge, in this order, as `AsymmetricKeySigner` of @dfns/sdk-keysigner writes them;
 *    origin and crossOrigin follow where an origin is given, as its earlier versions did. The order binds nobody: what is signed is sent.
 * 3. An Ed25519 key signs the same bytes as one of P-256, without a hash of their own before, and its signature is written as it is.
 *    Neither object names its `algorithm`: it follows from the key.
 * 4. The public key is PEM of 64 columns that ends with a line feed, as in the pages' example.
 * 5. A challenge is base64url, which is sent on as it is.
 * 6. credId is whatever base64url its maker chooses: the thumbprint of the public key (RFC 7638) here, unless told.
 * 7. encryptedPrivateKey is stored and given back as it is: base64 of the PrivateKeyInfo (PKCS #8), wrapped by RFC 5649.
 *
 * @see https://docs.dfns.co/api-reference/auth/credentials-data
 */
import { createHash, createPublicKey } from 'node:crypto'
import type { PublicKey } from '../../hsm/hsm.ts'
import { derSignature } from './der-signature.ts'

/** Which kind of credential: one that signs actions, or one by which a user who has lost the others begins anew. */
export type CredentialKind = 'Key' | 'RecoveryKey'

/** What a credential answers: where it came from, and for which place. */
export interface Challenge {
  /** base64url, as it came. */
  readonly challenge: string
  /** Of the application; undefined if the client data are to have none. */
  readonly origin: string | undefined
}

/** What registers a credential: `firstFactorCredential` or `recoveryCredential` of POST /auth/registration/enduser. */
export interface Registration {
  readonly credentialKind: CredentialKind
  readonly credentialInfo: {
    readonly credId: string
    readonly clientData: string
    readonly attestationData: string
  }
  readonly encryptedPrivateKey?: string
}

/** What a credential answers a challenge with: `firstFactor` of POST /auth/action, or `recovery` of POST /auth/recover/user. */
export interface Assertion {
  readonly kind: CredentialKind
  readonly credentialAssertion: { readonly credId: string; readonly clientData: string; readonly signature: string }
}

/** Signs as `Hsm.sign` does. */
export type Sign = (message: Uint8Array) => Promise<Buffer>

/** The client data of a registration, UTF-8. */
export function registrationClientData({ challenge, origin }: Challenge): Buffer {
  const members = origin === undefined ? {} : { crossOrigin: false, origin }
  return Buffer.from(JSON.stringify({ challenge, ...members, type: 'key.create' }))
}

/** The client data of an assertion, UTF-8. */
export function assertionClientData({ challenge, origin }: Challenge): Buffer {
  const members = origin === undefined ? {} : { origin, crossOrigin: false }
  return Buffer.from(JSON.stringify({ type: 'key.get', challenge, ...members }))
}

/** What the signature of a registration is over: the hash of the client data and the public key, sorted by name, UTF-8. */
export function fingerprintOf(clientData: Buffer, publicKey: PublicKey): Buffer {
  const clientDataHash = createHash('sha256').update(clientData).digest('hex')
  return Buffer.from(JSON.stringify({ clientDataHash, publicKey: pemOf(publicKey) }))
}

/** Has a key sign its registration. */
export async function registrationOf(
  kind: CredentialKind,
  credId: string,
  clientData: Buffer,
  publicKey: PublicKey,
  sign: Sign,
): Promise<Registration> {
  const signature = derSignature(publicKey, await sign(fingerprintOf(clientData, publicKey)))
  const attestationData = Buffer.from(
    JSON.stringify({ publicKey: pemOf(publicKey), signature: signature.toString('hex') }),
  )
  return {
    credentialKind: kind,
    credentialInfo: {
      credId,
      clientData: clientData.toString('base64url'),
      attestationData: attestationData.toString('base64url'),
    },
  }
}

/** Has a key sign a challenge. */
export async function assertionOf(
  kind: CredentialKind,
  credId: string,
  clientData: Buffer,
  publicKey: PublicKey,
  sign: Sign,
): Promise<Assertion> {
  const signature = derSignature(publicKey, await sign(clientData))
  return {
    kind,
    credentialAssertion: {
      credId,
      clientData: clientData.toString('base64url'),
      signature: signature.toString('base64url'),
    },
  }
}

/** The SubjectPublicKeyInfo as PEM. */
function pemOf(publicKey: PublicKey): string {
  return createPublicKey({ key: { ...publicKey }, format: 'jwk' }).export({ type: 'spki', format: 'pem' }) as string
}
