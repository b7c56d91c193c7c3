/** Which connections outlive the CA that they were made under. */
import type { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'

/** Remembers of each connection under which CA file OpenSSL looked at its certificate. */
export interface CaMemory {
  /** A connection is there, and its handshake will be made under this CA file. */
  readonly add: (socket: Socket, clientCa: string) => void
  readonly of: (socket: Socket) => string | undefined
}

/**
 * Makes the memory. A connection goes by the addresses and ports of its two ends: the socket that TLS makes of it is another
 * object, and is there only once its handshake is over.
 */
export function createCaMemory(): CaMemory {
  const made = new Map<string, string>()
  return {
    add: (socket, clientCa) => {
      const name = nameOf(socket)
      made.set(name, clientCa)
      socket.once('close', () => made.delete(name))
    },
    of: (socket) => made.get(nameOf(socket)),
  }
}

/** Our own end too: a peer may open two connections from one port to two of our addresses, one of them under another CA. */
function nameOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

/**
 * Whether one of these CAs itself issued a certificate, by names (RFC 5280 section 6.1.3, a) and signature.
 *
 * For a certificate whose chain OpenSSL has verified before; the intermediates that came with it are not to be had from node.
 */
export function isIssuedBy(certificate: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  return authorities.some((ca) => ca.ca && certificate.checkIssued(ca) && certificate.verify(ca.publicKey))
}
