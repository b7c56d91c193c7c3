/** One set of development certificates per test file: the clients that the tests call as. */
import { makeDevelopmentCertificates, type DevelopmentCertificates } from '../../src/cli/development/certificates.ts'

/** The DNS names by certificate; `stranger` and below are trusted by the CA and still name no single client. */
export const CLIENT_NAMES = {
  cms: ['cms-adapter.clients.test'],
  narrow: ['narrow.clients.test'],
  auditor: ['auditor.clients.test'],
  stranger: ['stranger.clients.test'],
  wildcard: ['*.clients.test'],
  both: ['cms-adapter.clients.test', 'auditor.clients.test'],
  'cn-only': [],
} as const

/** A client certificate's name in CLIENT_NAMES. */
export type TestClient = keyof typeof CLIENT_NAMES

let made: Promise<DevelopmentCertificates> | undefined

/** The set, made once. */
export function testCertificates(): Promise<DevelopmentCertificates> {
  made ??= makeDevelopmentCertificates({
    hosts: ['localhost', '127.0.0.1', '::1'],
    clients: Object.entries(CLIENT_NAMES).map(([id, dnsNames]) => ({ id, dnsNames })),
  })
  return made
}
