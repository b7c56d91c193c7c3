/**
 * What guessing costs (README, Errors): everything that tells right from wrong spends one budget, per client, per card
 * and per (key, PIN block) whatever the PAN; and one block with more than two PANs is refused.
 *
 * Cards, blocks and JWEs are counted under HMAC-SHA-256 with a key of this process: neither a dump nor a metric gives them.
 */
import { createHmac, randomBytes } from 'node:crypto'
import type { GatewayConfig } from '../config/schema.ts'
import { createGuessBudget } from './guess-budget.ts'
import { createOrigins } from './block-origins.ts'
import { createPanVariation } from './pan-variation.ts'

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

/** Reserves a guess in every budget that a request touches, or refuses it. */
export type ReserveGuess = (attempt: Attempt) => Promise<Reservation | Refusal>

const HEX = /^[0-9A-Fa-f]+$/

/** Makes the limits of one process. */
export function createGuessLimits(limits: GatewayConfig['limits']['guesses']): ReserveGuess {
  const { windowMs } = limits
  const hashKey = randomBytes(32)
  const hash = (...parts: string[]) => createHmac('sha256', hashKey).update(JSON.stringify(parts)).digest('base64url')
  const clients = createGuessBudget(limits.perClient, windowMs)
  const cards = createGuessBudget(limits.perCard, windowMs)
  const blocks = createGuessBudget(limits.perPinBlock, windowMs)
  const admitPan = createPanVariation({ windowMs })
  const origins = createOrigins(windowMs)
  // Hex of another case is the same block; a JWE's case is part of it, and none is hex alone.
  const hashOf = (key: string, block: string) => hash('block', key, HEX.test(block) ? block.toUpperCase() : block)

  return async ({ client, pan, key, block }) => {
    const ownHash = hashOf(key, block)
    const blockHash = origins.get(ownHash) ?? ownHash
    const panHash = pan === undefined ? undefined : hash('card', pan)
    const claims = [clients.claim(client), blocks.claim(blockHash)]
    if (panHash !== undefined) claims.push(cards.claim(panHash))
    const release = () => claims.forEach((claim) => claim.release())

    const waits = (await Promise.all(claims.map((claim) => claim.refusedForS))).filter((wait) => wait !== undefined)
    if (waits.length > 0) {
      release()
      return { retryAfterS: Math.max(...waits), reason: 'budget' }
    }
    if (panHash !== undefined && !admitPan(blockHash, panHash)) {
      release()
      return { retryAfterS: Math.ceil(windowMs / 1000), reason: 'pan-variation' }
    }
    return {
      made: (outKey, outBlock) => origins.set(hashOf(outKey, outBlock), blockHash),
      spend: () => claims.forEach((claim) => claim.spend()),
      release,
    }
  }
}
