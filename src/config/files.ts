/** Checks the files that a configuration names: that they are there, hold what they should, and that secrets are kept (M-23). */
import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import { closeSync, openSync, readFileSync, statSync, type Stats } from 'node:fs'
import { certificatesIn } from '../pem.ts'
import type { Report } from './problems.ts'
import type { Config, TracingConfig } from './schema.ts'

/**
 * Checks the files of every token; a PIN file is looked at from outside and never read here.
 *
 * @param vaultUid - whom the vaults become; undefined if they run as this process does. Likewise `gatewayUid` below.
 */
export function checkHsmFiles({ tokens }: Config['hsm'], report: Report, vaultUid?: number): void {
  tokens.forEach(({ module, pinFile }, i) => {
    const place = ['hsm', 'tokens', i]
    const problem = module.includes('/') ? fileProblem(module) : undefined
    if (problem) report([...place, 'module'], problem)
    for (const problem of secretFileProblems(pinFile, vaultUid)) report([...place, 'pinFile'], problem)
  })
}

/** Checks the certificates and the private key of the API listener. */
export function checkListenerFiles({ api }: Config['listeners'], report: Report, now: Date, gatewayUid?: number): void {
  const at = (member: string, sentence: string): void => report(['listeners', 'api', member], sentence)
  const chain = readCertificates(api.certificate)
  const own = typeof chain === 'string' ? undefined : chain[0]
  if (typeof chain === 'string') at('certificate', chain)
  else if (own && own.validToDate <= now) at('certificate', 'has expired')

  const authorities = readCertificates(api.clientCa)
  if (typeof authorities === 'string') at('clientCa', authorities)
  else {
    if (!authorities.every(({ ca }) => ca)) at('clientCa', 'holds a certificate that is not of a CA')
    const problem = writableProblem(api.clientCa)
    if (problem) at('clientCa', problem)
  }

  const problems = secretFileProblems(api.privateKey, gatewayUid)
  for (const problem of problems) at('privateKey', problem)
  // What is not kept secret is not read either: it has to be replaced.
  if (problems.length > 0) return
  const key = readPrivateKey(api.privateKey)
  if (typeof key === 'string') at('privateKey', key)
  else if (own && !own.checkPrivateKey(key)) at('privateKey', 'does not belong to the certificate')
}

/** Checks the files that the gateway opens its limit store with; the password is looked at from outside and never read here. */
export function checkLimitFiles({ store }: Config['limits'], report: Report, gatewayUid?: number): void {
  if (store?.passwordFile !== undefined) {
    for (const problem of secretFileProblems(store.passwordFile, gatewayUid))
      report(['limits', 'store', 'passwordFile'], problem)
  }
  if (store?.caFile === undefined) return
  const authorities = readCertificates(store.caFile)
  const problem = typeof authorities === 'string' ? authorities : writableProblem(store.caFile)
  if (problem) report(['limits', 'store', 'caFile'], problem)
}

/** Checks the files that the gateway reaches its trace collector with. */
export function checkTracingFiles(
  { caFile, certificateFile, privateKeyFile }: TracingConfig,
  report: Report,
  gatewayUid?: number,
): void {
  const at = (member: string, sentence: string | undefined): void => {
    if (sentence !== undefined) report(['tracing', member], sentence)
  }
  if (caFile !== undefined) {
    const authorities = readCertificates(caFile)
    at('caFile', typeof authorities === 'string' ? authorities : writableProblem(caFile))
  }
  if (certificateFile === undefined || privateKeyFile === undefined) return
  const chain = readCertificates(certificateFile)
  if (typeof chain === 'string') at('certificateFile', chain)
  const problems = secretFileProblems(privateKeyFile, gatewayUid)
  for (const problem of problems) at('privateKeyFile', problem)
  if (problems.length > 0) return
  const key = readPrivateKey(privateKeyFile)
  if (typeof key === 'string') at('privateKeyFile', key)
  else if (typeof chain !== 'string' && !chain[0]?.checkPrivateKey(key)) {
    at('privateKeyFile', 'does not belong to the certificate')
  }
}

