/**
 * The HSM port: what a vault asks of its HSM, in the field's verbs and without a PKCS#11 type.
 *
 * Keys stay inside; only their results come out. Every method throws a ServiceError of the closed set and nothing else.
 */
import type { KeyEntry } from '../config/schema.ts'
import type { MacAlgorithm } from '../pin-change/profile.ts'
import type { SecretScope } from '../secret.ts'

export interface Hsm {
  /**
   * Derives Z = the x-coordinate of d·P by ECDH on P-256 (NIST SP 800-56A, cofactor 1).
   *
   * @param publicPoint - 65 bytes, uncompressed; its owner has checked that it lies on the curve.
   * @returns Z, 32 bytes, left-padded, in a slice of `secrets`.
   */
  deriveSharedSecret(key: KeyEntry, publicPoint: Buffer, secrets: SecretScope): Promise<Buffer>

  /**
   * Unwraps a CEK by RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017 section 7.1.2).
   *
   * @returns the CEK, `cekBytes` long; after any failure a random one of that length (RFC 7516 section 11.5), so that
   * only the content's tag tells the two apart.
   */
  unwrapCek(key: KeyEntry, encryptedKey: Buffer, cekBytes: number, secrets: SecretScope): Promise<Buffer>

  /** Deciphers whole blocks in ECB, all in one call to the HSM; the clear blocks are in a slice of `secrets`. */
  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer>

  /** Enciphers whole blocks in ECB, all in one call to the HSM. */
  encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer>

  /** Generates the whole MAC of a message, not truncated. */
  generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer>

  /** Verifies a MAC given by its leftmost bytes, in constant time. */
  verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean>

  /** Fills a slice with random bytes from the HSM. */
  fillRandom(target: Buffer): Promise<void>

  /** How many session objects have been made since the start: some tokens leak a little with each. */
  readonly sessionObjects: number
}

/** A public key of the token that callers encrypt to. */
export type PublicKey =
  | { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }

/** Why a token cannot be used; the word decides what the supervisor does next. */
export type HsmStartFailure =
  'module-unusable' | 'token-absent' | 'pin-refused' | 'pin-tries-low' | 'keys-unusable' | 'self-test-failed'

/** The token cannot be used: what is wrong, in sentences for an operator, with no secret in them. */
export class HsmStartError extends Error {
  readonly reason: HsmStartFailure
  readonly problems: readonly string[]

  constructor(reason: HsmStartFailure, problems: readonly string[]) {
    super(problems.join('; '))
    this.name = 'HsmStartError'
    this.reason = reason
    this.problems = problems
  }
}
