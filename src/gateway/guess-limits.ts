/**
 * What guessing costs (README, Errors): everything that tells right from wrong spends one budget, per client, per card
 * and per (key, PIN block) whatever the PAN; and one block with more than two PANs is refused.
 */
import type { GatewayConfig } from '../config/schema.ts'
import { decodeHex } from '../bytes.ts'
import { packPan } from '../pan.ts'
import { createOrigins } from './block-origins.ts'
import { createGuessBudget } from './guess-budget.ts'
import { createPanVariation } from './pan-variation.ts'
import { createSubjectHash } from './subject-hash.ts'

/** A PIN block under a key. */
export interface BlockUnderKey {
  /** The key the block is under; a JWE names its own, so pin/set gives a constant. */
  readonly key: string
  /** The PIN block in hex of either case, or the JWE that holds one. */
  readonly block: string
  /** Its format, where the request says it. */
  readonly format?: string | undefined
}

/** What a request could be a guess at. */
export interface Attempt extends BlockUnderKey {
  readonly client: string
  readonly pan?: string | undefined
}

/** Leave to ask the vault, to be released once the answer is there. */
export interface Reservation {
  /**
   * Called when a PIN block was made from this one: from then on both share one record and one budget, or each fresh
   * block would be a fresh set of tries at the same PIN.
   */
  readonly made: (block: BlockUnderKey) => void
  /** Called when the answer told right from wrong. */
  readonly spend: () => void
  readonly release: () => void
}

/** Why the vault is not asked. */
export interface Refusal {
  readonly retryAfterS: number
  readonly reason: 'budget' | 'pan-variation'
}

/** PIN blocks under one key, one behind the other. */
export interface BlocksUnderKey {
  readonly key: string
  readonly format: string
  readonly blocks: Buffer
}

/** Translated PIN blocks that have not been shown to anybody, n of them. */
export interface TranslatedBatch {
  readonly client: string
  /** n packed PANs. */
  readonly pans: Buffer
  readonly from: BlocksUnderKey
  /** Those of rejected items are not looked at. */
  readonly to: BlocksUnderKey
  /** The places of the rejected ones, in ascending order. */
  readonly rejected: readonly number[]
}

/** What may be said of an item. */
export type ItemVerdict = 'translated' | 'rejected' | 'limited' | 'pan-variation'

/** The limits of one process. */
export interface GuessLimits {
  /** Reserves a guess in every budget that a request touches, or refuses it. */
  readonly reserve: (attempt: Attempt) => Reservation | Refusal
  /** Refuses a batch whose client has nothing left to guess with; reserves nothing. */
  readonly refuseBatch: (client: string) => Refusal | undefined
  /**
   * Spends for a batch as if its items had been asked for one after the other: once a budget is used up, nothing more is
   * told of whom it belongs to, neither that a block is wrong nor that it is right.
   */
  readonly settleBatch: (batch: TranslatedBatch) => readonly ItemVerdict[]
}

/** Makes the limits of one process. */
export function createGuessLimits(limits: GatewayConfig['limits']['guesses']): GuessLimits {
  const { windowMs } = limits
  const hash = createSubjectHash()
  const clients = createGuessBudget(limits.perClient, windowMs)
  const cards = createGuessBudget(limits.perCard, windowMs)
  const blocks = createGuessBudget(limits.perPinBlock, windowMs)
  const admitPan = createPanVariation({ windowMs })
  const origins = createOrigins(windowMs)

  const blockHash = ({ key, block, format }: BlockUnderKey, card: number | undefined): number => {
    const bytes = decodeHex(block)
    const own = bytes === undefined ? hash.jwe(block) : hash.blocks(key, bytes, bytes.length)[0]!
    return card === undefined ? own : subjectOf(own, card, format)
  }
  const originOf = (block: number): number => origins.get(block) ?? block

  const reserve: GuessLimits['reserve'] = (attempt) => {
    const { client, pan } = attempt
    const card = pan === undefined ? undefined : hash.cards(Buffer.from(packPan(pan)))[0]!
    const block = originOf(blockHash(attempt, card))
    const subjects: [typeof clients, number][] = [
      [clients, hash.client(client)],
      [blocks, block],
    ]
    if (card !== undefined) subjects.push([cards, card])

    const exhausted = subjects.filter(([budget, subject]) => budget.left(subject) === 0)
    if (exhausted.length > 0) {
      const waits = exhausted.map(([budget, subject]) => budget.retryAfterS(subject))
      return { retryAfterS: Math.max(...waits), reason: 'budget' }
    }
    if (card !== undefined && !admitPan(block, card)) {
      return { retryAfterS: Math.ceil(windowMs / 1000), reason: 'pan-variation' }
    }
    for (const [budget, subject] of subjects) budget.reserve(subject)
    return {
      made: (made) => origins.set(blockHash(made, card), block),
      spend: () => subjects.forEach(([budget, subject]) => budget.spend(subject)),
      release: () => subjects.forEach(([budget, subject]) => budget.release(subject)),
    }
  }

  const refuseBatch: GuessLimits['refuseBatch'] = (client) => {
    const subject = hash.client(client)
    return clients.left(subject) > 0 ? undefined : { retryAfterS: clients.retryAfterS(subject), reason: 'budget' }
  }

  const settleBatch: GuessLimits['settleBatch'] = ({ client, pans, from, to, rejected }) => {
    const clientHash = hash.client(client)
    const cardHashes = hash.cards(pans)
    const items = cardHashes.length
    const blockHashes = hash.blocks(from.key, from.blocks, from.blocks.length / items)
    const outHashes = hash.blocks(to.key, to.blocks, to.blocks.length / items)
    const verdicts: ItemVerdict[] = []
    let next = 0
    for (let i = 0; i < items; i++) {
      const isRejected = rejected[next] === i
      if (isRejected) next++
      const card = cardHashes[i]!
      const block = originOf(subjectOf(blockHashes[i]!, card, from.format))
      if (clients.left(clientHash) === 0 || cards.left(card) === 0 || blocks.left(block) === 0) verdicts.push('limited')
      else if (!admitPan(block, card)) verdicts.push('pan-variation')
      else if (isRejected) {
        clients.spend(clientHash)
        cards.spend(card)
        blocks.spend(block)
        verdicts.push('rejected')
      } else {
        origins.set(subjectOf(outHashes[i]!, card, to.format), block)
        verdicts.push('translated')
      }
    }
    return verdicts
  }

  return { reserve, refuseBatch, settleBatch }
}

/**
 * A block as a subject: a SECCOS block is a function of its PIN and key alone, so that everybody with that PIN has the
 * same one, and it is a subject only together with its card.
 */
function subjectOf(block: number, card: number, format: string | undefined): number {
  return format === 'SECCOS' ? (block + card) % 2 ** 53 : block
}
