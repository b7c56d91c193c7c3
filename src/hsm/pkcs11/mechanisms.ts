/**
 * Every mechanism this adapter names, made in one place and frozen.
 *
 * A parameter object with a missing or wrongly typed field aborts the whole process inside the binding, so none is
 * built anywhere else.
 */
import pkcs11, { type AesGCM, type ECDH1, type Mechanism } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'
import { TAG_BYTES } from '../../jwe/algorithms.ts'
import type { BlockAlgorithm } from '../../key-block/ecb.ts'

/** CKZ_DATA_SPECIFIED, which the binding does not export. */
const DATA_SPECIFIED = 1
/** CKD_SHA256_KDF_SP800 of PKCS#11 v3.0: SHA-256 over counter, Z and shared data, which is the Concat KDF of NIST SP 800-56A. */
const SHA256_KDF_SP800 = 0x0e

/** The block cipher of a symmetric key. */
export function cipherOf(algorithm: KeyEntry['algorithm']): BlockAlgorithm {
  return algorithm === 'TDEA-128' || algorithm === 'TDEA-192' ? 'TDEA' : 'AES'
}

/** Bytes of a block: 8 for TDEA, 16 for AES. */
export function blockBytesOf(cipher: BlockAlgorithm): number {
  return cipher === 'TDEA' ? 8 : 16
}

const zeroIv = (bytes: number): Buffer => Buffer.from(new ArrayBuffer(bytes))

/** ECB: blocks are independent, so that many go in one call. */
export const ECB: Readonly<Record<BlockAlgorithm, Mechanism>> = Object.freeze({
  TDEA: Object.freeze({ mechanism: pkcs11.CKM_DES3_ECB }),
  AES: Object.freeze({ mechanism: pkcs11.CKM_AES_ECB }),
})

/** CBC with a zero initialisation vector, the chaining part of a composed MAC. */
export const CBC_ZERO_IV: Readonly<Record<BlockAlgorithm, Mechanism>> = Object.freeze({
  TDEA: Object.freeze({ mechanism: pkcs11.CKM_DES3_CBC, parameter: zeroIv(8) }),
  AES: Object.freeze({ mechanism: pkcs11.CKM_AES_CBC, parameter: zeroIv(16) }),
})

/** CMAC (NIST SP 800-38B). */
export const CMAC: Readonly<Record<BlockAlgorithm, Mechanism>> = Object.freeze({
  TDEA: Object.freeze({ mechanism: pkcs11.CKM_DES3_CMAC }),
  AES: Object.freeze({ mechanism: pkcs11.CKM_AES_CMAC }),
})

/** A retail MAC mechanism of the vendor's, by the number that the configuration gives. */
export function vendorMac(mechanism: number): Mechanism {
  return { mechanism }
}

/** ECDH without a KDF: Z comes out, and the Concat KDF runs in the vault. */
export function ecdh(publicPoint: Buffer): Mechanism {
  const parameter: ECDH1 = { type: pkcs11.CK_PARAMS_EC_DH, kdf: pkcs11.CKD_NULL, publicData: publicPoint }
  return { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter }
}

/** ECDH with the Concat KDF in the token; the shared data are its OtherInfo (RFC 7518 section 4.6.2). */
export function ecdhWithKdf(publicPoint: Buffer, otherInfo: Buffer): Mechanism {
  const parameter: ECDH1 = {
    type: pkcs11.CK_PARAMS_EC_DH,
    kdf: SHA256_KDF_SP800,
    publicData: publicPoint,
    sharedData: otherInfo,
  }
  return { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter }
}

/** A256GCM, the tag behind the ciphertext; the structure is that of v2.40 errata 1, which names the iv's length in bits. */
export function gcm(iv: Buffer, aad: Buffer): Mechanism {
  const parameter: AesGCM = {
    type: pkcs11.CK_PARAMS_AES_GCM_v240,
    iv,
    ivBits: 8 * iv.length,
    aad,
    tagBits: 8 * TAG_BYTES,
  }
  return { mechanism: pkcs11.CKM_AES_GCM, parameter }
}

/** The raw RSA operation, for tokens whose OAEP takes SHA-1 only. */
export const RSA_RAW: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_RSA_X_509 })

/** RSAES-OAEP with SHA-256, MGF1-SHA-256 and an empty label. */
export const RSA_OAEP_256: Mechanism = Object.freeze({
  mechanism: pkcs11.CKM_RSA_PKCS_OAEP,
  parameter: Object.freeze({
    type: pkcs11.CK_PARAMS_RSA_OAEP,
    hashAlg: pkcs11.CKM_SHA256,
    mgf: pkcs11.CKG_MGF1_SHA256,
    source: DATA_SPECIFIED,
  }),
})

/** ECDSA over a hash, and over a message that the token hashes with SHA-256. */
export const ECDSA: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_ECDSA })
export const ECDSA_SHA256: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_ECDSA_SHA256 })

/** RSASSA-PKCS1-v1_5 over a DigestInfo, and over a message that the token hashes with SHA-256. */
export const RSA_PKCS1: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_RSA_PKCS })
export const RSA_PKCS1_SHA256: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_SHA256_RSA_PKCS })

/** Ed25519 over a message (PKCS#11 v3.0, 2.3.14); without a parameter it is the pure one (RFC 8032 section 5.1), and the binding has no name for it. */
export const EDDSA: Mechanism = Object.freeze({ mechanism: 0x1057 })
const EC_EDWARDS_KEY_PAIR_GEN = 0x1055

/** AES key wrap with padding (RFC 5649): by the name of v3.0, and by that of v2.40, under which some do something else. */
export const AES_KEY_WRAP_KWP: Mechanism = Object.freeze({ mechanism: 0x210b })
export const AES_KEY_WRAP_PAD: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_AES_KEY_WRAP_PAD })

/** AES key wrap (RFC 3394), which is its own integrity check. */
export const AES_KEY_WRAP: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_AES_KEY_WRAP })

/** Bytes of the initialisation vector of `aesCbcPad`. */
export const AES_CBC_PAD_BYTES = 16

/** AES in CBC with PKCS #7 padding, to wrap a key where the token has no key wrap. */
export function aesCbcPad(iv: Buffer): Mechanism {
  return { mechanism: pkcs11.CKM_AES_CBC_PAD, parameter: iv }
}

/** Makes an AES key inside the token; its template says how long. */
export const AES_KEY_GEN: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_AES_KEY_GEN })

/** Makes a symmetric key inside the token; the template says how long one of AES is. */
export function secretKeyGeneration(algorithm: KeyEntry['algorithm']): Mechanism {
  if (algorithm === 'TDEA-128') return { mechanism: pkcs11.CKM_DES2_KEY_GEN }
  return algorithm === 'TDEA-192' ? { mechanism: pkcs11.CKM_DES3_KEY_GEN } : AES_KEY_GEN
}

/** Makes a key pair inside the token. */
export function keyPairGeneration(algorithm: KeyEntry['algorithm']): Mechanism {
  if (algorithm === 'Ed25519') return { mechanism: EC_EDWARDS_KEY_PAIR_GEN }
  return { mechanism: algorithm === 'EC-P256' ? pkcs11.CKM_EC_KEY_PAIR_GEN : pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN }
}
