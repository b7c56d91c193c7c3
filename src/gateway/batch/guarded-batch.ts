/** A batch of translations under the guessing limits: nothing of an item is told before its guess is paid for. */
import type { FastifyReply } from 'fastify'
import type { AnswerOf, Zone } from '../../bridge/contract.ts'
import { ServiceError } from '../../errors.ts'
import type { Logger } from '../../log.ts'
import { PAN_BYTES } from '../../pan.ts'
import type { GuessLimits, ItemVerdict } from '../guess-limits.ts'
import type { Metrics } from '../metrics.ts'
import { contextOf, type HasRawRequest } from '../request-context.ts'

/** A batch as it goes to the vault. */
export interface Batch {
  readonly from: Zone
  readonly to: Zone
  readonly items: number
  readonly packed: Buffer
}

/** Asks the vault by `call`, and says what may be told of each item. */
export type GuardedBatch = (
  request: HasRawRequest,
  reply: Pick<FastifyReply, 'header'>,
  batch: Batch,
  call: () => Promise<AnswerOf<'translatePinBlocks'>>,
) => Promise<{ readonly answer: AnswerOf<'translatePinBlocks'>; readonly verdicts: readonly ItemVerdict[] }>

/**
 * Makes the guard.
 *
 * @throws ERR_RATE_LIMITED, with Retry-After, before the vault is asked, if the client has no guess left; ERR_PIN_BLOCK_INVALID if
 * more items are rejected than may be; ERR_HSM_UNAVAILABLE while the limits cannot be counted.
 */
export function createGuardedBatch(deps: {
  readonly limits: () => Promise<GuessLimits>
  readonly log: Logger
  readonly metrics: Metrics
}): GuardedBatch {
  const { limits, log, metrics } = deps

  return async (request, reply, { from, to, items, packed }, call) => {
    const context = contextOf(request)
    const { client, requestId, operation } = context
    if (client === undefined) throw new ServiceError('ERR_CLIENT_UNAUTHENTICATED')
    const guesses = await limits()
    const refusal = await guesses.refuseBatch(client.id)
    if (refusal) {
      metrics.guessRefusals(client.id, 1)
      reply.header('retry-after', refusal.retryAfterS)
      throw new ServiceError('ERR_RATE_LIMITED')
    }
    const answer = await call()
    const { verdicts, isAborted } = await guesses.settleBatch({
      client: client.id,
      pans: packed.subarray(0, items * PAN_BYTES),
      from: { ...from, blocks: packed.subarray(items * PAN_BYTES) },
      to: { ...to, blocks: answer.packed },
      rejected: answer.rejected,
    })
    const counts = { translated: 0, rejected: 0, limited: 0, 'pan-variation': 0 }
    for (const verdict of verdicts) counts[verdict]++
    for (let i = 0; i < counts.rejected; i++) metrics.guess(client.id)
    for (let i = 0; i < counts['pan-variation']; i++) metrics.panVariationAlarm()
    metrics.guessRefusals(client.id, counts.limited)
    if (counts['pan-variation'] > 0) {
      log.warn({ event: 'pan-variation', requestId, clientId: client.id, operation }, 'one PIN block, many PANs')
    }
    context.batch = { items, rejected: counts.rejected, limited: counts.limited + counts['pan-variation'] }
    if (isAborted) throw new ServiceError('ERR_PIN_BLOCK_INVALID')
    return { answer, verdicts }
  }
}
