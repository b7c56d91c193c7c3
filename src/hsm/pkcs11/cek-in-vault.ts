/** The CEK of a JWE in a slice of the vault's memory: what a token does that cannot keep it. */
import { randomFillSync } from 'node:crypto'
import pkcs11, { type Handle } from 'pkcs11js'
import { ServiceError } from '../../errors.ts'
import { CEK_BYTES, P256_BYTES } from '../../jwe/algorithms.ts'
import { deriveCek, otherInfo, type KdfInfo } from '../../jwe/concat-kdf.ts'
import type { KeyAgreement } from '../../jwe/header.ts'
import type { SecretScope } from '../../secret.ts'
import { decodeOaep256 } from '../oaep.ts'
import type { Calls } from './calls.ts'
import { ecdh, ecdhWithKdf, RSA_OAEP_256, RSA_RAW } from './mechanisms.ts'
import { mayRefuseData } from './return-values.ts'
import { READABLE_SECRET_TEMPLATE } from './templates.ts'

/** What the Concat KDF is given beside Z; with direct key agreement the algorithm is the value of enc (RFC 7518 section 4.6.2). */
export function kdfInfo({ apu, apv }: KeyAgreement): KdfInfo {
  return { algorithmId: 'A256GCM', apu, apv, keyBits: 8 * CEK_BYTES }
}

/** Derives the CEK by ECDH: Z comes out of the token and the Concat KDF runs here, or the token does both. */
export async function deriveToVault(
  calls: Calls,
  session: Handle,
  privateKey: Handle,
  agreement: KeyAgreement,
  kdf: 'token' | 'vault',
  secrets: SecretScope,
): Promise<Buffer> {
  const info = kdfInfo(agreement)
  const { ephemeralKey } = agreement
  const mechanism = kdf === 'token' ? ecdhWithKdf(ephemeralKey, otherInfo(info)) : ecdh(ephemeralKey)
  const value = await calls.withObject(
    session,
    () => calls.derive(session, mechanism, privateKey, READABLE_SECRET_TEMPLATE),
    (object) => readSecret(calls, session, object, secrets),
  )
  return kdf === 'token' ? value : deriveCek(value, info, secrets)
}

/** Reads Z or a CEK out of the token. */
function readSecret(calls: Calls, session: Handle, object: Handle, secrets: SecretScope): Buffer {
  const value = calls.lib.C_GetAttributeValue(session, object, [{ type: pkcs11.CKA_VALUE }])[0]?.value
  if (!Buffer.isBuffer(value)) throw new ServiceError('ERR_HSM_UNAVAILABLE')
  if (value.length > P256_BYTES) {
    value.fill(0)
    throw new ServiceError('ERR_HSM_UNAVAILABLE')
  }
  const read = secrets.take(P256_BYTES)
  // A token may drop the leading zeros of a coordinate; RFC 7518 section 4.6.2 wants all 32 bytes.
  read.set(value, P256_BYTES - value.length)
  value.fill(0)
  return read
}

/**
 * Unwraps a CEK by RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017 section 7.1.2), by the token or by the raw RSA operation
 * and a constant-time decoding here.
 *
 * @param encryptedKey - as long as the modulus, and from 2 to n - 2.
 * @returns the CEK; after any failure a random one (RFC 7516 section 11.5), so that only the content's tag tells the two apart.
 */
export async function unwrapToVault(
  calls: Calls,
  session: Handle,
  privateKey: Handle,
  encryptedKey: Buffer,
  oaep: 'native' | 'raw',
  secrets: SecretScope,
): Promise<Buffer> {
  // Drawn before anything is known about the ciphertext, so that success and failure do the same work.
  const substitute = randomFillSync(secrets.take(CEK_BYTES))
  const out = secrets.take(encryptedKey.length)
  if (oaep === 'raw') {
    // Every number below n has its power: the token has nothing to refuse here.
    const clear = await calls.decrypt(session, RSA_RAW, privateKey, encryptedKey, out, calls.modes.rsa)
    const em = secrets.take(encryptedKey.length)
    em.set(clear, em.length - clear.length)
    return decodeOaep256(em, secrets, CEK_BYTES, substitute)
  }
  try {
    const clear = await calls.decrypt(session, RSA_OAEP_256, privateKey, encryptedKey, out, calls.modes.rsa)
    return clear.length === CEK_BYTES ? clear : substitute
  } catch (error) {
    if (!mayRefuseData(error)) throw error
    return substitute
  }
}
