/**
 * What guessing costs (README, Errors): everything that tells right from wrong spends one budget, per client, per card
 * and per (key, PIN block) whatever the PAN; and one block with more than two PANs is refused. PINs that are set have a budget
 * of their own, per card (M-14).
 */
import type { GatewayConfig } from '../config/schema.ts'
import { createOrigins } from './block-origins.ts'
import { createGuessBudget } from './guess-budget.ts'
import { blockSubject, cardSubject, subjectOf, type BlockUnderKey } from './guess-subjects.ts'
import { createPanVariation } from './pan-variation.ts'
import type { SubjectHash } from './subject-hash.ts'

/** What a request could be a guess at. */
export interface Attempt extends BlockUnderKey {
  readonly client: string
  readonly pan?: string | undefined
  /** Whether a PIN of the card is set by it. */
  readonly setsPin?: boolean | undefined
}

/** Leave to ask the vault, to be released once the answer is there. */
export interface Reservation {
  /**
   * Called when a PIN block was made from this one: from then on both share one record and one budget, or each fresh
   * block would be a fresh set of tries at the same PIN.
   */
  readonly made: (block: BlockUnderKey) => MaybePromise<void>
  /** Called when the answer told right from wrong. */
  readonly spend: () => void
  /** Called when a PIN was set. */
  readonly spendSet: () => void
  readonly release: () => void
}

/** What one process knows at once and a store of several is asked for. */
export type MaybePromise<T> = T | Promise<T>

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

/** What may be said of a batch. */
export interface SettledBatch {
  /** One an item, in their order, as far as it was settled. */
  readonly verdicts: readonly ItemVerdict[]
  /** Whether more of it was rejected than may be: then nothing is said of any item, and what would have been is paid for. */
  readonly isAborted: boolean
}

/** The limits of one process, or of all that share a store. */
export interface GuessLimits {
  /** Reserves a guess in every budget that a request touches, or refuses it. */
  readonly reserve: (attempt: Attempt) => MaybePromise<Reservation | Refusal>
  /** Refuses a batch whose client has nothing left to guess with; reserves nothing. */
  readonly refuseBatch: (client: string) => MaybePromise<Refusal | undefined>
  /**
   * Spends for a batch as if its items had been asked for one after the other: once a budget is used up, nothing more is
   * told of whom it belongs to, neither that a block is wrong nor that it is right.
   */
  readonly settleBatch: (batch: TranslatedBatch) => MaybePromise<SettledBatch>
}

/** The budgets of guesses, and how much of a batch may be rejected. */
export type GuessSettings = Pick<GatewayConfig['limits'], 'guesses' | 'batchRejects'>

/** Makes the limits of one process, in its memory. */
export function createGuessLimits({ guesses, batchRejects }: GuessSettings, hash: SubjectHash): GuessLimits {
  const { windowMs } = guesses
  const clients = createGuessBudget(guesses.perClient, windowMs)
  const cards = createGuessBudget(guesses.perCard, windowMs)
  const blocks = createGuessBudget(guesses.perPinBlock, windowMs)
  const sets = createGuessBudget(guesses.perCardMade, windowMs)
  const admitPan = createPanVariation({ windowMs })
  const origins = createOrigins(windowMs)

  const originOf = (block: number): number => origins.get(block) ?? block

  const reserve = (attempt: Attempt): Reservation | Refusal => {
    const { client, pan, setsPin } = attempt
    const card = cardSubject(hash, pan)
    const block = originOf(blockSubject(hash, attempt, card))
    const guessed: [typeof clients, number][] = [
      [clients, hash.client(client)],
      [blocks, block],
    ]
    if (card !== undefined) guessed.push([cards, card])
    const set: typeof guessed = setsPin && card !== undefined ? [[sets, card]] : []
    const subjects = set.length === 0 ? guessed : [...guessed, ...set]

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
      made: (made) => origins.set(blockSubject(hash, made, card), block),
      spend: () => guessed.forEach(([budget, subject]) => budget.spend(subject)),
      spendSet: () => set.forEach(([budget, subject]) => budget.spend(subject)),
      release: () => subjects.forEach(([budget, subject]) => budget.release(subject)),
    }
  }

  const refuseBatch = (client: string): Refusal | undefined => {
    const subject = hash.client(client)
    return clients.left(subject) > 0 ? undefined : { retryAfterS: clients.retryAfterS(subject), reason: 'budget' }
  }

  const settleBatch = ({ client, pans, from, to, rejected }: TranslatedBatch): SettledBatch => {
    const clientHash = hash.client(client)
    const cardHashes = hash.cards(pans)
    const items = cardHashes.length
    const blockHashes = hash.blocks(from.key, from.blocks, from.blocks.length / items)
    const outHashes = hash.blocks(to.key, to.blocks, to.blocks.length / items)
    const verdicts: ItemVerdict[] = []
    let next = 0
    let told = 0
    for (let i = 0; i < items && told <= batchRejects; i++) {
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
        told++
      } else {
        origins.set(subjectOf(outHashes[i]!, card, to.format), block)
        verdicts.push('translated')
      }
    }
    return { verdicts, isAborted: told > batchRejects }
  }

  return { reserve, refuseBatch, settleBatch }
}
