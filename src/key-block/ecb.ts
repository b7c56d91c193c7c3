/** One block of TDEA or AES at a time under a clear development key; production keys stay in the HSM. */
import { createCipheriv } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'

/** A block cipher that pinbridge has keys of. */
export type BlockAlgorithm = 'TDEA' | 'AES'

/** A block cipher under one key. */
export interface Ecb {
  /** 8 for TDEA, 16 for AES. */
  readonly blockBytes: number
  /** Enciphers one block in place and returns it. */
  readonly encipher: (block: Buffer) => Buffer
}

// OpenSSL 3 names two-key and three-key TDEA in ECB mode des-ede and des-ede3; it has no single DES.
const CIPHERS: ReadonlyMap<string, string> = new Map([
  ['TDEA-16', 'des-ede'],
  ['TDEA-24', 'des-ede3'],
  ['AES-16', 'aes-128-ecb'],
  ['AES-24', 'aes-192-ecb'],
  ['AES-32', 'aes-256-ecb'],
])

/**
 * Opens a block cipher under a key.
 *
 * @param key - TDEA: 16 or 24 bytes; AES: 16, 24 or 32; not wiped here.
 * @param secrets - takes each output of OpenSSL on its way into the block.
 * @throws ERR_INTERNAL if the key has another length.
 */
export function openEcb(algorithm: BlockAlgorithm, key: Uint8Array, secrets: SecretScope): Ecb {
  const name = CIPHERS.get(`${algorithm}-${key.length}`)
  if (name === undefined) throw new ServiceError('ERR_INTERNAL')
  const cipher = createCipheriv(name, key, null).setAutoPadding(false)
  return {
    blockBytes: algorithm === 'TDEA' ? 8 : 16,
    encipher(block) {
      block.set(secrets.adopt(cipher.update(block)))
      return block
    },
  }
}
