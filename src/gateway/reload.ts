/** Takes over what may change while the service runs: clients, the check of their tokens, what is known of keys, and the TLS files. */
import { readFileSync } from 'node:fs'
import type { Server } from 'node:https'
import type { GatewayConfig } from '../config/schema.ts'
import { certificatesIn } from '../pem.ts'
import type { LiveConfig } from '../supervisor/messages.ts'
import { createPolicy, type Authentication } from './authentication.ts'
import type { Expiries } from './expiry-metrics.ts'
import type { LiveKeys } from './live-keys.ts'
import type { Metrics } from './metrics.ts'
import { tlsOptions, type TlsFiles } from './server-options.ts'

/** Reads the files of the API listener, as they are now. */
export function readTlsFiles(api: GatewayConfig['listeners']['api']): TlsFiles {
  return {
    key: readFileSync(api.privateKey),
    cert: readFileSync(api.certificate),
    ca: readFileSync(api.clientCa),
  }
}

/**
 * When the server's certificate or one of its chain, the first of the clients' CAs and the first of the limit store's expire.
 *
 * @param storeCaFile - read anew for each connection to the store: one that cannot be read now is that connection's trouble.
 * @throws if one of the TLS files does not parse, or holds no certificate.
 */
export function expiriesOf({ cert, ca }: TlsFiles, storeCaFile: string | undefined): Expiries {
  const storeEnd = storeCaFile === undefined ? undefined : endIfReadable(storeCaFile)
  return {
    server: firstEndIn(String(cert)),
    'client-ca': firstEndIn(String(ca)),
    ...(storeEnd !== undefined && { 'limit-store-ca': storeEnd }),
  }
}

function firstEndIn(pem: string): number {
  const ends = certificatesIn(pem).map(({ validToDate }) => validToDate.getTime())
  if (ends.length === 0) throw new Error('internal error: no certificate')
  return Math.min(...ends)
}

function endIfReadable(path: string): number | undefined {
  try {
    return firstEndIn(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * Makes the take-over, of all or of nothing: whatever can fail comes before the first thing that is changed.
 *
 * New connections are made by the new files; on open ones whoever is asked who he is next is judged by the new clients and
 * the new CA, and what is under way ends as it began.
 */
export function createReload(deps: {
  readonly server: Server
  readonly config: Pick<GatewayConfig, 'listeners' | 'limits'>
  readonly authentication: Authentication
  readonly keys: Pick<LiveKeys, 'replace'>
  readonly metrics: Pick<Metrics, 'expiries' | 'reload'>
}): (live: LiveConfig) => boolean {
  const { server, config, authentication, keys, metrics } = deps
  return (live) => {
    try {
      const tls = readTlsFiles(config.listeners.api)
      const policy = createPolicy(live, tls.ca)
      const expiries = expiriesOf(tls, config.limits.store?.caFile)
      // A key that is not the certificate's throws, and the context in use stays.
      server.setSecureContext(tlsOptions(tls, config.limits))
      authentication.replace(policy)
      keys.replace(live)
      metrics.expiries(expiries)
      metrics.reload('applied')
      return true
    } catch {
      return false
    }
  }
}
