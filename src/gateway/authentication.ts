/**
 * Who is calling: the configured client that the peer certificate's subjectAltName names and, where that is configured, a token
 * of the same client. Whoever may call can change while connections are open: then each is judged anew at its next request (M-11).
 */
import { createHash, type X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { ClientEntry, GatewayConfig } from '../config/schema.ts'
import { certificatesIn } from '../pem.ts'
import { createBearer, type Bearer } from './bearer.ts'
import { createCaMemory, isIssuedBy } from './issued-by.ts'

/** The client behind a connection. */
export interface Caller {
  readonly client: ClientEntry
  /** Of the certificate in DER, 32 bytes: what a token is bound to (RFC 8705 section 3.1). */
  readonly certificateSha256: Buffer
}

/** Finds the client behind a connection; undefined if its certificate names none, or more than one, or is trusted no more. */
export type Identify = (socket: Duplex) => Caller | undefined

/** Who may call. */
export interface CallerPolicy {
  readonly clients: readonly ClientEntry[]
  /** The CA certificates of the clients, PEM. */
  readonly clientCa: string
  readonly authorities: readonly X509Certificate[]
  readonly bearer: Bearer | undefined
}

/** Tells who makes a request. */
export interface Authentication {
  /** Is told of every connection before its handshake. */
  readonly connected: (socket: Socket) => void
  readonly identify: Identify
  /** The client that makes a request; a promise of it where a token has to be verified first. */
  readonly authenticate: (raw: IncomingMessage) => ClientEntry | undefined | Promise<ClientEntry | undefined>
  /** Puts another policy in the place of this one, for connections that are open too. */
  readonly replace: (policy: CallerPolicy) => void
  readonly policy: CallerPolicy
}

/** Only DNS names of subjectAltName count: a common name or a wildcard could name clients that it was not issued for. */
const EXACT = { subject: 'never', wildcards: false, partialWildcards: false } as const

/**
 * Makes the policy of a configuration.
 *
 * @param clientCa - the CA certificates of the clients, PEM.
 * @throws if the PEM does not parse, or holds none, as a file does that is just being written.
 */
export function createPolicy(
  { clients, authentication }: Pick<GatewayConfig, 'clients' | 'authentication'>,
  clientCa: string | Buffer,
): CallerPolicy {
  const { bearer } = authentication
  const pem = String(clientCa)
  const authorities = certificatesIn(pem)
  if (authorities.length === 0) throw new Error('internal error: no CA of clients')
  return { clients, clientCa: pem, authorities, bearer: bearer && createBearer(bearer) }
}

/** Makes the authentication by a policy; what it finds of a connection is remembered until there is another policy. */
export function createAuthentication(first: CallerPolicy): Authentication {
  let policy = first
  const cas = createCaMemory()
  let known = new WeakMap<Duplex, { caller: Caller | undefined; validUntilMs: number }>()

  const identify: Identify = (socket) => {
    const cached = known.get(socket) ?? judge(socket)
    // A connection may outlive the certificate that opened it.
    return Date.now() <= cached.validUntilMs ? cached.caller : undefined
  }
  const judge = (socket: Duplex) => {
    const certificate = socket instanceof TLSSocket ? trustedCertificate(socket) : undefined
    const client = certificate && clientOf(certificate, policy.clients)
    const judged =
      certificate && client
        ? { caller: callerOf(client, certificate), validUntilMs: certificate.validToDate.getTime() }
        : { caller: undefined, validUntilMs: 0 }
    known.set(socket, judged)
    return judged
  }

  const trustedCertificate = (socket: TLSSocket): X509Certificate | undefined => {
    const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
    const isOfThisCa = cas.of(socket) === policy.clientCa
    return certificate && (isOfThisCa || isIssuedBy(certificate, policy.authorities)) ? certificate : undefined
  }

  return {
    connected: (socket) => cas.add(socket, policy.clientCa),
    identify,
    authenticate: (raw) => {
      const caller = identify(raw.socket)
      if (caller === undefined || policy.bearer === undefined) return caller?.client
      const isTokenRight = policy.bearer.check(raw, caller)
      if (typeof isTokenRight === 'boolean') return isTokenRight ? caller.client : undefined
      return isTokenRight.then((isRight) => (isRight ? caller.client : undefined))
    },
    replace: (next) => {
      policy = next
      known = new WeakMap()
    },
    get policy() {
      return policy
    },
  }
}

/** The one client that a certificate names. */
export function clientOf(certificate: X509Certificate, clients: readonly ClientEntry[]): ClientEntry | undefined {
  const named = clients.filter(({ dnsName }) => certificate.checkHost(dnsName, EXACT) !== undefined)
  return named.length === 1 ? named[0] : undefined
}

function callerOf(client: ClientEntry, certificate: X509Certificate): Caller {
  return { client, certificateSha256: createHash('sha256').update(certificate.raw).digest() }
}
