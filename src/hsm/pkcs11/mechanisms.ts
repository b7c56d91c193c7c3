/**
 * Every mechanism this adapter names, made in one place and frozen.
 *
 * A parameter object with a missing or wrongly typed field aborts the whole process inside the binding, so none is
 * built anywhere else.
 */
import pkcs11, { type ECDH1, type Mechanism } from 'pkcs11js'
import type { KeyEntry } from '../../config/schema.ts'

/** CKZ_DATA_SPECIFIED, which the binding does not export. */
const DATA_SPECIFIED = 1

/** ECB for a key's own cipher: blocks are independent, so that many go in one call. */
export function ecb(algorithm: KeyEntry['algorithm']): Mechanism {
  return isTdea(algorithm) ? TDEA_ECB : AES_ECB
}

/** CMAC (NIST SP 800-38B) for a key's own cipher. */
export function cmac(algorithm: KeyEntry['algorithm']): Mechanism {
  return isTdea(algorithm) ? TDEA_CMAC : AES_CMAC
}

/** Whether a key is a TDEA key of either length. */
export function isTdea(algorithm: KeyEntry['algorithm']): boolean {
  return algorithm === 'TDEA-128' || algorithm === 'TDEA-192'
}

/** ECDH without a KDF: Z comes out, and the Concat KDF runs in the vault (CKD_NULL is all that some tokens have). */
export function ecdh(publicPoint: Buffer): Mechanism {
  const parameter: ECDH1 = { type: pkcs11.CK_PARAMS_EC_DH, kdf: pkcs11.CKD_NULL, publicData: publicPoint }
  return { mechanism: pkcs11.CKM_ECDH1_DERIVE, parameter }
}

const TDEA_ECB: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_DES3_ECB })
const AES_ECB: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_AES_ECB })
const TDEA_CMAC: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_DES3_CMAC })
const AES_CMAC: Mechanism = Object.freeze({ mechanism: pkcs11.CKM_AES_CMAC })

/** TDEA in CBC with a zero initialisation vector, the chaining part of the retail MAC. */
export const TDEA_CBC_ZERO_IV: Mechanism = Object.freeze({
  mechanism: pkcs11.CKM_DES3_CBC,
  parameter: Buffer.from(new ArrayBuffer(8)),
})

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
