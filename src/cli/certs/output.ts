/** What comes of a certificate command: the PEM to a new file or to standard output, and what a person compares to standard error. */
import { createHash, X509Certificate } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import type { KeyEntry } from '../../config/schema.ts'
import { EX_CANTCREAT, EX_IOERR } from '../../exit-codes.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { kidOf } from '../../hsm/key-catalogue.ts'
import { isJweKey } from '../../hsm/key-pairs.ts'
import { jwkThumbprint } from '../../key-block/kcv.ts'
import { CommandError } from '../command-error.ts'
import { oneLine } from './printable.ts'

/** Where it goes. */
export interface Output {
  readonly out?: string
  readonly json?: boolean
}

/** @throws CommandError if something is there already; asked before the HSM is. */
export function expectFree(path: string | undefined): void {
  if (path !== undefined && existsSync(path)) throw overwrites(path)
}

/** Gives out a request. */
export function giveRequest(key: KeyEntry, publicKey: PublicKey, pem: string, output: Output): void {
  const facts = factsOf(key, publicKey)
  give(pem, output, facts, [
    `request of key ${key.id}@${key.version}, signed by it in the HSM`,
    `public key (RFC 7638 thumbprint): ${facts.publicKeyThumbprint}`,
  ])
}

/** Gives out a certificate. */
export function giveCertificate(key: KeyEntry, publicKey: PublicKey, pem: string, output: Output): void {
  const certificate = new X509Certificate(pem)
  const thumbprint = certificate.fingerprint256
  const facts = {
    ...factsOf(key, publicKey),
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    serialNumber: certificate.serialNumber,
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    thumbprint,
    'x5t#S256': createHash('sha256').update(certificate.raw).digest('base64url'),
  }
  give(pem, output, facts, [
    `certificate of key ${key.id}@${key.version} for ${facts.subject}, issued by ${facts.issuer}`,
    `valid until ${facts.notAfter}`,
    `thumbprint (SHA-256), to be compared by voice or letter: ${thumbprint}`,
  ])
}

function factsOf(key: KeyEntry, publicKey: PublicKey) {
  return {
    key: { id: key.id, version: key.version, kcv: key.kcv.toUpperCase() },
    ...(isJweKey(key) && { kid: kidOf(key, publicKey) }),
    publicKeyThumbprint: jwkThumbprint(publicKey),
  }
}

function give(pem: string, { out, json }: Output, facts: object, lines: readonly string[]): void {
  if (out !== undefined) writeNew(out, pem)
  if (json) process.stdout.write(`${JSON.stringify({ ...facts, ...(out === undefined ? { pem } : { file: out }) })}\n`)
  else if (out === undefined) process.stdout.write(pem)
  process.stderr.write(
    [...lines, ...(out === undefined ? [] : [`written to ${out}`])].map((line) => `${line}\n`).join(''),
  )
}

/** Writes a file that is not there; anyone may read it. */
export function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o644 })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw code === 'EEXIST' ? overwrites(path) : new CommandError(EX_IOERR, `${path} cannot be written (${code ?? ''})`)
  }
}

function overwrites(path: string): CommandError {
  return new CommandError(EX_CANTCREAT, `${path} is there already, and is not overwritten`)
}
