/** Opens a JWE with a private key that stays in the HSM: every rule of form and binding first, the HSM after them. */
import { ServiceError } from '../errors.ts'
import type { KeyEntry } from '../config/schema.ts'
import { CEK_BYTES } from '../jwe/algorithms.ts'
import { checkContentForm, parseCompact, type CompactJwe } from '../jwe/compact.ts'
import { deriveCek } from '../jwe/concat-kdf.ts'
import { openContent } from '../jwe/content.ts'
import { checkAlgorithms, checkKeyAgreement, checkKeyTransport, parseHeader, type KeyAgreement } from '../jwe/header.ts'
import type { SecretScope } from '../secret.ts'
import type { VaultContext } from './context.ts'

/** A JWE that keeps every rule, with the key that its kid names: nothing secret has been touched yet. */
export interface AddressedJwe {
  readonly key: KeyEntry
  readonly jwe: CompactJwe
  readonly agreement: KeyAgreement | undefined
}

/**
 * Parses a JWE and finds its key.
 *
 * Order: form, header, kid, alg and enc, then the form that they ask for. The order is kept because each step may rely on
 * those before it, and because no answer may depend on a key that the client has no right to.
 *
 * @param allowedKeys - the JWE keys that the client may open with; another one is answered like an unknown kid.
 * @throws ERR_JWE_INVALID, ERR_ALG_NOT_ALLOWED
 * @see RFC 7516 section 5.2
 */
export function addressJwe({ catalogue }: VaultContext, text: string, allowedKeys: readonly string[]): AddressedJwe {
  const jwe = parseCompact(text)
  const header = parseHeader(jwe.header)
  const key = catalogue.jweKey(header.kid)
  if (key?.alg === undefined || key.enc === undefined || !allowedKeys.includes(key.id)) {
    throw new ServiceError('ERR_JWE_INVALID')
  }
  checkAlgorithms(header, { alg: key.alg, enc: key.enc })
  checkContentForm(jwe)
  if (key.alg === 'ECDH-ES') return { key, jwe, agreement: checkKeyAgreement(header, jwe) }
  checkKeyTransport(jwe, Number(key.algorithm.slice('RSA-'.length)) / 8)
  return { key, jwe, agreement: undefined }
}

/**
 * Decrypts the content.
 *
 * @returns the payload in a slice of `secrets`.
 * @throws ERR_JWE_DECRYPTION_FAILED, the one answer to a wrong key, a CEK that does not unwrap and a wrong tag.
 */
export async function openJwe(
  { hsm }: VaultContext,
  { key, jwe, agreement }: AddressedJwe,
  secrets: SecretScope,
): Promise<Buffer> {
  let cek: Buffer
  if (agreement !== undefined) {
    const z = await hsm.deriveSharedSecret(key, agreement.ephemeralKey, secrets)
    const { apu, apv } = agreement
    cek = deriveCek(z, { algorithmId: 'A256GCM', apu, apv, keyBits: 8 * CEK_BYTES }, secrets)
  } else {
    cek = await hsm.unwrapCek(key, jwe.encryptedKey, CEK_BYTES, secrets)
  }
  const { iv, ciphertext, tag, protectedHeader } = jwe
  return openContent({ cek, iv, ciphertext, tag, aad: protectedHeader }, secrets)
}
