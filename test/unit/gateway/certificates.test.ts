import { createPrivateKey, X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { clientOf } from '../../../src/gateway/authentication.ts'
import { testCertificates } from '../../support/certificates.ts'

const { ca, server, clients } = await testCertificates()
const root = new X509Certificate(ca)
const entry = (dnsName: string) => ({ id: dnsName, dnsName, grants: [] })

describe('makeDevelopmentCertificates', () => {
  it('issues every certificate by the one CA, for a year, with a serial of its own', () => {
    const issued = [server, ...clients].map(({ certificate }) => new X509Certificate(certificate))
    for (const certificate of issued) {
      expect(certificate.checkIssued(root) && certificate.verify(root.publicKey)).toBe(true)
      expect(certificate.ca).toBe(false)
      expect(certificate.subject).toContain('development')
      const days = (certificate.validToDate.getTime() - certificate.validFromDate.getTime()) / 86_400_000
      expect(Math.round(days)).toBe(365)
    }
    expect(root.ca).toBe(true)
    expect(new Set([root, ...issued].map(({ serialNumber }) => serialNumber)).size).toBe(issued.length + 1)
  })

  it('gives each its own key and its own use', () => {
    const certificate = new X509Certificate(server.certificate)
    expect(certificate.checkPrivateKey(createPrivateKey(server.privateKey))).toBe(true)
    expect(certificate.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1'])
    expect(certificate.subjectAltName).toBe('DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1')
    for (const client of clients) {
      expect(new X509Certificate(client.certificate).keyUsage).toEqual(['1.3.6.1.5.5.7.3.2'])
    }
  })
})

describe('clientOf', () => {
  const named = (id: string) => new X509Certificate(clients.find((client) => client.id === id)!.certificate)
  const configured = [entry('cms-adapter.clients.test'), entry('auditor.clients.test'), entry('cn-only.development')]

  it('finds the one client whose DNS name stands in subjectAltName', () => {
    expect(clientOf(named('cms'), configured)?.id).toBe('cms-adapter.clients.test')
  })

  it('takes no wildcard, not even where it could only mean one client', () => {
    expect(clientOf(named('wildcard'), [entry('cms-adapter.clients.test')])).toBeUndefined()
  })

  it.each(['stranger', 'wildcard', 'both', 'cn-only'])('finds none for %s', (id) => {
    expect(clientOf(named(id), configured)).toBeUndefined()
  })
})
