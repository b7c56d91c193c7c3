/** What the guessing limits count for: cards and PIN blocks, by their keyed hashes. */
import { decodeHex } from '../bytes.ts'
import { packPan } from '../pan.ts'
import type { SubjectHash } from './subject-hash.ts'

/** A PIN block under a key. */
export interface BlockUnderKey {
  /** The key the block is under; a JWE names its own, so pin/set gives a constant. */
  readonly key: string
  /** The PIN block in hex of either case, or the JWE that holds one. */
  readonly block: string
  /** Its format, where the request says it. */
  readonly format?: string | undefined
}

/** A card as a subject. */
export function cardSubject(hash: SubjectHash, pan: string | undefined): number | undefined {
  return pan === undefined ? undefined : hash.cards(packPan(pan))[0]!
}

/** A PIN block, or the JWE that holds one, as a subject. */
export function blockSubject(
  hash: SubjectHash,
  { key, block, format }: BlockUnderKey,
  card: number | undefined,
): number {
  const bytes = decodeHex(block)
  const own = bytes === undefined ? hash.jwe(block) : hash.blocks(key, bytes, bytes.length)[0]!
  return card === undefined ? own : subjectOf(own, card, format)
}

/**
 * A block as a subject: a SECCOS block is a function of its PIN and key alone, so that everybody with that PIN has the
 * same one, and it is a subject only together with its card.
 */
export function subjectOf(block: number, card: number, format: string | undefined): number {
  return format === 'SECCOS' ? (block + card) % 2 ** 53 : block
}
