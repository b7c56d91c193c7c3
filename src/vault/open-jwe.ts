/** Opens a JWE with a private key that stays in the HSM: every rule of form and binding first, the HSM after them (M-9). */
import { ServiceError } from '../errors.ts'
import type { KeyEntry } from '../config/schema.ts'
import type { CekSource, EncipheredContent } from '../hsm/hsm.ts'
import { checkContentForm, parseCompact } from '../jwe/compact.ts'
import { checkAlgorithms, checkKeyAgreement, checkKeyTransport, parseHeader } from '../jwe/header.ts'
import type { SecretScope } from '../secret.ts'
import type { VaultContext } from './context.ts'

/** A JWE that keeps every rule, with the key that its kid names: nothing secret has been touched yet. */
export interface AddressedJwe {
  readonly key: KeyEntry
  readonly cekSource: CekSource
  readonly content: EncipheredContent
}

/**
 * Parses a JWE and finds its key.
 *
 * Order: form, header, kid, alg and enc, then the form that they ask for. The order is kept because each step may rely on
 * those before it, and because no answer may depend on a key that the client has no right to.
 *
 * @param purpose - what JWEs of this kind are encrypted to; a key of the other purpose is answered like an unknown kid too.
 * @param allowedKeys - the JWE keys that the client may open with; another one is answered like an unknown kid.
 * @throws ERR_JWE_INVALID, ERR_ALG_NOT_ALLOWED, ERR_HSM_UNAVAILABLE if the token cannot serve the key.
 * @see RFC 7516 section 5.2
 */
export function addressJwe(
  { catalogue }: VaultContext,
  text: string,
  purpose: 'jwe-decrypt' | 'jwe-open',
  allowedKeys: readonly string[],
): AddressedJwe {
  const jwe = parseCompact(text)
  const header = parseHeader(jwe.header)
  const key = catalogue.jweKey(header.kid, purpose)
  if (key?.alg === undefined || key.enc === undefined || !allowedKeys.includes(key.id)) {
    throw new ServiceError('ERR_JWE_INVALID')
  }
  checkAlgorithms(header, { alg: key.alg, enc: key.enc })
  checkContentForm(jwe)
  const { iv, ciphertext, tag, protectedHeader, encryptedKey } = jwe
  const content = { iv, ciphertext, tag, aad: protectedHeader }
  let cekSource: CekSource
  if (key.alg === 'ECDH-ES') {
    cekSource = { alg: key.alg, agreement: checkKeyAgreement(header, jwe) }
  } else {
    checkKeyTransport(jwe, Number(key.algorithm.slice('RSA-'.length)) / 8)
    cekSource = { alg: key.alg, encryptedKey }
  }
  catalogue.expectAvailable(key)
  return { key, cekSource, content }
}

/**
 * Decrypts the content.
 *
 * @returns the payload in a slice of `secrets`.
 * @throws ERR_JWE_DECRYPTION_FAILED, the one answer to a wrong key, a CEK that does not unwrap and a wrong tag.
 */
export function openJwe(
  { hsm }: VaultContext,
  { key, cekSource, content }: AddressedJwe,
  secrets: SecretScope,
): Promise<Buffer> {
  return hsm.openContent(key, cekSource, content, secrets)
}
