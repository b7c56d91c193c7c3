/**
 * How the two keys of a key block follow from its protection key: KBEK enciphers the body, KBAK makes the MAC.
 *
 * Versions B and D derive them by CMAC under the protection key; A and C XOR it with a constant. No key is held here.
 *
 * @see ANSI X9.143:2021, 7.3 (derivation) and 7.2 (variants); NIST SP 800-108 (counter mode)
 */

/** Which of the two keys. */
export type BlockKeyRole = 'KBEK' | 'KBAK'

/** A protection key's algorithm, and its length. */
export type ProtectionAlgorithm = 'TDEA-128' | 'TDEA-192' | 'AES-128' | 'AES-192' | 'AES-256'

const ALGORITHM_CODES: Readonly<Record<ProtectionAlgorithm, number>> = {
  'TDEA-128': 0,
  'TDEA-192': 1,
  'AES-128': 2,
  'AES-192': 3,
  'AES-256': 4,
}
const USAGE_CODES: Readonly<Record<BlockKeyRole, number>> = { KBEK: 0, KBAK: 1 }

/** Bytes of a key of this algorithm. */
export function keyBytesOf(algorithm: ProtectionAlgorithm): number {
  return Number(/\d+$/.exec(algorithm)![0]) / 8
}

/**
 * The messages whose CMACs under the protection key, one behind the other, begin with the derived key.
 *
 * Each is 8 bytes: `counter 1 | usage 2 | 00 | algorithm 2 | length of the key in bits 2`.
 *
 * @returns as many as it takes: the derived key is as long as the protection key.
 */
export function derivationMessages(algorithm: ProtectionAlgorithm, role: BlockKeyRole): Buffer[] {
  const macBytes = algorithm.startsWith('TDEA') ? 8 : 16
  const keyBytes = keyBytesOf(algorithm)
  return Array.from({ length: Math.ceil(keyBytes / macBytes) }, (_, i) => {
    const message = Buffer.alloc(8)
    message[0] = i + 1
    message.writeUInt16BE(USAGE_CODES[role], 1)
    message.writeUInt16BE(ALGORITHM_CODES[algorithm], 4)
    message.writeUInt16BE(8 * keyBytes, 6)
    return message
  })
}

/** What every byte of the protection key is XORed with for a variant of it (versions A and C). */
export const VARIANT_BYTE: Readonly<Record<BlockKeyRole, number>> = { KBEK: 0x45, KBAK: 0x4d }