/** Checks the directory that the gateway writes the record into: whoever else may write there can take records away. */
export function checkAuditDirectory(
  { directory }: NonNullable<Config['audit']>,
  report: Report,
  gatewayUid = process.getuid?.(),
): void {
  const at = (sentence: string): void => report(['audit', 'directory'], sentence)
  const stats = tryStat(directory)
  if (typeof stats === 'string') return at(stats)
  if (!stats.isDirectory()) return at('is not a directory')
  if (stats.uid !== gatewayUid) at('must belong to the user who writes it')
  if ((stats.mode & 0o077) !== 0) at(`must be closed to group and others, and its mode is ${modeText(stats.mode)}`)
}

/**
 * Why a file cannot serve as a secret's; one that others can read or replace holds no secret.
 *
 * @param readerUid - who is to read it, if that is another than this process.
 */
export function secretFileProblems(path: string, readerUid?: number): string[] {
  const unreadable = fileProblem(path)
  if (unreadable) return [unreadable]
  const stats = statSync(path)
  const { uid, mode, size } = stats
  const problems: string[] = []
  if (readerUid !== undefined) {
    if (uid !== readerUid) problems.push('must belong to the user of processes.users who reads it')
  } else if (uid !== process.getuid?.() && uid !== 0) {
    problems.push('must belong to the user who runs pinbridge, or to root')
  }
  const closed = readerUid === undefined && isOfOwnGroup(stats) ? 0o037 : 0o077
  if ((mode & closed) !== 0) problems.push(`must be closed to group and others, and its mode is ${modeText(mode)}`)
  if (size === 0) problems.push('is empty')
  return problems
}

/**
 * Whether a file is root's and of the group that is this user's own, by its number: by custom nobody else is in that, so that it may read.
 * A kubelet mounts secrets so, with root, the pod's `fsGroup` and 0440, whatever mode it was asked for.
 */
function isOfOwnGroup({ uid, gid }: Stats): boolean {
  const own = process.geteuid?.()
  return uid === 0 && own !== 0 && gid === own && process.getegid?.() === own
}

/** Why a file that makes policy cannot serve: whoever may write it makes the policy, so that only its owner may. */
export function writableProblem(path: string): string | undefined {
  const { mode } = statSync(path)
  return (mode & 0o022) === 0 ? undefined : `must not be writable by group or others, and its mode is ${modeText(mode)}`
}

/** Writes the permission bits of a mode as four octal digits. */
function modeText(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

/** Why a path is not a regular file that this user can read; undefined if it is one. */
export function fileProblem(path: string): string | undefined {
  // Links are followed: an orchestrator mounts secrets as links.
  const stats = tryStat(path)
  if (typeof stats === 'string') return stats
  if (!stats.isFile()) return 'is not a regular file'
  try {
    // Opened and closed: access(2) would ask for the real user, who may be another.
    closeSync(openSync(path, 'r'))
    return undefined
  } catch {
    return 'cannot be read by this user'
  }
}

function tryStat(path: string): Stats | string {
  try {
    return statSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ENOTDIR' ? 'does not exist' : 'cannot be looked at by this user'
  }
}

/** All certificates of a PEM file, in their order, or why there are none. */
export function readCertificates(path: string): X509Certificate[] | string {
  const problem = fileProblem(path)
  if (problem) return problem
  try {
    const certificates = certificatesIn(readFileSync(path, 'latin1'))
    if (certificates.length > 0) return certificates
  } catch {
    // What does not parse is not a certificate; OpenSSL's reason would only repeat its bytes.
  }
  return 'is not an X.509 certificate in PEM'
}

function readPrivateKey(path: string): KeyObject | string {
  let pem: Buffer | undefined
  try {
    pem = readFileSync(path)
    return createPrivateKey({ key: pem, format: 'pem' })
  } catch {
    return 'is not a private key in PEM without a passphrase'
  } finally {
    pem?.fill(0)
  }
}
