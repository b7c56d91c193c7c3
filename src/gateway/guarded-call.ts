/** A call to the vault under the guessing limits: refused before, or counted after. */
import type { FastifyReply } from 'fastify'
import { ServiceError, type ErrorCode } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Attempt, GuessLimits } from './guess-limits.ts'
import type { BlockUnderKey } from './guess-subjects.ts'
import type { Metrics } from './metrics.ts'
import { contextOf, type HasRawRequest } from './request-context.ts'

/** Asks the vault by `call`, unless the limits refuse the attempt. */
export type GuardedCall = <T extends object>(
  request: HasRawRequest,
  reply: Pick<FastifyReply, 'header'>,
  attempt: Omit<Attempt, 'client'> & {
    /** The PIN block in the answer, if the operation makes one. */
    readonly made?: (answer: T) => BlockUnderKey | undefined
  },
  call: () => Promise<T>,
) => Promise<T>

/**
 * The errors that tell right from wrong about a PIN, a PAN, a PRW or a MAC.
 *
 * ERR_PIN_REFUSED is one: whoever sends a PIN that he does not know learns that it is among the few that are weak. So a
 * customer who chooses weak PINs spends the card's budget as one who mistypes does, and has it back when the window ends.
 */
const GUESS_CODES: ReadonlySet<ErrorCode> = new Set([
  'ERR_PIN_BLOCK_INVALID',
  'ERR_PIN_CHANGE_NOT_VERIFIED',
  'ERR_PIN_REFUSED',
])

/**
 * Makes the guard.
 *
 * @throws ERR_RATE_LIMITED, with Retry-After, before the vault is asked; ERR_HSM_UNAVAILABLE while the limits cannot be counted.
 */
export function createGuardedCall(deps: {
  readonly limits: () => Promise<GuessLimits>
  readonly log: Logger
  readonly metrics: Metrics
}): GuardedCall {
  const { limits, log, metrics } = deps

  return async (request, reply, attempt, call) => {
    const { client, requestId, operation } = contextOf(request)
    if (client === undefined) throw new ServiceError('ERR_CLIENT_UNAUTHENTICATED')
    const reservation = await (await limits()).reserve({ ...attempt, client: client.id })

    if ('reason' in reservation) {
      if (reservation.reason === 'pan-variation') {
        metrics.panVariationAlarm()
        log.warn({ event: 'pan-variation', requestId, clientId: client.id, operation }, 'one PIN block, many PANs')
      } else {
        metrics.guessRefusals(client.id, 1)
      }
      reply.header('retry-after', reservation.retryAfterS)
      throw new ServiceError('ERR_RATE_LIMITED')
    }

    const spend = () => {
      reservation.spend()
      metrics.guess(client.id)
    }
    try {
      const answer = await call()
      if ('verified' in answer && answer.verified === false) spend()
      if (attempt.setsPin) reservation.spendSet()
      const made = attempt.made?.(answer)
      if (made) await reservation.made(made)
      return answer
    } catch (error) {
      if (error instanceof ServiceError && GUESS_CODES.has(error.code)) spend()
      throw error
    } finally {
      reservation.release()
    }
  }
}
