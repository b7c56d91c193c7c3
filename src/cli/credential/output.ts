/** What comes of a credential command: the object to a new file or to standard output, and what a person compares to standard error. */
import type { KeyEntry } from '../../config/schema.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { jwkThumbprint } from '../../key-block/kcv.ts'
import { writeNew } from '../certs/output.ts'
import { fullName } from '../keys/named-key.ts'
import type { Assertion, Registration } from './client-data.ts'

/** Where it goes, and under which name the credential is known. */
export interface OutputOptions {
  readonly credId?: string
  readonly out?: string
  readonly json?: boolean
}

/** The name of a credential: as given, or the thumbprint of its public key. */
export function credIdOf(publicKey: PublicKey, { credId }: OutputOptions): string {
  return credId ?? jwkThumbprint(publicKey)
}

/** The object as a file has it: JSON, a member a line. */
export function textOf(made: Registration | Assertion): string {
  return `${JSON.stringify(made, undefined, 2)}\n`
}

/** Gives out what was made; `isWritten` says that the file is there already. */
export function give(
  key: KeyEntry,
  publicKey: PublicKey,
  made: Registration | Assertion,
  { out, json }: OutputOptions,
  isWritten = false,
): void {
  if (out !== undefined && !isWritten) writeNew(out, textOf(made))
  const { id, version, kcv } = key
  const facts = { key: { id, version, kcv: kcv.toUpperCase() }, publicKeyThumbprint: jwkThumbprint(publicKey) }
  if (json) {
    const rest = out === undefined ? { credential: made } : { file: out }
    process.stdout.write(`${JSON.stringify({ ...facts, ...rest })}\n`)
  } else if (out === undefined) process.stdout.write(textOf(made))
  process.stderr.write(
    `Signed by ${fullName(key)} in the HSM; its public key has the thumbprint ${facts.publicKeyThumbprint} (RFC 7638, SHA-256).\n` +
      (out === undefined ? '' : `Written to ${out}.\n`),
  )
}
