/** The files of the TLS listener: its private key, a request for the bank's authority, and a certificate that stands in until it answers. */
import { generateKeyPairSync, sign } from 'node:crypto'
import type { PublicKey } from '../../hsm/hsm.ts'
import { makeCertificate, makeRequest, type Sign, type Subject } from '../certs/x509.ts'
import type { NewFolder } from './new-folder.ts'
import type { ServiceAnswers } from './ask-service.ts'

export const PRIVATE_KEY_FILE = 'server-key.pem'
export const REQUEST_FILE = 'server.csr'
export const CERTIFICATE_FILE = 'server.pem'
export const CLIENT_CA_FILE = 'client-ca.pem'

/** How long the certificate serves that stands in: long enough for an authority to answer, too short to be forgotten. */
const STAND_IN_DAYS = 90

/**
 * Writes the files. The key is of EC P-256 and made by OpenSSL; it is a file, because the gateway that uses it has no way to the HSM.
 */
export async function writeTlsFiles(
  folder: NewFolder,
  { organisation, dnsName, clientCa }: ServiceAnswers,
): Promise<void> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  folder.write(PRIVATE_KEY_FILE, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const { x, y } = publicKey.export({ format: 'jwk' })
  const jwk: PublicKey = { kty: 'EC', crv: 'P-256', x: x!, y: y! }
  const signs: Sign = async (message) => sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  const subject: Subject = {
    // A common name has 64 characters; what counts is the name in subjectAltName.
    subject: [
      { type: 'CN', value: dnsName.slice(0, 64) },
      { type: 'O', value: organisation },
    ],
    dnsNames: [dnsName],
    usage: { keyUsage: 'digitalSignature', tls: ['server'] },
    publicKey: jwk,
  }
  folder.write(REQUEST_FILE, await makeRequest(subject, signs), 0o644)
  const certificate = await makeCertificate(subject, { publicKey: jwk, sign: signs }, STAND_IN_DAYS, new Date())
  folder.write(CERTIFICATE_FILE, certificate, 0o644)
  folder.write(CLIENT_CA_FILE, clientCa, 0o644)
}
