/** Takes over what may change while the service runs: clients, the check of their tokens, what is known of keys, and the TLS files. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Server } from 'node:https'
import type { GatewayConfig } from '../config/schema.ts'
import { certificatesIn } from '../pem.ts'
import type { LiveConfig } from '../supervisor/messages.ts'
import { createPolicy, type Authentication } from './authentication.ts'
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

/** When the server's certificate and the first of the clients' CAs expire, in milliseconds since 1970. */
export function expiriesOf({ cert, ca }: TlsFiles): { readonly server: number; readonly 'client-ca': number } {
  const authorities = certificatesIn(String(ca)).map(({ validToDate }) => validToDate.getTime())
  return { server: new X509Certificate(cert).validToDate.getTime(), 'client-ca': Math.min(...authorities) }
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
      const expiries = expiriesOf(tls)
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
