/** The request and the certificate that a new JWE key signs while it is made: what is asked for, and the files that come of it. */
import { X509Certificate } from 'node:crypto'
import { rmSync } from 'node:fs'
import type { KeyEntry } from '../../config/schema.ts'
import { EX_USAGE } from '../../exit-codes.ts'
import { isJweKey, isSigningKey } from '../../hsm/key-pairs.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { generateCertifiedPair } from '../certs/birth.ts'
import { expectFree, writeNew } from '../certs/output.ts'
import { parseSubject } from '../certs/subject.ts'
import { CommandError } from '../command-error.ts'
import type { OpenedToken } from '../open-token.ts'

/** What `keys generate` is told of them. */
export interface CertifiedOptions {
  readonly csr?: string
  readonly certificate?: string
  readonly subject?: string
  readonly days?: number
}

/** How the pair is made, and what is written of it. */
export interface Certified {
  /** Where its entry says it was made, if not in the token. */
  readonly origin?: KeyEntry['origin']
  makePair(opened: OpenedToken, key: KeyEntry): Promise<PublicKey>
  /** Writes the files; what it returns takes them away again. */
  write(): () => void
  /** What a person compares, a line each. */
  notes(): string[]
}

const DAYS = 365

/**
 * What is to be made besides the key; undefined if nothing is.
 *
 * @throws CommandError if it does not go together, or a file is there already.
 */
export function certifiedOf(
  { purpose }: Pick<KeyEntry, 'purpose'>,
  { csr, certificate, subject, days = DAYS }: CertifiedOptions,
): Certified | undefined {
  const files = [csr, certificate].filter((file) => file !== undefined)
  if (files.length === 0) {
    if (subject === undefined) return undefined
    throw new CommandError(EX_USAGE, '--subject is for --csr or --certificate')
  }
  if (subject === undefined) throw new CommandError(EX_USAGE, '--csr and --certificate need --subject')
  if (!isJweKey({ purpose })) {
    throw new CommandError(
      EX_USAGE,
      isSigningKey({ purpose })
        ? 'a key that signs makes its request at any time: generate it, and then use "pinbridge certs csr"'
        : `--csr and --certificate are for JWE keys: a ${purpose} key is one secret value, which nobody certifies`,
    )
  }
  files.forEach(expectFree)
  const parts = parseSubject(subject)
  let signed = { request: '', certificate: '' }
  return {
    makePair: async (opened, key) => {
      const { publicKey, ...made } = await generateCertifiedPair(opened, key, { subject: parts, days })
      signed = made
      return publicKey
    },
    write: () => {
      const written: string[] = []
      const takeBack = (): void => written.forEach((file) => rmSync(file, { force: true }))
      try {
        for (const [file, pem] of [
          [csr, signed.request],
          [certificate, signed.certificate],
        ] as const) {
          if (file === undefined) continue
          writeNew(file, pem)
          written.push(file)
        }
      } catch (error) {
        takeBack()
        throw error
      }
      return takeBack
    },
    notes: () => [
      `Written: ${files.join(', ')}. The key signed this once, and signs nothing from now on.`,
      ...(certificate === undefined
        ? []
        : [`Thumbprint of the certificate (SHA-256): ${new X509Certificate(signed.certificate).fingerprint256}`]),
    ],
  }
}
