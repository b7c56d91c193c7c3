/** `pinbridge ceremony verify`: whether a transcript is what the HSM key signed. */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { loadConfig } from '../../config/config.ts'
import { EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { readPublicKey } from '../../hsm/pkcs11/find-key.ts'
import { publicKeyKcv } from '../../key-block/kcv.ts'
import { CommandError } from '../command-error.ts'
import { withToken } from '../open-token.ts'
import { isTranscriptOf, parseTranscript, type SignerName } from './transcript.ts'

/** Options of the command. */
export interface VerifyOptions {
  readonly config?: string
  readonly publicKey?: string
  readonly json?: boolean
}

/** Verifies and prints; exit code 65 unless the signature is right. */
export async function verifyTranscript(path: string, options: VerifyOptions): Promise<void> {
  const parsed = parseTranscript(readBytes(path, 'the transcript'))
  if (parsed === undefined) {
    throw new CommandError(EX_DATAERR, `${path} is no signed transcript, or something was added to it or taken away`)
  }
  const { signer, outcome } = parsed
  const publicKey = await publicKeyOf(signer, options)
  const kcv = publicKeyKcv({ ...publicKey.export({ format: 'jwk' }) })
  if (kcv !== signer.kcv || !isTranscriptOf(parsed, publicKey)) {
    throw new CommandError(
      EX_DATAERR,
      kcv === signer.kcv
        ? `${path} was changed after it was signed: its signature is wrong`
        : `${path} says that the key with the KCV ${signer.kcv} signed it, and this public key has the KCV ${kcv}`,
    )
  }
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ verified: true, outcome, signer })}\n`
      : `${path} is as key ${signer.id} version ${signer.version} (KCV ${signer.kcv}) signed it; the ceremony was ${outcome}\n`,
  )
}

async function publicKeyOf(signer: SignerName, { config: configPath, publicKey }: VerifyOptions): Promise<KeyObject> {
  if (publicKey !== undefined) return readPublicKeyFile(publicKey)
  if (configPath === undefined) throw new CommandError(EX_USAGE, '--config or --public-key is needed')
  const config = loadConfig(configPath, {}, 'keys')
  const { id, version } = signer
  const entry = config.keys.find((key) => key.id === id && key.version === version && key.purpose === 'transcript-sign')
  if (!entry) {
    throw new CommandError(
      EX_UNAVAILABLE,
      `the configuration has no key ${id} version ${version} that signs transcripts: verify with its --public-key`,
    )
  }
  const kcv = entry.kcv.toUpperCase()
  if (kcv !== signer.kcv) {
    throw new CommandError(
      EX_DATAERR,
      `in the configuration key ${id} version ${version} has the KCV ${kcv}, and the transcript names one with the KCV ${signer.kcv}`,
    )
  }
  for (const { name } of config.hsm.tokens) {
    const found = await withToken(config, name, ({ token }) =>
      Promise.resolve(readPublicKey(token.lib, token.anchor, entry)),
    )
    if (found) return createPublicKey({ key: { ...found }, format: 'jwk' })
  }
  throw new CommandError(EX_UNAVAILABLE, `no token holds key ${id} version ${version}: verify with its --public-key`)
}

/** A public key of P-256 in PEM, or as a JWK. */
function readPublicKeyFile(path: string): KeyObject {
  const text = readBytes(path, '--public-key').toString('utf8').trim()
  try {
    const key = text.startsWith('{')
      ? createPublicKey({ key: JSON.parse(text) as JsonWebKey, format: 'jwk' })
      : createPublicKey({ key: text, format: 'pem' })
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key
  } catch {
    // It is said below, without what the parser has to say of its bytes.
  }
  throw new CommandError(EX_DATAERR, `--public-key: ${path} holds no public key of P-256, as PEM or JWK`)
}

function readBytes(path: string, what: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new CommandError(EX_NOINPUT, `${what}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})`)
  }
}
