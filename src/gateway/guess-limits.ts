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

/** What a request could be a guess at. */
export interface Attempt {
  readonly client: string
  readonly pan?: string | undefined
  /** The key the block is under; a JWE names its own, so pin/set gives a constant. */
  readonly key: string
  /** The PIN block in hex of either case, or the JWE that holds one. */
  readonly block: string
}

/** Leave to ask the vault, to be released once the answer is there. */
export interface Reservation {
  /**
   * Called when a PIN block was made from this one: from then on both share one record and one budget, or each fresh
   * block would be a fresh set of tries at the same PIN.
   */
  readonly made: (key: string, block: string) => void
  /** Called when the answer told right from wrong. */
  readonly spend: () => void
  readonly release: () => void
}

/** Why the vault is not asked. */
export interface Refusal {
  readonly retryAfterS: number
  readonly reason: 'budget' | 'pan-variation'
}

/** Translated PIN blocks that have not been shown to anybody, n of them. */
export interface TranslatedBatch {
  readonly client: string
  readonly key: string
  /** n packed PANs. */
  readonly pans: Buffer
  /** n blocks as they came, under `key`. */
  readonly blocks: Buffer
  readonly outKey: string
  /** n blocks as they will go, under `outKey`; those of rejected items are not looked at. */
  readonly outBlocks: Buffer
  /** The places of the rejected ones, in ascending order. */
  readonly rejected: readonly number[]
}

/** What may be said of an item. */
export type ItemVerdict = 'translated' | 'rejected' | 'limited' | 'pan-variation'

/** The limits of one process. */
export interface GuessLimits {
  /** Reserves a guess in every budget that a request touches, or refuses it. */
  readonly reserve: (attempt: Attempt) => Promise<Reservation | Refusal>
  /** Refuses a batch whose client has nothing left to guess with; reserves nothing. */
  readonly refuseBatch: (client: string) => Promise<Refusal | undefined>
  /**
   * Spends for a batch as if its items had been asked for one after the other: once a budget is used up, nothing more is
   * told of whom it belongs to, neither that a block is wrong nor that it is right.
   */
  readonly settleBatch: (batch: TranslatedBatch) => Promise<readonly ItemVerdict[]>
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

  const blockHash = (key: string, block: string): number => {
    const bytes = decodeHex(block)
    return bytes === undefined ? hash.jwe(block) : hash.blocks(key, bytes, bytes.length)[0]!
  }
  const cardHash = (pan: string): number => hash.cards(Buffer.from(packPan(pan)))[0]!
  const originOf = (block: number): number => origins.get(block) ?? block

  const reserve: GuessLimits['reserve'] = async ({ client, pan, key, block }) => {
    const blockOrigin = originOf(blockHash(key, block))
    const card = pan === undefined ? undefined : cardHash(pan)
    const claims = [clients.claim(hash.client(client)), blocks.claim(blockOrigin)]
    if (card !== undefined) claims.push(cards.claim(card))
    const release = () => claims.forEach((claim) => claim.release())

    const short = (await Promise.all(claims.map(({ granted }) => granted))).filter(({ points }) => points === 0)
    if (short.length > 0) {
      release()
      return { retryAfterS: Math.max(...short.map(({ retryAfterS }) => retryAfterS)), reason: 'budget' }
    }
    if (card !== undefined && !admitPan(blockOrigin, card)) {
      release()
      return { retryAfterS: Math.ceil(windowMs / 1000), reason: 'pan-variation' }
    }
    return {
      made: (outKey, outBlock) => origins.set(blockHash(outKey, outBlock), blockOrigin),
      spend: () => claims.forEach((claim) => claim.spend()),
      release,
    }
  }

  const refuseBatch: GuessLimits['refuseBatch'] = async (client) => {
    const claim = clients.claim(hash.client(client))
    const { points, retryAfterS } = await claim.granted
    claim.release()
    return points > 0 ? undefined : { retryAfterS, reason: 'budget' }
  }

  /** Whether card and block have a point left; a rejected item spends it. */
  const admitItem = async (card: number, block: number, isRejected: boolean): Promise<boolean> => {
    const claims = [cards.claim(card), blocks.claim(block)]
    const granted = await Promise.all(claims.map((claim) => claim.granted))
    const admitted = granted.every(({ points }) => points > 0)
    for (const claim of claims) {
      if (admitted && isRejected) claim.spend()
      claim.release()
    }
    return admitted
  }

  const settleBatch: GuessLimits['settleBatch'] = async (batch) => {
    const { rejected } = batch
    const cardOf = hash.cards(batch.pans)
    const items = cardOf.length
    const blockOf = hash.blocks(batch.key, batch.blocks, batch.blocks.length / items)
    const outBlockOf = hash.blocks(batch.outKey, batch.outBlocks, batch.outBlocks.length / items)
    const clientClaim = clients.claim(hash.client(batch.client), rejected.length)
    let left = (await clientClaim.granted).points
    const verdicts: ItemVerdict[] = []
    let next = 0
    for (let i = 0; i < items; i++) {
      const isRejected = rejected[next] === i
      if (isRejected) next++
      const card = cardOf[i]!
      const block = originOf(blockOf[i]!)
      // The first rejected item that the client cannot pay for ends what the batch tells.
      if (isRejected && left === 0) {
        while (verdicts.length < items) verdicts.push('limited')
        break
      }
      const isKnown = isRejected || cards.mayHaveSpent(card) || blocks.mayHaveSpent(block)
      if (isKnown && !(await admitItem(card, block, isRejected))) verdicts.push('limited')
      else if (!admitPan(block, card)) verdicts.push('pan-variation')
      else if (isRejected) {
        clientClaim.spend()
        left--
        verdicts.push('rejected')
      } else {
        origins.set(outBlockOf[i]!, block)
        verdicts.push('translated')
      }
    }
    clientClaim.release()
    return verdicts
  }

  return { reserve, refuseBatch, settleBatch }
}
