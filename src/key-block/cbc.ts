/** CBC of whole blocks under a key that is here for the length of one operation. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'
import type { BlockAlgorithm } from './ecb.ts'

const CIPHERS: ReadonlyMap<string, string> = new Map([
  ['TDEA-16', 'des-ede-cbc'],
  ['TDEA-24', 'des-ede3-cbc'],
  ['AES-16', 'aes-128-cbc'],
  ['AES-24', 'aes-192-cbc'],
  ['AES-32', 'aes-256-cbc'],
])

/** Enciphers whole blocks; the result is in `secrets`, as it is not known here whether it is one. */
export function encipherCbc(
  algorithm: BlockAlgorithm,
  key: Uint8Array,
  iv: Uint8Array,
  clear: Uint8Array,
  secrets: SecretScope,
): Buffer {
  const cipher = createCipheriv(nameOf(algorithm, key), key, iv).setAutoPadding(false)
  return secrets.adopt(cipher.update(clear))
}

/** Deciphers whole blocks into `secrets`. */
export function decipherCbc(
  algorithm: BlockAlgorithm,
  key: Uint8Array,
  iv: Uint8Array,
  enciphered: Uint8Array,
  secrets: SecretScope,
): Buffer {
  const decipher = createDecipheriv(nameOf(algorithm, key), key, iv).setAutoPadding(false)
  return secrets.adopt(decipher.update(enciphered))
}

function nameOf(algorithm: BlockAlgorithm, key: Uint8Array): string {
  const name = CIPHERS.get(`${algorithm}-${key.length}`)
  if (name === undefined) throw new ServiceError('ERR_INTERNAL')
  return name
}
