/** How many batches of one client are under way at once: each holds some megabytes, from its first byte to its last. */
import type { FastifyReply } from 'fastify'
import type { IncomingMessage } from 'node:http'
import { ServiceError } from '../../errors.ts'
import { contextOf, type HasRawRequest } from '../request-context.ts'

const MAX_BATCHES_PER_CLIENT = 8

/** The places of all clients. */
export interface BatchSlots {
  /**
   * An onRequest hook that takes a place until the answer is out, or the client gone.
   *
   * @throws ERR_HSM_BUSY, with Retry-After, before the body is read.
   */
  readonly take: (request: HasRawRequest, reply: Pick<FastifyReply, 'raw'>) => Promise<void>
  /** Keeps the place until `work` is done: a client that hangs up leaves its batch behind. */
  readonly hold: <T>(request: HasRawRequest, work: () => Promise<T>) => Promise<T>
}

/** Makes the places. */
export function createBatchSlots(): BatchSlots {
  const taken = new Map<string, number>()
  const works = new WeakMap<IncomingMessage, Promise<unknown>>()
  return {
    take: async (request, reply) => {
      const client = contextOf(request).client?.id ?? ''
      const before = taken.get(client) ?? 0
      if (before >= MAX_BATCHES_PER_CLIENT) throw new ServiceError('ERR_HSM_BUSY')
      taken.set(client, before + 1)
      const giveBack = () => void taken.set(client, (taken.get(client) ?? 1) - 1)
      reply.raw.once('close', () => void Promise.resolve(works.get(request.raw)).then(giveBack, giveBack))
    },
    hold: (request, work) => {
      const done = work()
      works.set(request.raw, done)
      return done
    },
  }
}
