/** A server over mTLS in the test's own process, which answers what the test says: for what the service cannot be made to do. */
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import type { CertificateAndKey, DevelopmentCertificates } from '../../src/cli/development/certificates.ts'

/** A request that came in whole. */
export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A running server. */
export interface TlsServer {
  readonly url: string
  readonly requests: readonly SeenRequest[]
  /** Connections that passed their handshake. */
  readonly connections: () => number
  /** Settles when no connection is open. */
  readonly idle: () => Promise<void>
  readonly close: () => Promise<void>
}

/** Answers the request with this number, from 0 on. */
export type Answering = (answer: ServerResponse, number: number, request: SeenRequest) => void

/** Starts a server on a free port of 127.0.0.1. */
export async function startTlsServer(
  { ca, server }: Pick<DevelopmentCertificates, 'ca'> & { readonly server: CertificateAndKey },
  answering: Answering,
): Promise<TlsServer> {
  const requests: SeenRequest[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  const listening = createTlsServer(
    {
      ca,
      cert: server.certificate,
      key: server.privateKey,
      requestCert: true,
      rejectUnauthorized: true,
      minVersion: 'TLSv1.3',
    },
    (incoming, answer) => void seen(incoming, answer).catch(() => {}),
  )
  // Idle connections are the client's to close.
  listening.keepAliveTimeout = 0
  const seen = async (incoming: IncomingMessage, answer: ServerResponse): Promise<void> => {
    const { method = '', url = '', headers } = incoming
    const request = { method, path: url, headers, body: await text(incoming) }
    requests.push(request)
    answering(answer, requests.length - 1, request)
  }
  listening.on('secureConnection', (socket: Socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve))
  return {
    url: `https://127.0.0.1:${(listening.address() as AddressInfo).port}`,
    requests,
    connections: () => connections,
    idle: async () => {
      await Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))))
    },
    close: async () => {
      const closed = new Promise((resolve) => listening.close(resolve))
      listening.closeAllConnections()
      await closed
    },
  }
}

/** A port of 127.0.0.1 that nobody listens on. */
export async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
