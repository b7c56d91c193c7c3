/** Client certificates that no set-up would issue: expired, of tomorrow, for another use, signed by a client. */
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import forge from 'node-forge'

const { pki, md } = forge
const DAY_MS = 24 * 3600 * 1000

/** What of a client certificate can be given; left out, it is as it should be. */
export interface CertificateOptions {
  readonly dnsName?: string
  readonly notBeforeMs?: number
  readonly notAfterMs?: number
  readonly usage?: 'clientAuth' | 'serverAuth'
}

/** A certificate and its key, PEM, in the form that node:tls takes. */
export interface Identity {
  readonly cert: string
  readonly key: string
}

/** A CA that issues whatever it is told. */
export interface TestAuthority {
  readonly ca: string
  readonly issue: (options?: CertificateOptions) => Identity
  /** A certificate issued by a client of this CA, which must not issue any. */
  readonly issueByClient: (options?: CertificateOptions) => Identity
}

/** Makes a CA. */
export function makeAuthority(): TestAuthority {
  const caKeys = makeKeys()
  const ca = pki.createCertificate()
  fill(ca, caKeys, 'test CA', {})
  ca.setIssuer(ca.subject.attributes)
  ca.setExtensions([{ name: 'basicConstraints', cA: true, critical: true }, { name: 'subjectKeyIdentifier' }])
  ca.sign(caKeys.privateKey, md.sha256.create())

  const issueFrom = (issuer: forge.pki.Certificate, issuerKeys: Keys, options: CertificateOptions) => {
    const keys = makeKeys()
    const certificate = pki.createCertificate()
    fill(certificate, keys, 'client', options)
    certificate.setIssuer(issuer.subject.attributes)
    certificate.setExtensions([
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'extKeyUsage', [options.usage ?? 'clientAuth']: true },
      { name: 'subjectKeyIdentifier' },
      { name: 'authorityKeyIdentifier', keyIdentifier: issuer.generateSubjectKeyIdentifier().getBytes() },
      { name: 'subjectAltName', altNames: [{ type: 2, value: options.dnsName ?? 'cms-adapter.clients.test' }] },
    ])
    certificate.sign(issuerKeys.privateKey, md.sha256.create())
    return { certificate, keys }
  }
  const identityOf = ({ certificate, keys }: ReturnType<typeof issueFrom>): Identity => ({
    cert: pki.certificateToPem(certificate),
    key: keys.pem,
  })
  return {
    ca: pki.certificateToPem(ca),
    issue: (options = {}) => identityOf(issueFrom(ca, caKeys, options)),
    issueByClient: (options = {}) => {
      const client = issueFrom(ca, caKeys, {})
      const { cert, key } = identityOf(issueFrom(client.certificate, client.keys, options))
      return { cert: cert + pki.certificateToPem(client.certificate), key }
    },
  }
}

/** A pair of RSA keys, for forge and, the private one, as PEM. */
export interface Keys {
  readonly publicKey: forge.pki.rsa.PublicKey
  readonly privateKey: forge.pki.rsa.PrivateKey
  readonly pem: string
}

/** Makes a pair by OpenSSL: forge's own take seconds. */
export function makeKeys(): Keys {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
  return { publicKey: pki.publicKeyFromPem(publicKey), privateKey: pki.privateKeyFromPem(privateKey), pem: privateKey }
}

function fill(certificate: forge.pki.Certificate, keys: Keys, name: string, options: CertificateOptions): void {
  certificate.publicKey = keys.publicKey
  certificate.serialNumber = `01${randomBytes(15).toString('hex')}`
  certificate.validity.notBefore = new Date(options.notBeforeMs ?? Date.now() - DAY_MS)
  certificate.validity.notAfter = new Date(options.notAfterMs ?? Date.now() + DAY_MS)
  certificate.setSubject([{ name: 'commonName', value: name }])
}
