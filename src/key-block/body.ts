/**
 * The clear body of a key block: `length of the key in bits 2 bytes | key | padding`, whole cipher blocks.
 *
 * The padding is random, and may be longer than it has to be, so that the block does not show how long the key is.
 *
 * @see ANSI X9.143:2021, 6.4; ASC X9 TR 31-2018, A.3
 */
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'

const LENGTH_BYTES = 2

/** The key of a clear body, and whether its length field can be right; the key is of no use if it cannot. */
export interface BodyKey {
  readonly key: Buffer
  readonly isRight: boolean
}

/**
 * Takes the key out of a clear body.
 *
 * Whatever the length field says, the same is done, so that what is wrong with it does not show before the MAC is judged.
 *
 * @param body - whole cipher blocks; not wiped here.
 * @returns a slice of `secrets`.
 */
export function keyOfBody(body: Buffer, secrets: SecretScope): BodyKey {
  const room = body.length - LENGTH_BYTES
  const bits = body.readUInt16BE(0)
  const isRight = bits > 0 && bits % 8 === 0 && bits / 8 <= room
  const bytes = isRight ? bits / 8 : room
  const key = secrets.take(bytes)
  key.set(body.subarray(LENGTH_BYTES, LENGTH_BYTES + bytes))
  return { key, isRight }
}

/** Bytes of padding behind a key of this many bytes, hidden in the length of a key of `maskedBytes`. */
export function paddingBytes(keyBytes: number, maskedBytes: number, blockBytes: number): number {
  const shown = LENGTH_BYTES + Math.max(keyBytes, maskedBytes)
  return Math.ceil(shown / blockBytes) * blockBytes - LENGTH_BYTES - keyBytes
}

/**
 * Lays out a clear body.
 *
 * @param key - not wiped here.
 * @param padding - random bytes; with them, whole cipher blocks.
 * @returns a slice of `secrets`.
 * @throws ERR_INTERNAL if it is not whole blocks.
 */
export function layOutBody(key: Uint8Array, padding: Uint8Array, blockBytes: number, secrets: SecretScope): Buffer {
  const body = secrets.take(LENGTH_BYTES + key.length + padding.length)
  if (body.length % blockBytes !== 0) throw new ServiceError('ERR_INTERNAL')
  body.writeUInt16BE(8 * key.length)
  body.set(key, LENGTH_BYTES)
  body.set(padding, LENGTH_BYTES + key.length)
  return body
}
