/** The options of both listeners' Fastify instances, each limit explicit (M-16). */
import { constants, randomUUID } from 'node:crypto'
import type { ServerOptions } from 'node:https'
import type { GatewayConfig } from '../config/schema.ts'

/** The largest body of a route that works on one card: a JWE of 8192 characters and what stands beside it, with room. */
export const BODY_LIMIT_BYTES = 64 * 1024
/** The largest body of a batch: 10 000 items of 250 bytes, which hold the longest id, block and card. */
export const BATCH_BODY_LIMIT_BYTES = 2_500_000
const HEADER_LIMIT_BYTES = 8 * 1024
/** Long, because a client that meets a connection just being closed cannot tell whether its POST was carried out. */
const KEEP_ALIVE_MS = 60_000

/** The key, the certificate and the clients' CA, as PEM. */
export interface TlsFiles {
  readonly key: string | Buffer
  readonly cert: string | Buffer
  readonly ca: string | Buffer
}

/** What both listeners share. */
export function fastifyOptions(limits: GatewayConfig['limits']) {
  return {
    logger: false as const,
    trustProxy: false,
    // Never a client's header: an id that two requests share, or that says something, is no id.
    requestIdHeader: false as const,
    genReqId: () => randomUUID(),
    bodyLimit: BODY_LIMIT_BYTES,
    // Time to receive a whole request; node's default in Fastify is none.
    requestTimeout: limits.requestMs,
    // Silence on a socket: reading a request, then waiting in the queue and for the HSM, each at its longest.
    connectionTimeout: limits.requestMs + 2 * limits.hsmMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // While closing: idle connections go at once; what still arrives on a busy one is answered, with connection: close.
    forceCloseConnections: 'idle' as const,
    return503OnClosing: false,
    exposeHeadRoutes: false,
    ajv: {
      customOptions: {
        // A PAN of 19 digits must not become a number, and nothing that was sent may be dropped or filled in.
        coerceTypes: false as const,
        removeAdditional: false as const,
        useDefaults: false,
        allErrors: false,
      },
    },
  }
}

/** What both node servers share. */
export function nodeOptions(limits: GatewayConfig['limits']) {
  return {
    maxHeaderSize: HEADER_LIMIT_BYTES,
    headersTimeout: limits.requestMs,
    // Node looks at the two timeouts every 30 seconds unless told.
    connectionsCheckingInterval: Math.max(1, Math.min(1000, Math.floor(limits.requestMs / 2))),
    // Node would answer on its own and in another shape; the entry check asks for the header.
    requireHostHeader: false,
  }
}

/** The TLS of the API listener: 1.3, and a client certificate by the configured CA. */
export function tlsOptions(tls: TlsFiles, limits: GatewayConfig['limits']): ServerOptions {
  return {
    ...nodeOptions(limits),
    ...tls,
    minVersion: 'TLSv1.3',
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: limits.requestMs,
    // No resumption: a resumed session would not look at the client's certificate again.
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}
