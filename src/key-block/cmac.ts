/**
 * CMAC over a block cipher, for key check values and development keys: node:crypto gives none, so it is built from ECB.
 *
 * MACs of requests are made in the HSM; where it has no CMAC, of the blocks that are made here.
 *
 * @see NIST SP 800-38B, 6.1 (subkeys) and 6.2 (MAC generation)
 */
import { xorInto } from '../bytes.ts'
import type { SecretScope } from '../secret.ts'
import { openEcb, type BlockAlgorithm } from './ecb.ts'

// R_64 and R_128 of SP 800-38B 5.3.
const REDUCTION: Readonly<Record<BlockAlgorithm, number>> = { TDEA: 0x1b, AES: 0x87 }

/**
 * Computes the full CMAC of a message.
 *
 * @param key - TDEA: 16 or 24 bytes; AES: 16, 24 or 32; not wiped here.
 * @param message - any number of bytes; not wiped here.
 * @param secrets - takes the subkeys and the result.
 * @returns 8 bytes for TDEA, 16 for AES; wiped when the scope ends.
 * @throws ERR_INTERNAL if the key has another length.
 */
export function cmac(algorithm: BlockAlgorithm, key: Uint8Array, message: Uint8Array, secrets: SecretScope): Buffer {
  const { blockBytes, encipher } = openEcb(algorithm, key, secrets)
  const blocks = cmacBlocks(algorithm, encipher(secrets.take(blockBytes)), message, secrets)
  const state = secrets.take(blockBytes)
  for (let offset = 0; offset < blocks.length; offset += blockBytes) {
    xorInto(state, state, blocks.subarray(offset, offset + blockBytes))
    encipher(state)
  }
  return state
}

/**
 * The blocks that CBC with a zero initialisation vector turns into a CMAC: the message, its last block padded and masked with a
 * subkey (SP 800-38B 6.2, steps 1 to 4).
 *
 * @param encipheredZeros - the encipherment of a block of zeros, from which both subkeys are made; not wiped here.
 * @returns one block or more in `secrets`.
 */
export function cmacBlocks(
  algorithm: BlockAlgorithm,
  encipheredZeros: Buffer,
  message: Uint8Array,
  secrets: SecretScope,
): Buffer {
  const blockBytes = encipheredZeros.length
  const count = Math.max(1, Math.ceil(message.length / blockBytes))
  const blocks = secrets.take(count * blockBytes)
  blocks.set(message)
  const isComplete = message.length === blocks.length
  if (!isComplete) blocks[message.length] = 0x80
  const subkey = doubleBlock(encipheredZeros, algorithm, secrets)
  const last = blocks.subarray(-blockBytes)
  xorInto(last, last, isComplete ? subkey : doubleBlock(subkey, algorithm, secrets))
  return blocks
}

/**
 * Multiplies by x in the cipher's field, which is how both subkeys are made: a shift to the left, reduced without a branch
 * on the bit that falls out.
 */
export function doubleBlock(block: Buffer, algorithm: BlockAlgorithm, secrets: SecretScope): Buffer {
  const doubled = secrets.take(block.length)
  let carry = 0
  for (let i = block.length - 1; i >= 0; i--) {
    doubled[i] = (block[i]! << 1) | carry
    carry = block[i]! >> 7
  }
  doubled[block.length - 1]! ^= -carry & REDUCTION[algorithm]
  return doubled
}
