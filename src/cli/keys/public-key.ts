/** What `keys public` does: prints the public half of a key pair as its partner wants it. */
import { createPublicKey } from 'node:crypto'
import { loadConfig } from '../../config/config.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import type { PublicKey } from '../../hsm/hsm.ts'
import { kidOf } from '../../hsm/key-catalogue.ts'
import { isJweKey, isKeyPair } from '../../hsm/key-pairs.ts'
import { readPublicKey } from '../../hsm/pkcs11/find-key.ts'
import { jwkThumbprint, publicKeyKcv } from '../../key-block/kcv.ts'
import { CommandError } from '../command-error.ts'
import { withToken, type OpenedToken } from '../open-token.ts'
import { fullName, keyNamed } from './named-key.ts'

/** What `keys public` is told. */
export interface PublicOptions {
  readonly config: string
  readonly format: 'jwk' | 'pem' | 'jwks'
  readonly token?: string
}

/** Prints the key on standard output, and on standard error what it is recognised by. */
export async function publicKeyCommand(name: string | undefined, options: PublicOptions): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const keys = chosenKeys(config, name, options.format)
  const pairs = await withToken(config, options.token ?? config.hsm.tokens[0]!.name, (opened) =>
    Promise.resolve(keys.map((key) => [key, publicHalf(opened, key)] as const)),
  )
  process.stdout.write(textOf(pairs, options.format))
  for (const [key, publicKey] of pairs) {
    process.stderr.write(`${fullName(key)} thumbprint (RFC 7638, SHA-256): ${jwkThumbprint(publicKey)}\n`)
  }
  process.stderr.write('Have your partner compute the thumbprint of what arrives, and compare it with this by phone.\n')
}

function chosenKeys(config: Config, name: string | undefined, format: PublicOptions['format']): KeyEntry[] {
  if (format === 'jwks' && name === undefined) {
    const served = config.keys.filter(
      ({ purpose, state }) => purpose === 'jwe-decrypt' && (state === 'active' || state === 'retiring'),
    )
    if (served.length === 0)
      throw new CommandError(EX_USAGE, 'the configuration has no JWE key that is active or retiring')
    return served.sort((a, b) => Number(a.state === 'retiring') - Number(b.state === 'retiring'))
  }
  if (name === undefined) throw new CommandError(EX_USAGE, 'which key? Only --format jwks goes without a name')
  const key = keyNamed(config, name)
  if (isKeyPair(key)) return [key]
  throw new CommandError(
    EX_USAGE,
    `${fullName(key)} is symmetric: it has no public half, and its value stays in the token`,
  )
}

function publicHalf({ token, settings }: OpenedToken, key: KeyEntry): PublicKey {
  const publicKey = readPublicKey(token.lib, token.anchor, key)
  if (publicKey === undefined) {
    throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} does not hold the public half of ${fullName(key)}`)
  }
  if (publicKeyKcv(publicKey) !== key.kcv.toUpperCase()) {
    throw new CommandError(
      EX_UNAVAILABLE,
      `${fullName(key)} in token ${settings.name} is another key than the configuration says: its KCV differs`,
    )
  }
  return publicKey
}

function textOf(pairs: readonly (readonly [KeyEntry, PublicKey])[], format: PublicOptions['format']): string {
  if (format === 'jwks')
    return `${JSON.stringify({ keys: pairs.map(([key, half]) => jwkOf(key, half)) }, undefined, 2)}\n`
  const [key, publicKey] = pairs[0]!
  if (format === 'jwk') return `${JSON.stringify(jwkOf(key, publicKey), undefined, 2)}\n`
  return createPublicKey({ key: { ...publicKey }, format: 'jwk' }).export({ type: 'spki', format: 'pem' }) as string
}

const SIGNATURE_ALGS = { EC: 'ES256', OKP: 'EdDSA', RSA: 'RS256' } as const

/** As GET /v1/jwks gives one that PINs are encrypted to; the others are given by this command alone. */
function jwkOf(key: KeyEntry, publicKey: PublicKey): object {
  const kid = kidOf(key, publicKey)
  if (isJweKey(key)) return { ...publicKey, kid, use: 'enc', alg: key.alg }
  return { ...publicKey, kid, use: 'sig', alg: SIGNATURE_ALGS[publicKey.kty] }
}
