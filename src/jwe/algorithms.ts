/**
 * The closed set of JWE algorithms and their sizes in bytes.
 *
 * D1 documents ECDH-ES on P-256 with A256GCM, and a sister product RSA-OAEP-256 with A256GCM. RSA1_5, the CBC encs, key
 * wrapping and compression are left out on purpose: nobody asks for them, and most of what goes wrong with JWE is there.
 */

/** Key management algorithms, "alg" (RFC 7518 §4.1): direct key agreement on P-256, or RSAES-OAEP with SHA-256 and MGF1-SHA-256. */
export type JweAlg = 'ECDH-ES' | 'RSA-OAEP-256'

/** Content encryption algorithms, "enc" (RFC 7518 §5.1). */
export type JweEnc = 'A256GCM'

/** The one alg and the one enc that a recipient's key is bound to by configuration. */
export interface JweAlgorithms {
  readonly alg: JweAlg
  readonly enc: JweEnc
}

/** Bytes of the content encryption key of A256GCM (RFC 7518 §5.3). */
export const CEK_BYTES = 32

/** Bytes of the initialization vector, 96 bits (RFC 7518 §5.3). */
export const IV_BYTES = 12

/** Bytes of the authentication tag, 128 bits (RFC 7518 §5.3). */
export const TAG_BYTES = 16

/** Bytes of a coordinate, and of the shared secret Z, on P-256 (RFC 7518 §6.2.1.2). */
export const P256_BYTES = 32
