/**
 * Requests and certificates whose signatures are made elsewhere, in an HSM: the one place that names the X.509 library. It is
 * loaded here and not before, so that nothing that serves ever has it.
 */
import { createHash, createPublicKey, randomBytes, type webcrypto } from 'node:crypto'
import type { PublicKey } from '../../hsm/hsm.ts'
import type { NamePart } from './subject.ts'

// The library's types are written for browsers, whose global names node gives to values only.
declare global {
  type Algorithm = webcrypto.Algorithm
  type AlgorithmIdentifier = webcrypto.AlgorithmIdentifier
  type BufferSource = webcrypto.BufferSource
  type Crypto = webcrypto.Crypto
  type CryptoKey = webcrypto.CryptoKey
  type CryptoKeyPair = webcrypto.CryptoKeyPair
  type EcKeyGenParams = webcrypto.EcKeyGenParams
  type EcKeyImportParams = webcrypto.EcKeyImportParams
  type EcdsaParams = webcrypto.EcdsaParams
  type KeyUsage = webcrypto.KeyUsage
  type RsaHashedImportParams = webcrypto.RsaHashedImportParams
}

/** Signs a message as `Hsm.sign` does: EC r | s, 64 bytes; RSA as long as the modulus; both with SHA-256. */
export type Sign = (message: Uint8Array) => Promise<Buffer>

/** What a certificate says its key may be used for (RFC 5280 sections 4.2.1.3 and 4.2.1.12). */
export interface Usage {
  readonly keyUsage: 'digitalSignature' | 'keyAgreement' | 'keyEncipherment' | 'keyCertSign'
  readonly tls?: readonly ('client' | 'server')[]
}

/** Who holds the key, and what the key is for. */
export interface Subject {
  readonly subject: readonly NamePart[]
  readonly dnsNames: readonly string[]
  readonly usage: Usage
  readonly publicKey: PublicKey
}

/** Who signs a certificate. */
export interface Issuer {
  readonly publicKey: PublicKey
  readonly sign: Sign
  /** The DER of its own certificate; without it, the subject signs for itself. */
  readonly certificate?: Buffer
}

const SERIAL_BYTES = 20
const DAY_MS = 86_400_000

/** Makes a PKCS#10 certification request (RFC 2986), signed by the key that it is for; PEM. */
export async function makeRequest(subject: Subject, sign: Sign): Promise<string> {
  const x509 = await loadLibrary()
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: nameOf(x509, subject),
      keys: { publicKey: keyOf(subject.publicKey, 'public'), privateKey: keyOf(subject.publicKey, 'private') },
      signingAlgorithm: algorithmOf(subject.publicKey),
      extensions: extensionsOf(x509, subject),
    },
    providerOf(subject.publicKey, sign),
  )
  return pemOf(request)
}

/**
 * Makes an X.509 certificate (RFC 5280) that is valid from `now` on for whole days, with a serial number of 20 random bytes; PEM.
 *
 * A certificate for keyCertSign is an authority's that issues no further authorities; any other is none.
 */
export async function makeCertificate(subject: Subject, issuer: Issuer, days: number, now: Date): Promise<string> {
  const x509 = await loadLibrary()
  const name = nameOf(x509, subject)
  const ownCertificate = issuer.certificate && new x509.X509Certificate(Uint8Array.from(issuer.certificate))
  const issuerIdentifier = ownCertificate?.getExtension(x509.SubjectKeyIdentifierExtension)?.keyId
  // It is positive, and none of its bytes is left out (RFC 5280 section 4.1.2.2).
  const serialNumber = randomBytes(SERIAL_BYTES)
  serialNumber[0] = (serialNumber[0]! & 0x7f) | 0x40
  // A certificate's times have no fractions.
  const notBefore = new Date(now.getTime() - (now.getTime() % 1000))
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber.toString('hex'),
      subject: name,
      issuer: ownCertificate?.subjectName ?? name,
      notBefore,
      notAfter: new Date(notBefore.getTime() + days * DAY_MS),
      publicKey: Uint8Array.from(spkiOf(subject.publicKey)),
      signingKey: keyOf(issuer.publicKey, 'private'),
      signingAlgorithm: algorithmOf(issuer.publicKey),
      extensions: [
        new x509.BasicConstraintsExtension(isAuthority(subject), isAuthority(subject) ? 0 : undefined, true),
        ...extensionsOf(x509, subject),
        new x509.SubjectKeyIdentifierExtension(keyIdentifierOf(subject.publicKey)),
        new x509.AuthorityKeyIdentifierExtension(issuerIdentifier ?? keyIdentifierOf(issuer.publicKey)),
      ],
    },
    providerOf(issuer.publicKey, issuer.sign),
  )
  return pemOf(certificate)
}

