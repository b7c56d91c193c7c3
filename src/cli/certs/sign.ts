/** What `certs csr`, `certs self-signed` and `certs issue-for` do. */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { fileProblem } from '../../config/files.ts'
import { loadConfig } from '../../config/config.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { isSigningKey } from '../../hsm/key-pairs.ts'
import { certificatesIn } from '../../pem.ts'
import { CommandError } from '../command-error.ts'
import { openKeys } from '../open-keys.ts'
import type { CsrOptions, IssueOptions, SelfSignedOptions } from './certs.ts'
import { keyPairOf, signingKeyOf, usageOf } from './key-of.ts'
import { expectFree, giveCertificate, giveRequest } from './output.ts'
import { refusal } from './refusal.ts'
import { parseSubject } from './subject.ts'
import { makeCertificate, makeRequest, type Sign, type Usage } from './x509.ts'

const DAY_MS = 86_400_000

/** Makes a request for a key that signs. */
export async function csrCommand(name: string, options: CsrOptions): Promise<void> {
  const { subject, config, key } = prepare(name, options)
  await withKeys(config, [key], async (publicKeyOf, signBy) => {
    const publicKey = publicKeyOf(key)
    const { dns: dnsNames, tls } = options
    const pem = await makeRequest({ subject, dnsNames, usage: usageOf(key, sidesOf(tls)), publicKey }, signBy(key))
    giveRequest(key, publicKey, pem, options)
  })
}

/** Makes a certificate that a key that signs issues for itself. */
export async function selfSignedCommand(name: string, options: SelfSignedOptions): Promise<void> {
  const { subject, config, key } = prepare(name, options)
  const { dns: dnsNames, tls, days, ca } = options
  if (ca && (key.purpose !== 'tls-sign' || dnsNames.length > 0)) {
    throw new CommandError(EX_USAGE, '--ca is for a tls-sign key that is kept for this alone, and goes without --dns')
  }
  const usage: Usage = ca ? { keyUsage: 'keyCertSign' } : usageOf(key, sidesOf(tls))
  await withKeys(config, [key], async (publicKeyOf, signBy) => {
    const publicKey = publicKeyOf(key)
    const own = { publicKey, sign: signBy(key) }
    const pem = await makeCertificate({ subject, dnsNames, usage, publicKey }, own, days, new Date())
    giveCertificate(key, publicKey, pem, options)
  })
}

/** Makes a certificate for a JWE key, issued by a key that signs; the HSM is seen to open what is sealed to the key first. */
export async function issueForCommand(name: string, options: IssueOptions): Promise<void> {
  expectFree(options.out)
  const subject = parseSubject(options.subject)
  const config = loadConfig(options.config, {}, 'keys')
  const key = keyPairOf(config, name)
  if (isSigningKey(key)) throw new CommandError(EX_NOPERM, `key ${key.id} signs, and so for itself: certs csr`)
  const by = signingKeyOf(config, options.by)
  if (by.purpose !== 'tls-sign')
    throw new CommandError(EX_NOPERM, `key ${by.id} is for ${by.purpose}, and signs no certificate of another key`)
  const now = new Date()
  const { days } = options
  const issuer = readIssuer(options.issuer, days, now)
  await withKeys(config, [key, by], async (publicKeyOf, signBy) => {
    const publicKey = publicKeyOf(key)
    if (!isOf(issuer, publicKeyOf(by))) {
      throw new CommandError(EX_DATAERR, `${options.issuer} is not the certificate of key ${by.id}@${by.version}`)
    }
    const signer = { publicKey: publicKeyOf(by), sign: signBy(by), certificate: issuer.raw }
    const pem = await makeCertificate(
      { subject, dnsNames: [], usage: usageOf(key, undefined), publicKey },
      signer,
      days,
      now,
    )
    giveCertificate(key, publicKey, pem, options)
  })
}

/** What can be wrong with the command line and the configuration, before the HSM is asked. */
function prepare(name: string, { subject, config: path, out }: CsrOptions) {
  expectFree(out)
  const parts = parseSubject(subject)
  const config = loadConfig(path, {}, 'keys')
  return { subject: parts, config, key: signingKeyOf(config, name) }
}

function sidesOf(tls: CsrOptions['tls']): NonNullable<Usage['tls']> {
  return tls === 'both' ? ['client', 'server'] : [tls]
}

/** Opens the HSM for these keys and lends them. */
async function withKeys(
  config: Config,
  keys: readonly KeyEntry[],
  work: (publicKeyOf: (key: KeyEntry) => PublicKey, signBy: (key: KeyEntry) => Sign) => Promise<void>,
): Promise<void> {
  const { open } = await openKeys(config, keys)
  try {
    for (const key of keys) {
      const reason = open.unavailable.get(key)?.reason
      if (reason === undefined) continue
      throw new CommandError(EX_UNAVAILABLE, `key ${key.id}: this token cannot serve it: ${reason}`)
    }
    await work(
      (key) => open.publicKeys.get(key)!,
      (key) => (message) => open.hsm.sign(key, message),
    )
  } catch (error) {
    throw error instanceof ServiceError ? refusal(error) : error
  } finally {
    open.close()
  }
}

/** The certificate of whoever issues: an authority's, and valid for as long as what it issues. */
function readIssuer(path: string, days: number, now: Date): X509Certificate {
  const problem = fileProblem(path)
  if (problem) throw new CommandError(EX_NOINPUT, `${path} ${problem}`)
  const certificate = firstCertificate(readFileSync(path, 'latin1'))
  if (certificate === undefined) throw new CommandError(EX_DATAERR, `${path} holds no certificate`)
  if (!certificate.ca) {
    throw new CommandError(
      EX_DATAERR,
      `${path} is no authority's certificate, and nobody would accept what it issues: make one with certs self-signed --ca`,
    )
  }
  const left = Math.floor((certificate.validToDate.getTime() - now.getTime()) / DAY_MS)
  if (certificate.validFromDate > now || left < 1) throw new CommandError(EX_DATAERR, `${path} is not valid now`)
  if (days > left) {
    throw new CommandError(EX_USAGE, `${path} is valid for ${left} days more: --days must not be more than that`)
  }
  return certificate
}

function firstCertificate(pem: string): X509Certificate | undefined {
  try {
    return certificatesIn(pem)[0]
  } catch {
    return undefined
  }
}

function isOf({ publicKey }: X509Certificate, own: PublicKey): boolean {
  const members = publicKey.export({ format: 'jwk' })
  return Object.entries(own).every(([name, value]) => members[name] === value)
}
