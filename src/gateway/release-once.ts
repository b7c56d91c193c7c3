/** Holds an answer back until its outcome is recorded; where it cannot be, another answer goes out in its place. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { classify, problemOf, PROBLEM_TYPE, RETRY_AFTER_S, STATUS } from './problem.ts'
import type { RecordOutcome } from './audited.ts'
import { findContext } from './request-context.ts'

/** Makes the onSend hook; it comes first, so that the others see the answer that goes out. */
export function releaseOnce(recordOutcome: RecordOutcome) {
  return async (request: FastifyRequest, reply: FastifyReply, payload: unknown): Promise<unknown> => {
    try {
      await recordOutcome(request)
      return payload
    } catch (error) {
      const outcome = classify(error)
      const context = findContext(request)
      if (context) context.outcome = outcome
      const retryAfter = RETRY_AFTER_S[outcome.code]
      if (retryAfter !== undefined) reply.header('retry-after', retryAfter)
      reply.code(STATUS[outcome.code]).type(PROBLEM_TYPE).removeHeader('content-length')
      return Buffer.from(JSON.stringify(problemOf(outcome.code, request.id)))
    }
  }
}
