/**
 * EME-OAEP decoding (RFC 8017 §7.1.2 step 3) with SHA-256, MGF1-SHA-256 and an empty label, for tokens that offer RSA
 * only as CKM_RSA_X_509 (M-10).
 *
 * Manger's attack (CRYPTO 2001) decrypts any ciphertext for whoever learns whether the first byte was zero. So nothing
 * here branches, indexes or returns early on a byte of EM: every check is OR-ed into one number, and the answer, the CEK
 * or a random substitute, is selected with a mask. A failure shows as a GCM tag mismatch and nowhere else.
 *
 * What cannot be promised: JavaScript defines no timing. The work and the memory accesses are the same for every EM of
 * a length, but the engine's compiler and collector may still disturb them, and the RSA step before this one is the
 * token's. Prefer a token that does CKM_RSA_PKCS_OAEP with SHA-256 itself.
 */
import { hash } from 'node:crypto'
import { xorInto } from '../bytes.ts'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'

const HASH_BYTES = 32

/** lHash of the empty label (RFC 8017 §7.1.2 step 3.a). */
const LABEL_HASH = hash('sha256', '', 'buffer')

/**
 * Decodes an encoded message EM to a content encryption key of a known length, or else returns the substitute.
 *
 * EM, k bytes: `00 | maskedSeed (32) | maskedDB (k - 33)`; DB: `lHash (32) | 00 … 00 | 01 | CEK`. Because the length of
 * the CEK is known, so is the place of 01: nothing is searched, and a message of another length fails like any other.
 *
 * @param em - the raw RSA result with its leading zeros, as long as the modulus; the caller's, not wiped here.
 * @param secrets - holds and wipes the seed, DB and the result.
 * @param cekBytes - the exact length of the CEK in bytes.
 * @param substitute - `cekBytes` random bytes, drawn before EM was known (RFC 7516 §11.5); the caller's.
 * @returns `cekBytes` bytes in `secrets`.
 * @throws ERR_INTERNAL if the lengths, which are public, do not fit; never because of the bytes of EM.
 * @see RFC 8017 §7.1.2 step 3, RFC 7516 §11.5
 */
export function decodeOaep256(em: Uint8Array, secrets: SecretScope, cekBytes: number, substitute: Uint8Array): Buffer {
  const dbBytes = em.length - 1 - HASH_BYTES
  const separatorAt = dbBytes - cekBytes - 1
  if (separatorAt < HASH_BYTES || substitute.length !== cekBytes) throw new ServiceError('ERR_INTERNAL')

  const seed = secrets.take(HASH_BYTES)
  const db = secrets.take(dbBytes)
  seed.set(em.subarray(1, 1 + HASH_BYTES))
  db.set(em.subarray(1 + HASH_BYTES))
  xorMgf1(seed, db, secrets)
  xorMgf1(db, seed, secrets)

  let bad = em[0]!
  for (let i = 0; i < HASH_BYTES; i++) bad |= db[i]! ^ LABEL_HASH[i]!
  for (let i = HASH_BYTES; i < separatorAt; i++) bad |= db[i]!
  bad |= db[separatorAt]! ^ 0x01

  // bad is 0 to 255, so bad - 1 is negative exactly when every check passed: 11111111 then, else 00000000.
  const valid = ((bad - 1) >> 31) & 0xff
  const cek = secrets.take(cekBytes)
  for (let i = 0; i < cekBytes; i++) {
    cek[i] = (db[separatorAt + 1 + i]! & valid) | (substitute[i]! & ~valid)
  }
  return cek
}

/** Applies MGF1-SHA-256 (RFC 8017 §B.2.1): `target` ^= the first bytes of Hash(source | 00000000) | Hash(source | 00000001) | … */
function xorMgf1(target: Buffer, source: Buffer, secrets: SecretScope): void {
  const input = secrets.take(source.length + 4)
  input.set(source)
  for (let counter = 0; counter * HASH_BYTES < target.length; counter++) {
    input.writeUInt32BE(counter, source.length)
    const mask = hash('sha256', input, 'buffer')
    const block = target.subarray(counter * HASH_BYTES, (counter + 1) * HASH_BYTES)
    xorInto(block, block, mask)
    mask.fill(0)
  }
}
