/**
 * What IBM Digital Asset Haven checks of a credential, by its public pages and node:crypto alone: nothing of pinbridge is used.
 *
 * @see https://docs.dfns.co/api-reference/auth/credentials-data
 */
import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto'
import { Type, type Static, type TSchema } from 'typebox'
import { Value } from 'typebox/value'

const strict = { additionalProperties: false } as const
const base64url = Type.String({ pattern: '^[A-Za-z0-9_-]+$' })

/** What registers a credential of this kind. */
const registration = <Kind extends string>(kind: Kind, more: Record<string, TSchema> = {}) =>
  Type.Object(
    {
      credentialKind: Type.Literal(kind),
      credentialInfo: Type.Object({ credId: base64url, clientData: base64url, attestationData: base64url }, strict),
      credentialName: Type.Optional(Type.String()),
      ...more,
    },
    strict,
  )

/** What answers a challenge. */
const assertion = <Kind extends string>(kind: Kind) =>
  Type.Object(
    {
      kind: Type.Literal(kind),
      credentialAssertion: Type.Object(
        { credId: base64url, clientData: base64url, signature: base64url, algorithm: Type.Optional(Type.String()) },
        strict,
      ),
    },
    strict,
  )

const newCredentials = {
  firstFactorCredential: registration('Key'),
  // Opaque: it is stored and given back.
  recoveryCredential: Type.Optional(
    registration('RecoveryKey', { encryptedPrivateKey: Type.Optional(Type.String({ minLength: 1 })) }),
  ),
}

/** The bodies of the requests, as @dfns/sdk types them, for keys and no passkeys. */
export const BODIES = {
  registration: Type.Object(
    {
      ...newCredentials,
      wallets: Type.Array(Type.Object({ network: Type.String(), name: Type.Optional(Type.String()) }, strict)),
    },
    strict,
  ),
  action: Type.Object({ challengeIdentifier: Type.String(), firstFactor: assertion('Key') }, strict),
  recovery: Type.Object(
    { recovery: assertion('RecoveryKey'), newCredentials: Type.Object(newCredentials, strict) },
    strict,
  ),
}

export type NewCredentials = Static<(typeof BODIES)['recovery']>['newCredentials']
type CredentialInfo = NewCredentials['firstFactorCredential']['credentialInfo']
type CredentialAssertion = Static<(typeof BODIES)['action']>['firstFactor']['credentialAssertion']

/** A request that is refused: 400 unless told. */
export class Refused extends Error {
  readonly status: number

  constructor(message: string, status = 400) {
    super(message)
    this.status = status
  }
}

/** The body, if it is of this shape and has no other member. */
export function bodyOf<T extends TSchema>(schema: T, body: unknown): Static<T> {
  const [first] = Value.Errors(schema, body)
  if (first !== undefined) throw new Refused(`body${first.instancePath} ${first.message}`)
  return body as Static<T>
}

/**
 * Checks what registers a credential.
 *
 * @returns its public key.
 * @throws Refused that says what is wrong with it.
 */
export function verifyRegistration(info: CredentialInfo, challenge: string, origin: string): KeyObject {
  const clientData = decode(info.clientData)
  // The hash that is signed has to come out the same here: sorted by name, and no space.
  const expected = { challenge, crossOrigin: false, origin, type: 'key.create' }
  if (clientData.toString() !== JSON.stringify(expected))
    throw new Refused('client data are not those of the challenge')
  const attestation = JSON.parse(decode(info.attestationData).toString()) as Record<string, string>
  const { publicKey: pem = '', signature = '', ...others } = attestation
  if (Object.keys(others).length > 0) throw new Refused('attestation data have another member')
  if (!/^(?:[0-9a-f]{2})+$/.test(signature)) throw new Refused('the signature is not hex')
  const publicKey = readKey(pem)
  const clientDataHash = createHash('sha256').update(clientData).digest('hex')
  const fingerprint = Buffer.from(JSON.stringify({ clientDataHash, publicKey: pem }))
  if (!isSignature(publicKey, fingerprint, Buffer.from(signature, 'hex'))) throw new Refused('the signature is wrong')
  return publicKey
}

/** Checks what answers a challenge. */
export function verifyAssertion(
  { clientData: text, signature }: CredentialAssertion,
  challenge: string,
  origin: string,
  publicKey: KeyObject,
): void {
  const clientData = decode(text)
  const members = JSON.parse(clientData.toString()) as Record<string, unknown>
  if (members['type'] !== 'key.get' || members['challenge'] !== challenge) throw new Refused('not of this challenge')
  if ((members['origin'] ?? origin) !== origin || (members['crossOrigin'] ?? false) !== false) {
    throw new Refused('of another origin')
  }
  if (!isSignature(publicKey, clientData, decode(signature))) throw new Refused('the signature is wrong')
}

/** Base64url in its one form, without padding. */
function decode(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url')
  if (bytes.toString('base64url') !== text) throw new Refused('not base64url')
  return bytes
}

function readKey(pem: string): KeyObject {
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch {
    throw new Refused('the public key is not PEM')
  }
  const curve = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType
  if (curve !== 'prime256v1' && curve !== 'ed25519') throw new Refused('the public key is of no kind that is supported')
  return key
}

/** ECDSA with SHA-256, DER; or Ed25519. */
function isSignature(key: KeyObject, message: Buffer, signature: Buffer): boolean {
  return verify(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', message, { key, dsaEncoding: 'der' }, signature)
}
