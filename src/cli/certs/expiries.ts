/** What expires when: certificates that the configuration names, keys of callers' tokens, and keys of the catalogue. */
import { readFileSync } from 'node:fs'
import { fileProblem, readCertificates } from '../../config/files.ts'
import type { Config } from '../../config/schema.ts'
import { oneLine, printable } from './printable.ts'

/** One thing that expires, or a file that should say so and cannot be read. */
export interface Expiry {
  /** What it is to the service, such as "server certificate". */
  readonly what: string
  /** Its own name: a subject, a kid, or a key's id and version. */
  readonly name: string
  /** Where it stands, if in a file of its own. */
  readonly file?: string
  /** From when on it is not to be used. */
  readonly expires?: Date
  /** Whole days until then; below zero once it has expired. */
  readonly daysLeft?: number
  /** Why nothing is known of it. */
  readonly problem?: string
}

const DAY_MS = 86_400_000

/**
 * Everything that a configuration names and that expires, the first to expire first; what cannot be read comes before.
 *
 * @param config - with absolute paths, as `loadConfig` gives it; the files need not be there.
 * @param files - more certificates, as PEM files.
 */
export function expiriesOf(config: Config, now: Date, files: readonly string[] = []): Expiry[] {
  const { api } = config.listeners
  const caFile = config.limits.store?.caFile
  const { tracing } = config
  const jwks = config.authentication.bearer?.jwks
  const found: Found[] = [
    ...certificatesOf(api.certificate, (i) => (i === 0 ? 'server certificate' : "server certificate's chain")),
    ...certificatesOf(api.clientCa, () => 'authority of clients'),
    ...(caFile === undefined ? [] : certificatesOf(caFile, () => 'authority of the limit store')),
    ...(tracing?.caFile === undefined ? [] : certificatesOf(tracing.caFile, () => 'authority of the trace collector')),
    ...(tracing?.certificateFile === undefined
      ? []
      : certificatesOf(tracing.certificateFile, () => 'certificate for the trace collector')),
    ...(jwks === undefined ? [] : tokenKeysOf(jwks)),
    ...keysOf(config),
    ...files.flatMap((file) => certificatesOf(file, () => 'certificate')),
  ]
  return found.map((each) => withDaysLeft(each, now)).sort((a, b) => timeOf(a) - timeOf(b))
}

type Found = Omit<Expiry, 'daysLeft'>

function certificatesOf(file: string, whatOf: (place: number) => string): Found[] {
  const certificates = readCertificates(file)
  if (typeof certificates === 'string') return [{ what: whatOf(0), name: '', file, problem: certificates }]
  return certificates.map(({ subject, validToDate }, i) => {
    return { what: whatOf(i), name: oneLine(subject), file, expires: validToDate }
  })
}

/** `exp` is no member of RFC 7517, and some issuers write it all the same, in seconds as in RFC 7519. */
function tokenKeysOf(file: string): Found[] {
  const what = "key of callers' tokens"
  const problem = fileProblem(file)
  if (problem) return [{ what, name: '', file, problem }]
  let keys: unknown
  try {
    ;({ keys } = JSON.parse(readFileSync(file, 'utf8')) as { keys?: unknown })
  } catch {
    // It is told below.
  }
  if (!Array.isArray(keys)) return [{ what, name: '', file, problem: 'is not a JWK Set' }]
  return (keys as unknown[]).flatMap((key) => {
    const { kid, exp } = (key ?? {}) as { readonly kid?: unknown; readonly exp?: unknown }
    if (typeof exp !== 'number' || Number.isNaN(new Date(exp * 1000).getTime())) return []
    return [{ what, name: typeof kid === 'string' ? printable(kid) : '', file, expires: new Date(exp * 1000) }]
  })
}

/** A key may be used on its last day, which ends at midnight UTC. */
function keysOf({ keys }: Config): Found[] {
  return keys.flatMap(({ id, version, state, purpose, expires }) => {
    if (expires === undefined || state === 'retired') return []
    return [{ what: `${purpose} key`, name: `${id}@${version}`, expires: new Date(Date.parse(expires) + DAY_MS) }]
  })
}

function withDaysLeft(found: Found, now: Date): Expiry {
  if (found.expires === undefined) return found
  return { ...found, daysLeft: Math.floor((found.expires.getTime() - now.getTime()) / DAY_MS) }
}

function timeOf({ expires }: Expiry): number {
  return expires?.getTime() ?? -Infinity
}
