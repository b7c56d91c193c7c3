/** Checks the files that a configuration names: that they are there, hold what they should, and that secrets are kept. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto'
import { closeSync, openSync, readFileSync, statSync, type Stats } from 'node:fs'
import type { Report } from './problems.ts'
import type { Config } from './schema.ts'

/** Checks the files of every token; a PIN file is looked at from outside and never read here. */
export function checkHsmFiles({ tokens }: Config['hsm'], report: Report): void {
  tokens.forEach(({ module, pinFile }, i) => {
    const place = ['hsm', 'tokens', i]
    const problem = module.includes('/') ? fileProblem(module) : undefined
    if (problem) report([...place, 'module'], problem)
    for (const problem of secretFileProblems(pinFile)) report([...place, 'pinFile'], problem)
  })
}

/** Checks the certificates and the private key of the API listener. */
export function checkListenerFiles({ api }: Config['listeners'], report: Report, now: Date): void {
  const at = (member: string, sentence: string): void => report(['listeners', 'api', member], sentence)
  const chain = readCertificates(api.certificate)
  const own = typeof chain === 'string' ? undefined : chain[0]
  if (typeof chain === 'string') at('certificate', chain)
  else if (own && own.validToDate <= now) at('certificate', 'has expired')

  const authorities = readCertificates(api.clientCa)
  if (typeof authorities === 'string') at('clientCa', authorities)
  else if (!authorities.every(({ ca }) => ca)) at('clientCa', 'holds a certificate that is not of a CA')

  const problems = secretFileProblems(api.privateKey)
  for (const problem of problems) at('privateKey', problem)
  // What is not kept secret is not read either: it has to be replaced.
  if (problems.length > 0) return
  const key = readPrivateKey(api.privateKey)
  if (typeof key === 'string') at('privateKey', key)
  else if (own && !own.checkPrivateKey(key)) at('privateKey', 'does not belong to the certificate')
}

/** Why a file cannot serve as a secret's; one that others can read or replace holds no secret. */
export function secretFileProblems(path: string): string[] {
  const unreadable = fileProblem(path)
  if (unreadable) return [unreadable]
  const { uid, mode, size } = statSync(path)
  const problems: string[] = []
  if (uid !== process.getuid?.() && uid !== 0) problems.push('must belong to the user who runs pinbridge, or to root')
  if ((mode & 0o077) !== 0) problems.push(`must be closed to group and others, and its mode is ${modeText(mode)}`)
  if (size === 0) problems.push('is empty')
  return problems
}

/** Writes the permission bits of a mode as four octal digits. */
export function modeText(mode: number): string {
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

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** All certificates of a PEM file, in their order, or why there are none. */
function readCertificates(path: string): X509Certificate[] | string {
  const problem = fileProblem(path)
  if (problem) return problem
  try {
    const blocks = readFileSync(path, 'latin1').match(PEM_CERTIFICATE) ?? []
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block))
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
