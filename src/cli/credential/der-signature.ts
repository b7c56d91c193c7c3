/** Signatures of P-256 as the wire of IBM Digital Asset Haven has them: a DER SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3). */
import type { PublicKey } from '../../hsm/hsm.ts'

const INTEGER = 0x02
const SEQUENCE = 0x30

/**
 * Encodes a signature.
 *
 * @param signature - EC: r | s, 64 bytes; any other kind has no structure, and is given back as it is.
 */
export function derSignature({ kty }: PublicKey, signature: Buffer): Buffer {
  if (kty !== 'EC') return signature
  const half = signature.length / 2
  const integers = Buffer.concat([signature.subarray(0, half), signature.subarray(half)].map(integer))
  return Buffer.concat([Buffer.of(SEQUENCE, integers.length), integers])
}

/** In as few bytes as it takes; a first bit that is set would make it negative. */
function integer(bytes: Buffer): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0)
  const magnitude = first < 0 ? Buffer.alloc(1) : bytes.subarray(first)
  const sign = magnitude[0]! & 0x80 ? Buffer.alloc(1) : Buffer.alloc(0)
  return Buffer.concat([Buffer.of(INTEGER, sign.length + magnitude.length), sign, magnitude])
}
