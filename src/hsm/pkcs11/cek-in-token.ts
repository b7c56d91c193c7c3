/**
 * The CEK of a JWE as an object of the token, under which the token deciphers the content: the vault sees the payload, and never
 * the key. The object is made for one JWE and destroyed after it.
 */
import pkcs11, { type Handle } from 'pkcs11js'
import { ServiceError } from '../../errors.ts'
import { CEK_BYTES } from '../../jwe/algorithms.ts'
import { otherInfo } from '../../jwe/concat-kdf.ts'
import type { KeyAgreement } from '../../jwe/header.ts'
import type { SecretScope } from '../../secret.ts'
import type { EncipheredContent } from '../hsm.ts'
import type { Calls } from './calls.ts'
import { kdfInfo } from './cek-in-vault.ts'
import { AES_KEY_GEN, ecdhWithKdf, gcm, RSA_OAEP_256 } from './mechanisms.ts'
import { CKR, ckrOf, mayRefuseData } from './return-values.ts'
import { CEK_FLAGS, CEK_TEMPLATE, UNWRAPPED_CEK_TEMPLATE } from './templates.ts'

/** Derives the CEK by ECDH and the Concat KDF in the token, and deciphers the content under it there. */
export function openDerived(
  calls: Calls,
  session: Handle,
  privateKey: Handle,
  agreement: KeyAgreement,
  content: EncipheredContent,
  secrets: SecretScope,
): Promise<Buffer> {
  const mechanism = ecdhWithKdf(agreement.ephemeralKey, otherInfo(kdfInfo(agreement)))
  return calls.withObject(
    session,
    () => calls.derive(session, mechanism, privateKey, CEK_TEMPLATE),
    (cek) => decipher(calls, session, cek, content, secrets),
  )
}

/**
 * Unwraps the CEK into the token and deciphers the content under it there.
 *
 * @param spare - an AES key of the token that nobody knows: it takes the place of a CEK that does not unwrap, or that is not 32
 * bytes long, so that both end in the same tag mismatch (RFC 7516 section 11.5).
 */
export async function openUnwrapped(
  calls: Calls,
  session: Handle,
  privateKey: Handle,
  encryptedKey: Buffer,
  content: EncipheredContent,
  spare: Handle,
  secrets: SecretScope,
): Promise<Buffer> {
  const unwrap = async (): Promise<Handle | undefined> => {
    try {
      return await calls.unwrap(session, RSA_OAEP_256, privateKey, encryptedKey, UNWRAPPED_CEK_TEMPLATE)
    } catch (error) {
      if (!mayRefuseData(error)) throw error
      return undefined
    }
  }
  return await calls.withObject(session, unwrap, async (cek) => {
    const isUsable = isWhole(calls, session, cek ?? spare) && cek !== undefined
    try {
      return await decipher(calls, session, isUsable ? cek : spare, content, secrets)
    } finally {
      // As many calls as where there is a CEK to destroy: at a distance each is time that tells the two apart.
      if (cek === undefined) calls.lib.C_GetSessionInfo(session)
    }
  })
}

/** Whether every attribute of a CEK reads back as it must: some tokens ignore what an unwrapping template says. */
export function keepsCek(calls: Calls, session: Handle, cek: Handle): boolean {
  for (const [type, expected] of CEK_FLAGS) {
    const value = read(calls, session, cek, type)
    if (value?.length !== 1 || (value[0] !== 0) !== expected) return false
  }
  // Whatever the flags say: the value must not come out.
  const value = read(calls, session, cek, pkcs11.CKA_VALUE)
  value?.fill(0)
  return value === undefined || value.length === 0
}

/** Generates the key that stands in for a CEK that does not unwrap; a session object, which lives as long as its session. */
export function generateSpare(calls: Calls, session: Handle): Handle {
  return calls.lib.C_GenerateKey(session, AES_KEY_GEN, CEK_TEMPLATE)
}

function isWhole(calls: Calls, session: Handle, cek: Handle): boolean {
  const bytes = read(calls, session, cek, pkcs11.CKA_VALUE_LEN)
  return bytes?.length === 8 && bytes.readBigUInt64LE() === BigInt(CEK_BYTES)
}

/** Reads an attribute; undefined if the token does not know it or does not give it out, and what else goes wrong is thrown. */
function read(calls: Calls, session: Handle, object: Handle, type: number): Buffer | undefined {
  try {
    const value = calls.lib.C_GetAttributeValue(session, object, [{ type }])[0]?.value
    return Buffer.isBuffer(value) ? value : undefined
  } catch (error) {
    const ckr = ckrOf(error)
    if (ckr === CKR.ATTRIBUTE_SENSITIVE || ckr === CKR.ATTRIBUTE_TYPE_INVALID) return undefined
    throw error
  }
}

/** A256GCM by the token; ERR_JWE_DECRYPTION_FAILED for whatever may be a wrong tag. */
async function decipher(
  calls: Calls,
  session: Handle,
  cek: Handle,
  { iv, ciphertext, tag, aad }: EncipheredContent,
  secrets: SecretScope,
): Promise<Buffer> {
  const input = Buffer.concat([ciphertext, tag])
  const out = secrets.take(input.length)
  const mechanism = gcm(Buffer.from(iv), Buffer.from(aad, 'ascii'))
  try {
    const payload = await calls.decrypt(session, mechanism, cek, input, out)
    if (payload.length !== ciphertext.length) throw new ServiceError('ERR_HSM_UNAVAILABLE')
    return payload
  } catch (error) {
    if (error instanceof ServiceError || !mayRefuseData(error)) throw error
    throw new ServiceError('ERR_JWE_DECRYPTION_FAILED')
  }
}
