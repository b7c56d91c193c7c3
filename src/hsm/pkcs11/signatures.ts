/**
 * Signatures by a private key of the token, over a hash that is made here or, where the token signs none, over the message; each
 * is verified before it is given out (M-35).
 */
import { createHash } from 'node:crypto'
import type { Handle, Mechanism } from 'pkcs11js'
import { ServiceError } from '../../errors.ts'
import type { PublicKey } from '../hsm.ts'
import { verifiesSignature } from '../self-test.ts'
import { wrongAnswer } from './block-cipher.ts'
import type { Calls } from './calls.ts'
import { ECDSA, ECDSA_SHA256, EDDSA, RSA_PKCS1, RSA_PKCS1_SHA256 } from './mechanisms.ts'
import { isLacking } from './return-values.ts'

/** What stands before a SHA-256 hash in a DigestInfo (RFC 8017 section 9.2, note 1). */
const SHA256_DIGEST_INFO = Buffer.from('3031300d060960864801650304020105000420', 'hex')
/** Of P-256 and of Ed25519. */
const EC_SIGNATURE_BYTES = 64

/** A mechanism, and what it is given of a message. */
interface Way {
  readonly mechanism: Mechanism
  readonly inputOf: (message: Uint8Array) => Buffer
}

const hashOf = (message: Uint8Array): Buffer => createHash('sha256').update(message).digest()

/** The hash first: a token takes it in one call however long the message is. */
const WAYS: Readonly<Record<PublicKey['kty'], readonly Way[]>> = {
  EC: [
    { mechanism: ECDSA, inputOf: hashOf },
    { mechanism: ECDSA_SHA256, inputOf: (message) => Buffer.from(message) },
  ],
  // It hashes twice, and so needs the message itself.
  OKP: [{ mechanism: EDDSA, inputOf: (message) => Buffer.from(message) }],
  RSA: [
    { mechanism: RSA_PKCS1, inputOf: (message) => Buffer.concat([SHA256_DIGEST_INFO, hashOf(message)]) },
    { mechanism: RSA_PKCS1_SHA256, inputOf: (message) => Buffer.from(message) },
  ],
}

/**
 * Signs, in the first way that the token does not lack, and verifies what it gave: a wrong signature of an RSA key may give its
 * primes away (Boneh, DeMillo, Lipton 1997), so that none leaves.
 *
 * @returns EC: r | s, 64 bytes; Ed25519: 64 bytes; RSA: as long as the modulus.
 * @throws ERR_HSM_UNAVAILABLE also if the signature does not verify with the public half.
 */
export async function sign(calls: Calls, key: Handle, publicKey: PublicKey, message: Uint8Array): Promise<Buffer> {
  const bytes = publicKey.kty === 'RSA' ? Buffer.from(publicKey.n, 'base64url').length : EC_SIGNATURE_BYTES
  let lacking = new ServiceError('ERR_INTERNAL')
  for (const { mechanism, inputOf } of WAYS[publicKey.kty]) {
    try {
      const signature = await calls.withSession((session) =>
        calls.sign(session, mechanism, key, inputOf(message), Buffer.alloc(bytes)),
      )
      if (!verifiesSignature(publicKey, message, signature)) throw wrongAnswer('C_Sign')
      return signature
    } catch (error) {
      if (!(error instanceof ServiceError) || !isLacking(error)) throw error
      lacking = error
    }
  }
  throw lacking
}
