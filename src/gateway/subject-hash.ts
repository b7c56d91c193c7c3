/**
 * What the guessing limits know a card, a PIN block or a JWE by: a keyed hash of it, so that neither a dump nor a metric
 * gives them.
 *
 * A card or a block fits into one block of AES-128 under a key of the gateway, whitened by a tag of what it is: a pseudo-
 * random permutation, and the subjects of a whole batch in one call. A JWE goes through HMAC-SHA-256. Of either, 53 bits
 * are kept, which is what a number holds: two of a million subjects meet with a chance of 1 in 18 000, and then share a budget.
 * Where meeting would cost more than that, HMAC-SHA-256 is cut to 16 bytes.
 */
import { createCipheriv, createHmac, createSecretKey, randomBytes } from 'node:crypto'
import { PAN_BYTES } from '../pan.ts'

const UNIT_BYTES = 16

/** The hashes under one key; equal subjects have equal hashes. */
export interface SubjectHash {
  /** @param pans - packed PANs, 10 bytes each. */
  readonly cards: (pans: Uint8Array) => Float64Array
  /** @param blocks - PIN blocks under one key, 8 or 16 bytes each. */
  readonly blocks: (key: string, blocks: Buffer, blockBytes: number) => Float64Array
  readonly jwe: (jwe: string) => number
  readonly client: (id: string) => number
  /** The hash that records know a card by: 32 hex digits, of the PAN as text. */
  readonly card: (pan: string) => string
  /** The hash of a change counter of a card, or of a request: 32 hex digits. */
  readonly tag: (kind: 'counter' | 'request', parts: readonly (string | undefined)[]) => string
}

/**
 * Makes the hashes.
 *
 * @param key - 32 bytes, not wiped here; left out, random ones that nobody else has.
 */
export function createSubjectHash(key: Buffer = randomBytes(32)): SubjectHash {
  // As a KeyObject: given as bytes, the key would be looked at anew for every HMAC, at six times its price.
  const hashKey = createSecretKey(key)
  const hmac = (...parts: string[]) => createHmac('sha256', hashKey).update(JSON.stringify(parts)).digest()
  const cipher = createCipheriv('aes-128-ecb', hmac('cipher').subarray(0, UNIT_BYTES), null).setAutoPadding(false)
  const tags = new Map<string, Buffer>()
  const tagOf = (kind: string, key: string): Buffer => {
    const known = tags.get(kind + key)
    if (known) return known
    const tag = hmac(kind, key).subarray(0, UNIT_BYTES)
    tags.set(kind + key, tag)
    return tag
  }
  const hashUnits = (units: Uint8Array, unitBytes: number, tag: Buffer): Float64Array => {
    const count = units.length / unitBytes
    const whitened = Buffer.allocUnsafe(count * UNIT_BYTES)
    for (let i = 0, at = 0; i < count; i++) {
      for (let j = 0; j < UNIT_BYTES; j++, at++) {
        whitened[at] = tag[j]! ^ (j < unitBytes ? units[i * unitBytes + j]! : 0)
      }
    }
    const hashed = cipher.update(whitened)
    const hashes = new Float64Array(count)
    for (let i = 0; i < count; i++) hashes[i] = leftmost53Bits(hashed, i * UNIT_BYTES)
    return hashes
  }
  return {
    cards: (pans) => hashUnits(pans, PAN_BYTES, tagOf('card', '')),
    blocks: (key, blocks, blockBytes) => hashUnits(blocks, blockBytes, tagOf('block', key)),
    jwe: (jwe) => leftmost53Bits(hmac('jwe', jwe), 0),
    client: (id) => leftmost53Bits(tagOf('client', id), 0),
    card: (pan) => hmac('pan', pan).toString('hex', 0, UNIT_BYTES),
    tag: (kind, parts) => hmac(kind, ...parts.map((part) => part ?? '')).toString('hex', 0, UNIT_BYTES),
  }
}

function leftmost53Bits(bytes: Buffer, at: number): number {
  const upper = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  return upper * 2 ** 21 + ((bytes[at + 4]! << 13) | (bytes[at + 5]! << 5) | (bytes[at + 6]! >> 3))
}
