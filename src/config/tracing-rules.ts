/** The rules of tracing: spans leave this machine enciphered, and to nobody but the collector. */
import type { Report } from './problems.ts'
import type { Config } from './schema.ts'

/** The host part of a URL on this machine. */
const LOOPBACK = /^(?:127(?:\.[0-9]{1,3}){3}|\[::1\]|localhost)$/

/** Checks where traces go. */
export function checkTracing({ tracing }: Config, report: Report): void {
  if (tracing === undefined) return
  const { endpoint, caFile, certificateFile, privateKeyFile } = tracing
  const url = URL.parse(endpoint)
  if (url === null) report(['tracing', 'endpoint'], 'has an address or a port that cannot be')
  const isClear = endpoint.startsWith('http:')
  if (isClear && url !== null && !LOOPBACK.test(url.hostname)) {
    report(['tracing', 'endpoint'], 'must begin with https: unless the collector is on this machine')
  }
  if ((certificateFile === undefined) !== (privateKeyFile === undefined)) {
    report(['tracing'], 'needs certificateFile and privateKeyFile, or neither')
  }
  for (const [member, file] of Object.entries({ caFile, certificateFile, privateKeyFile })) {
    if (isClear && file !== undefined) report(['tracing', member], 'belongs to an endpoint that begins with https:')
  }
}
