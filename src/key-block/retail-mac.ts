/**
 * The retail MAC under a clear key, for the known answer of a key that only verifies; MACs of requests are made in the HSM.
 *
 * @see ISO/IEC 9797-1:2011 7.4 (MAC algorithm 3) and 6.3.3 (padding method 2)
 */
import { xorInto } from '../bytes.ts'
import type { SecretScope } from '../secret.ts'
import { openEcb } from './ecb.ts'
import { padMethod2, splitLastBlock } from './iso-9797-padding.ts'
import { retailMacKeyObjects } from './retail-mac-key.ts'

const BLOCK_BYTES = 8

/**
 * Computes the whole retail MAC of a message.
 *
 * @param key - 16 bytes, `K1|K2`; not wiped here.
 * @param secrets - takes both objects' values and the result.
 * @returns 8 bytes; wiped when the scope ends.
 * @throws ERR_INTERNAL if the key has another length.
 */
export function retailMac(key: Uint8Array, message: Uint8Array, secrets: SecretScope): Buffer {
  const { mac, cbc } = retailMacKeyObjects(key, secrets)
  const { allButLast, last } = splitLastBlock(padMethod2(message, BLOCK_BYTES, secrets), BLOCK_BYTES)
  const chaining = openEcb('TDEA', cbc, secrets)
  const state = secrets.take(BLOCK_BYTES)
  for (let at = 0; at < allButLast.length; at += BLOCK_BYTES) {
    xorInto(state, state, allButLast.subarray(at, at + BLOCK_BYTES))
    chaining.encipher(state)
  }
  xorInto(state, state, last)
  return openEcb('TDEA', mac, secrets).encipher(state)
}
