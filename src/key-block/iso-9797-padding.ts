/** Padding method 2 of ISO/IEC 9797-1, and the cut before the last block that a composed retail MAC needs. */
import { ServiceError } from '../errors.ts'
import type { SecretScope } from '../secret.ts'

/** A padded message in two: both are views of it. */
export interface SplitMessage {
  /** Empty if the message is one block: then there is nothing to chain, and the chaining value is zero. */
  readonly allButLast: Buffer
  readonly last: Buffer
}

/**
 * Pads a message: one byte 80, then as few bytes 00 as complete the block.
 *
 * The padding is always there, also behind a message of whole blocks, so that no two messages give the same result.
 *
 * @param message - any number of bytes; not wiped here.
 * @param blockBytes - 8 for DES.
 * @param secrets - takes the padded message.
 * @see ISO/IEC 9797-1:2011 6.3.3
 */
export function padMethod2(message: Uint8Array, blockBytes: number, secrets: SecretScope): Buffer {
  const blocks = Math.trunc(message.length / blockBytes) + 1
  const padded = secrets.take(blocks * blockBytes)
  padded.set(message)
  padded[message.length] = 0x80
  return padded
}

/**
 * Splits a padded message before its last block.
 *
 * @param padded - one block or more; the parts stay within it and are wiped with it.
 * @throws ERR_INTERNAL if it is empty or does not consist of whole blocks.
 */
export function splitLastBlock(padded: Buffer, blockBytes: number): SplitMessage {
  if (padded.length === 0 || padded.length % blockBytes !== 0) throw new ServiceError('ERR_INTERNAL')
  const cut = padded.length - blockBytes
  return { allButLast: padded.subarray(0, cut), last: padded.subarray(cut) }
}
