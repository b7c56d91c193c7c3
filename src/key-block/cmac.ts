/**
 * CMAC over a block cipher, for key check values and development keys: node:crypto gives none, so it is built from ECB.
 *
 * MACs of requests are made in the HSM, not here.
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
  const blocks = Math.max(1, Math.ceil(message.length / blockBytes))
  const lastStart = (blocks - 1) * blockBytes
  const isComplete = message.length === blocks * blockBytes

  const subkey = doubleBlock(encipher(secrets.take(blockBytes)), algorithm, secrets)
  const last = secrets.take(blockBytes)
  last.set(message.subarray(lastStart))
  if (!isComplete) last[message.length - lastStart] = 0x80
  xorInto(last, last, isComplete ? subkey : doubleBlock(subkey, algorithm, secrets))

  const state = secrets.take(blockBytes)
  for (let offset = 0; offset < lastStart; offset += blockBytes) {
    xorInto(state, state, message.subarray(offset, offset + blockBytes))
    encipher(state)
  }
  xorInto(state, state, last)
  return encipher(state)
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