type Library = Awaited<ReturnType<typeof loadLibrary>>

async function loadLibrary() {
  // Its container of classes asks for the metadata of decorators, for which it has a polyfill in mind; these classes have none.
  const reflect = Reflect as unknown as Record<string, unknown>
  reflect['getMetadata'] ??= () => undefined
  reflect['getOwnMetadata'] ??= () => undefined
  reflect['defineMetadata'] ??= () => undefined
  return await import('@peculiar/x509')
}

function nameOf(x509: Library, { subject }: Subject) {
  return new x509.Name(
    subject.map(({ type, value }) => ({
      [type]: [type === 'C' ? { printableString: value } : { utf8String: value }],
    })),
  )
}

function isAuthority({ usage }: Subject): boolean {
  return usage.keyUsage === 'keyCertSign'
}

function extensionsOf(x509: Library, { dnsNames, usage: { keyUsage, tls = [] } }: Subject) {
  const purposes = { client: x509.ExtendedKeyUsage.clientAuth, server: x509.ExtendedKeyUsage.serverAuth }
  return [
    new x509.KeyUsagesExtension(x509.KeyUsageFlags[keyUsage], true),
    ...(tls.length > 0 ? [new x509.ExtendedKeyUsageExtension(tls.map((side) => purposes[side]))] : []),
    ...(dnsNames.length > 0
      ? [new x509.SubjectAlternativeNameExtension(dnsNames.map((value) => ({ type: 'dns' as const, value })))]
      : []),
  ]
}

/** What the library takes for WebCrypto: it asks for the public key and for a signature, and gets the HSM's. */
function providerOf(publicKey: PublicKey, sign: Sign): Crypto {
  const subtle = {
    exportKey: () => Promise.resolve(Uint8Array.from(spkiOf(publicKey)).buffer),
    sign: async (_algorithm: unknown, _key: unknown, message: ArrayBuffer) =>
      Uint8Array.from(await sign(new Uint8Array(message))).buffer,
  }
  return { subtle } as unknown as Crypto
}

/** What the library takes for a key: it hands it back to the provider. */
function keyOf(publicKey: PublicKey, type: 'public' | 'private'): CryptoKey {
  return { type, algorithm: algorithmOf(publicKey) } as unknown as CryptoKey
}

function algorithmOf({ kty }: PublicKey) {
  return kty === 'EC'
    ? { name: 'ECDSA', namedCurve: 'P-256', hash: { name: 'SHA-256' } }
    : { name: 'RSASSA-PKCS1-v1_5', hash: { name: 'SHA-256' } }
}

/** The SubjectPublicKeyInfo, DER. */
function spkiOf(publicKey: PublicKey): Buffer {
  return createPublicKey({ key: { ...publicKey }, format: 'jwk' }).export({ format: 'der', type: 'spki' })
}

/** The leftmost 160 bits of SHA-256 over the SubjectPublicKeyInfo, hex (RFC 7093 section 2, method 4). */
function keyIdentifierOf(publicKey: PublicKey): string {
  return createHash('sha256').update(spkiOf(publicKey)).digest('hex').slice(0, 40)
}

function pemOf(made: { toString(format: 'pem'): string }): string {
  return `${made.toString('pem')}\n`
}
