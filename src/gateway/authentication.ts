/** Who is calling: the configured client that the peer certificate's subjectAltName names. */
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { X509Certificate } from 'node:crypto'
import type { ClientEntry } from '../config/schema.ts'

/** Finds the client behind a connection; undefined if its certificate names none, or more than one. */
export type Identify = (socket: Duplex) => ClientEntry | undefined

/** Only DNS names of subjectAltName count: a common name or a wildcard could name clients that it was not issued for. */
const EXACT = { subject: 'never', wildcards: false, partialWildcards: false } as const

/** Makes the look-up over the configured clients, remembered for as long as a connection lasts. */
export function createIdentify(clients: readonly ClientEntry[]): Identify {
  const known = new WeakMap<Duplex, { client: ClientEntry | undefined }>()
  return (socket) => {
    const cached = known.get(socket)
    if (cached !== undefined) return cached.client
    const certificate = socket instanceof TLSSocket && socket.authorized ? socket.getPeerX509Certificate() : undefined
    const client = certificate && clientOf(certificate, clients)
    known.set(socket, { client })
    return client
  }
}

/** The one client that a certificate names. */
export function clientOf(certificate: X509Certificate, clients: readonly ClientEntry[]): ClientEntry | undefined {
  const named = clients.filter(({ dnsName }) => certificate.checkHost(dnsName, EXACT) !== undefined)
  return named.length === 1 ? named[0] : undefined
}
