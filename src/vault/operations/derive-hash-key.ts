/** Derives the working key of the guessing limits' hashes from the limit-hash key. */
import type { AnswerOf } from '../../bridge/contract.ts'
import { keyRef } from '../../hsm/key-catalogue.ts'
import { SecretScope } from '../../secret.ts'
import type { VaultContext } from '../context.ts'

const LABEL = Buffer.from('pinbridge limit hash', 'ascii')
const BLOCKS = 2

/**
 * Derives 32 bytes by the KDF in counter mode with AES-CMAC: block i is CMAC over `i (4) | label | 00 | L in bits (4)`.
 *
 * @see NIST SP 800-108r1 section 4.1, without context
 */
export async function deriveHashKey({
  hsm,
  catalogue,
}: Pick<VaultContext, 'hsm' | 'catalogue'>): Promise<AnswerOf<'deriveHashKey'>> {
  const key = catalogue.hashKey()
  using secrets = new SecretScope()
  const blocks: Buffer[] = []
  for (let i = 1; i <= BLOCKS; i++) {
    blocks.push(secrets.adopt(await hsm.generateMac(key, 'AES-CMAC', blockInput(i))))
  }
  // The channel copies it; what is left here goes with the next collection, as a block under a key does.
  return { packed: Buffer.concat(blocks), key: keyRef(key) }
}

function blockInput(i: number): Buffer {
  const input = Buffer.alloc(4 + LABEL.length + 1 + 4)
  input.writeUInt32BE(i)
  input.set(LABEL, 4)
  input.writeUInt32BE(BLOCKS * 16 * 8, input.length - 4)
  return input
}
