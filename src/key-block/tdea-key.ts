/** What a TDEA key value must be before it is used: odd parity, parts that differ, and no weak part. */
import { ServiceError } from '../errors.ts'

const PART_BYTES = 8

// NIST SP 800-67 Rev. 2, weak and semi-weak keys, in odd parity.
const WEAK_PARTS: readonly Buffer[] = [
  '0101010101010101',
  'fefefefefefefefe',
  'e0e0e0e0f1f1f1f1',
  '1f1f1f1f0e0e0e0e',
  '011f011f010e010e',
  '1f011f010e010e01',
  '01e001e001f101f1',
  'e001e001f101f101',
  '01fe01fe01fe01fe',
  'fe01fe01fe01fe01',
  '1fe01fe00ef10ef1',
  'e01fe01ff10ef10e',
  '1ffe1ffe0efe0efe',
  'fe1ffe1ffe0efe0e',
  'e0fee0fef1fef1fe',
  'fee0fee0fef1fef1',
].map((hex) => Buffer.from(hex, 'hex'))

/**
 * Sets the lowest bit of every byte so that the byte has an odd number of ones, as DES keys are written.
 *
 * @param key - any number of bytes, changed in place; its owner wipes it.
 * @see FIPS 46-3, and NIST SP 800-67 Rev. 2, 3.3
 */
export function setOddParity(key: Uint8Array): void {
  for (let i = 0; i < key.length; i++) {
    let ones = key[i]! & 0xfe
    ones ^= ones >> 4
    ones ^= ones >> 2
    ones ^= ones >> 1
    key[i] = (key[i]! & 0xfe) | (~ones & 1)
  }
}

/**
 * Whether a TDEA key is weaker than its length promises: two equal parts, or a weak or semi-weak DES key as a part.
 *
 * Parity bits are no part of the key and are not compared. `K1|K2|K1` in 24 bytes counts as weak, because it is a
 * double-length key: check the 16 bytes before they are spread out.
 *
 * @param key - 16 or 24 bytes; not wiped here.
 * @throws ERR_INTERNAL if the key has another length.
 */
export function isWeakTdeaKey(key: Uint8Array): boolean {
  if (key.length !== 2 * PART_BYTES && key.length !== 3 * PART_BYTES) throw new ServiceError('ERR_INTERNAL')
  const parts: Uint8Array[] = []
  for (let offset = 0; offset < key.length; offset += PART_BYTES) parts.push(key.subarray(offset, offset + PART_BYTES))
  return parts.some(
    (part, i) =>
      parts.slice(i + 1).some((other) => isSamePart(part, other)) || WEAK_PARTS.some((weak) => isSamePart(part, weak)),
  )
}

/** Compares the 56 key bits of two parts, in constant time. */
function isSamePart(a: Uint8Array, b: Uint8Array): boolean {
  let difference = 0
  for (let i = 0; i < PART_BYTES; i++) difference |= (a[i]! ^ b[i]!) & 0xfe
  return difference === 0
}
