/** What a seal of the audit record is the MAC of; whoever makes one and whoever verifies one have it from here. */

const LABEL = Buffer.from('pinbridge audit seal, version 01', 'ascii')

/**
 * The message of a seal, 72 bytes: `label (32, ASCII) | digest (32) | time (8, big-endian, ms since 1970)`.
 *
 * The label keeps it apart from whatever else is computed under the same key, which is a key's known answer and its KCV.
 *
 * @param digest - SHA-256 in hex.
 */
export function sealMessage(digest: string, sealedAtMs: number): Buffer {
  const message = Buffer.alloc(LABEL.length + 32 + 8)
  message.set(LABEL)
  message.write(digest, LABEL.length, 'hex')
  message.writeBigUInt64BE(BigInt(sealedAtMs), LABEL.length + 32)
  return message
}
