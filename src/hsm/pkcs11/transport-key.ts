/**
 * A key-transport key of the token at work: the keys of a key block are derived from it inside, and come out for one block.
 *
 * The protection key itself never leaves. No generic PKCS#11 token opens a key block inside itself, so that its two derived keys,
 * and the key that it carries, are in this process for the length of one command.
 */
import type { KeyEntry } from '../../config/schema.ts'
import {
  derivationMessages,
  keyBytesOf,
  type BlockKeyRole,
  type ProtectionAlgorithm,
} from '../../key-block/derivation.ts'
import { openKeyBlock, openVariantBlock, type BlockKeys, type KeyBlock } from '../../key-block/key-block.ts'
import { KeyBlockError } from '../../key-block/key-block-error.ts'
import type { SecretScope } from '../../secret.ts'
import { cipherOf } from './mechanisms.ts'
import type { Pkcs11Hsm } from './pkcs11-hsm.ts'

/**
 * Opens a key block under a key-transport key that `hsm` has found.
 *
 * @returns the key that the block carries, in `secrets`.
 * @throws KeyBlockError, one for every cause; ServiceError if the token fails.
 */
export async function openUnder(hsm: Pkcs11Hsm, key: KeyEntry, block: KeyBlock, secrets: SecretScope): Promise<Buffer> {
  const { versionId } = block.header
  if (versionId === 'B' || versionId === 'D') {
    const keys = await deriveBlockKeys(hsm, key, secrets)
    // The other cipher's keys would not fit the block.
    if ((versionId === 'D') !== (keys.algorithm === 'AES')) throw KeyBlockError.refused()
    return openKeyBlock(block, keys, secrets)
  }
  const variants = hsm.variantKeys(key)
  if (variants === undefined) throw KeyBlockError.refused()
  return await openVariantBlock(block, variants, secrets)
}

/** Derives the two keys of a block of version B or D, by as many CMACs in the token as it takes. */
export async function deriveBlockKeys(hsm: Pkcs11Hsm, key: KeyEntry, secrets: SecretScope): Promise<BlockKeys> {
  const algorithm = key.algorithm as ProtectionAlgorithm
  const cipher = cipherOf(algorithm)
  const derive = async (role: BlockKeyRole): Promise<Buffer> => {
    const messages = derivationMessages(algorithm, role)
    const whole = secrets.take(messages.length * (cipher === 'TDEA' ? 8 : 16))
    let at = 0
    for (const message of messages) {
      const part = await hsm.deriveBytes(key, cipher === 'TDEA' ? 'TDEA-CMAC' : 'AES-CMAC', message, secrets)
      whole.set(part, at)
      at += part.length
    }
    return whole.subarray(0, keyBytesOf(algorithm))
  }
  return { algorithm: cipher, kbek: await derive('KBEK'), kbak: await derive('KBAK') }
}
