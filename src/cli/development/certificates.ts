/** Certificates for development and tests: a CA that forgets its key, a server, and the clients. */
import { generateKeyPair, randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import { promisify } from 'node:util'
import forge from 'node-forge'

const { pki, md } = forge
const YEAR_MS = 365 * 24 * 3600 * 1000
/** Clocks differ a little between the machines of a development set-up. */
const BACKDATED_MS = 5 * 60 * 1000

/** A certificate and its private key, PEM. */
export interface CertificateAndKey {
  readonly certificate: string
  readonly privateKey: string
}

/** A client to certify; its identity is its DNS names and not its id, which stands in the common name for people to read. */
export interface ClientToCertify {
  readonly id: string
  readonly dnsNames: readonly string[]
}

/** The whole set, PEM. */
export interface DevelopmentCertificates {
  readonly ca: string
  readonly server: CertificateAndKey
  readonly clients: readonly (ClientToCertify & CertificateAndKey)[]
}

/**
 * Makes a fresh CA, a server certificate for `hosts` (DNS names and IP addresses) and one certificate per client.
 *
 * RSA-2048, because node-forge writes no EC certificate; valid for a year. The CA's key is not returned: nobody can add to the set.
 */
export async function makeDevelopmentCertificates(options: {
  readonly hosts: readonly string[]
  readonly clients: readonly ClientToCertify[]
}): Promise<DevelopmentCertificates> {
  const { hosts, clients } = options
  const [caKeys, serverKeys, ...clientKeys] = await Promise.all([makeKeys(), makeKeys(), ...clients.map(makeKeys)])

  const ca = pki.createCertificate()
  describe(ca, caKeys, 'pinbridge development CA')
  ca.setIssuer(ca.subject.attributes)
  ca.setExtensions([
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ])
  ca.sign(caKeys.privateKey, md.sha256.create())

  const issue = (keys: Keys, commonName: string, usage: 'serverAuth' | 'clientAuth', names: readonly string[]) => {
    const certificate = pki.createCertificate()
    describe(certificate, keys, commonName)
    certificate.setIssuer(ca.subject.attributes)
    certificate.setExtensions([
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', [usage]: true },
      { name: 'subjectKeyIdentifier' },
      { name: 'authorityKeyIdentifier', keyIdentifier: ca.generateSubjectKeyIdentifier().getBytes() },
      ...(names.length > 0 ? [{ name: 'subjectAltName', altNames: names.map(altName) }] : []),
    ])
    certificate.sign(caKeys.privateKey, md.sha256.create())
    return { certificate: pki.certificateToPem(certificate), privateKey: keys.privateKeyPem }
  }

  return {
    ca: pki.certificateToPem(ca),
    server: issue(serverKeys, 'pinbridge development server', 'serverAuth', hosts),
    clients: clients.map((client, i) => ({
      ...client,
      ...issue(clientKeys[i]!, `${client.id}.development`, 'clientAuth', client.dnsNames),
    })),
  }
}

interface Keys {
  readonly publicKey: forge.pki.rsa.PublicKey
  readonly privateKey: forge.pki.rsa.PrivateKey
  readonly privateKeyPem: string
}

/** RSA keys from OpenSSL, off the main thread: forge's own take seconds. */
async function makeKeys(): Promise<Keys> {
  const { publicKey, privateKey } = await promisify(generateKeyPair)('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return {
    publicKey: pki.publicKeyFromPem(publicKey),
    privateKey: pki.privateKeyFromPem(privateKey),
    privateKeyPem: privateKey,
  }
}

function describe(certificate: forge.pki.Certificate, keys: Keys, commonName: string): void {
  const now = Date.now()
  certificate.publicKey = keys.publicKey
  // RFC 5280 section 4.1.2.2: positive, at most 20 octets. The leading 01 keeps it so.
  certificate.serialNumber = `01${randomBytes(15).toString('hex')}`
  certificate.validity.notBefore = new Date(now - BACKDATED_MS)
  certificate.validity.notAfter = new Date(now + YEAR_MS)
  certificate.setSubject([{ name: 'commonName', value: commonName }])
}

/** GeneralName (RFC 5280 section 4.2.1.6): 7 is an IP address, 2 a DNS name. */
function altName(name: string): { type: number; ip?: string; value?: string } {
  return isIP(name) === 0 ? { type: 2, value: name } : { type: 7, ip: name }
}
