/**
 * The HSM port: what a vault asks of its HSM, in the field's verbs and without a PKCS#11 type.
 *
 * Keys stay inside; only their results come out. Every method throws a ServiceError of the closed set and nothing else.
 */
import type { KeyEntry } from '../config/schema.ts'
import type { SealedContent } from '../jwe/content.ts'
import type { KeyAgreement } from '../jwe/header.ts'
import type { MacAlgorithm } from '../pin-change/profile.ts'
import type { SecretScope } from '../secret.ts'

export interface Hsm {
  /**
   * Decrypts and authenticates a JWE's content under the CEK that this key gives (RFC 7516 section 5.2, steps 6 to 16).
   *
   * Where the CEK is meanwhile, in the token or in a slice of `secrets`, is the adapter's choice. A CEK that does not
   * unwrap is replaced by a random one, and ends in the same tag mismatch by the same path (section 11.5).
   *
   * @returns the payload in a slice of `secrets`.
   * @throws ERR_JWE_DECRYPTION_FAILED, the one answer to a wrong key, a CEK that does not unwrap and a wrong tag.
   */
  openContent(key: KeyEntry, cek: CekSource, content: EncipheredContent, secrets: SecretScope): Promise<Buffer>

  /** Deciphers whole blocks in ECB, in as few calls to the HSM as it takes; the clear blocks are in a slice of `secrets`. */
  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer>

  /** Enciphers whole blocks in ECB, in as few calls to the HSM as it takes. */
  encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer>

  /** Generates the whole MAC of a message, not truncated. */
  generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer>

  /** Verifies a MAC given by its leftmost bytes, in constant time. */
  verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean>

  /**
   * Signs a message under a key that signs; what is given has been verified with the key's public half.
   *
   * @param message - no secret: it is hashed here, and the HSM is given its SHA-256 where it can sign that.
   * @returns EC-P256: ECDSA with SHA-256, r | s, 64 bytes (IEEE P1363); Ed25519: 64 bytes (RFC 8032 section 5.1.6); RSA: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section
   * 8.2), as long as the modulus.
   */
  sign(key: KeyEntry, message: Uint8Array): Promise<Buffer>

  /** Wraps a key of a published value under a key that wraps (RFC 5649), 40 bytes: its known answer. */
  wrapKnownKey(key: KeyEntry): Promise<Buffer>

  /** Fills a slice with random bytes from the HSM. */
  fillRandom(target: Buffer): Promise<void>

  /** How many session objects have been made since the start: some tokens leak a little with each. */
  readonly sessionObjects: number
}

/** What the CEK of a JWE comes from, by the key's alg; all of it public, and its form checked. */
export type CekSource =
  | { readonly alg: 'ECDH-ES'; readonly agreement: KeyAgreement }
  | { readonly alg: 'RSA-OAEP-256'; readonly encryptedKey: Buffer }

/** What stands in a JWE under its CEK: iv, ciphertext, tag and the authenticated header. */
export type EncipheredContent = Omit<SealedContent, 'cek'>

/** The public half of a key pair of the token. */
export type PublicKey =
  | { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }
  | { readonly kty: 'OKP'; readonly crv: 'Ed25519'; readonly x: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string }

/** A key that this token cannot serve, though nothing is wrong with it: why, for an operator, and its public half if it was found. */
export interface UnavailableKey {
  readonly reason: string
  readonly publicKey?: PublicKey
}

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
