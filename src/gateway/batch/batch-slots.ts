/** How many batches of one client are under way at once: each holds some megabytes, from its first byte to its last. */
import type { FastifyReply } from 'fastify'
import { ServiceError } from '../../errors.ts'
import { contextOf, type HasRawRequest } from '../request-context.ts'

const MAX_BATCHES_PER_CLIENT = 8

/**
 * Makes an onRequest hook that takes a place until the answer is out or the client gone.
 *
 * @throws ERR_HSM_BUSY, with Retry-After, before the body is read.
 */
export function createBatchSlots(): (request: HasRawRequest, reply: Pick<FastifyReply, 'raw'>) => Promise<void> {
  const taken = new Map<string, number>()
  return async (request, reply) => {
    const client = contextOf(request).client?.id ?? ''
    const before = taken.get(client) ?? 0
    if (before >= MAX_BATCHES_PER_CLIENT) throw new ServiceError('ERR_HSM_BUSY')
    taken.set(client, before + 1)
    reply.raw.once('close', () => taken.set(client, (taken.get(client) ?? 1) - 1))
  }
}
