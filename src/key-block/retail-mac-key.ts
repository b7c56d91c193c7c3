/**
 * The two key objects of a retail MAC key on a token without the mechanism.
 *
 * A general-purpose token has no ISO 9797-1 algorithm 3 and OpenSSL 3 no single DES, but triple DES under one DES key
 * three times is that single DES. So, with the padded message D_1 … D_n:
 *
 *     C   = DES3_CBC(K1|K1|K1, iv 0, D_1 … D_n-1)
 *     MAC = DES3_ECB(K1|K2|K1, D_n xor the last block of C)
 *
 * The last step is the encipherment of D_n under K1 and the output transformation (decipher K2, encipher K1) in one.
 *
 * @see ISO/IEC 9797-1:2011 7.4 (MAC algorithm 3)
 */
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'

/** The clear values of both key objects, 24 bytes each; both are imported and then wiped. */
export interface RetailMacKeyObjects {
  /** `K1|K2|K1`, for the last block: the object `<id>`. */
  readonly mac: Buffer
  /** `K1|K1|K1`, for all blocks before it: the object `<id>.cbc`, which has single-DES strength. */
  readonly cbc: Buffer
}

/**
 * Spreads a retail MAC key over the two objects that compute with it.
 *
 * @param key - 16 bytes, `K1|K2`; not wiped here.
 * @param secrets - takes both values.
 * @throws ERR_INTERNAL if the key has another length.
 */
export function retailMacKeyObjects(key: Uint8Array, secrets: SecretScope): RetailMacKeyObjects {
  if (key.length !== 16) throw new ServiceError('ERR_INTERNAL')
  const k1 = key.subarray(0, 8)
  const mac = secrets.take(24)
  mac.set(key)
  mac.set(k1, 16)
  const cbc = secrets.take(24)
  for (const offset of [0, 8, 16]) cbc.set(k1, offset)
  return { mac, cbc }
}
