/** The types that routes are written against. */
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import type { PublicJwk } from '../bridge/contract.ts'
import type { Ask } from './audited.ts'
import type { GuardedBatch } from './batch/guarded-batch.ts'
import type { GuardedCall } from './guarded-call.ts'
import type { LiveKeys } from './live-keys.ts'
import type { UsedCounters } from './used-counters.ts'

/** The API's Fastify instance. */
export type ApiInstance = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** What routes need. */
export interface RouteDeps {
  readonly keys: LiveKeys
  readonly ask: Ask
  readonly guarded: GuardedCall
  readonly guardedBatch: GuardedBatch
  readonly counters: UsedCounters
  readonly publicKeys: () => readonly PublicJwk[]
}
