/** Certificates as PEM files hold them (RFC 7468). */
import { X509Certificate } from 'node:crypto'

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/**
 * All certificates of a PEM text, in their order; what stands between them is not looked at.
 *
 * @throws OpenSSL's error if one does not parse.
 */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(PEM_CERTIFICATE) ?? []).map((block) => new X509Certificate(block))
}
