/** The two Fastify instances of the gateway, wired from typed dependencies; neither listens nor reads the environment here. */
import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { fastify, type FastifyInstance, type FastifyReply } from 'fastify'
import type { Bridge, PublicJwk } from '../bridge/contract.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { ServiceError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { AuditTrail } from '../audit/trail.ts'
import type { ApiInstance, RouteDeps } from './api-instance.ts'
import { createAudited } from './audited.ts'
import { releaseOnce } from './release-once.ts'
import type { Authentication } from './authentication.ts'
import { installBodyParser } from './body-parser.ts'
import { createClientErrorHandler, createOpenRequests, type OpenRequests } from './client-errors.ts'
import { createEntry } from './entry.ts'
import { createGuardedBatch } from './batch/guarded-batch.ts'
import { createGuardedCall } from './guarded-call.ts'
import { createHashSource } from './hash-source.ts'
import type { LimitStore } from './limit-store.ts'
import type { LiveKeys } from './live-keys.ts'
import { createLimits } from './limits.ts'
import type { Metrics } from './metrics.ts'
import { openApiOptions } from './openapi.ts'
import { answerProblem } from './problem.ts'
import { createRecorder } from './request-log.ts'
import { d1Routes } from './routes/d1.ts'
import { jweRoutes } from './routes/jwe.ts'
import { keyRoutes } from './routes/keys.ts'
import { macRoutes } from './routes/mac.ts'
import { managementRoutes, type ManagementDeps } from './routes/management.ts'
import { pinBlockBatchRoutes } from './routes/pin-blocks-batch.ts'
import { pinBlockRoutes } from './routes/pin-blocks.ts'
import { pinRoutes } from './routes/pin.ts'
import { prwRoutes } from './routes/prw.ts'
import type { Tracing } from './tracing/tracing.ts'
import { fastifyOptions, nodeOptions, tlsOptions, type TlsFiles } from './server-options.ts'

/** What the API needs. */
export interface ApiDeps {
  readonly config: GatewayConfig
  readonly bridge: Bridge
  readonly log: Logger
  readonly metrics: Metrics
  readonly open: OpenRequests
  readonly keys: LiveKeys
  readonly publicKeys: () => readonly PublicJwk[]
  /** Where nodes share their limits, if they do. */
  readonly limitStore?: LimitStore | undefined
  /** Where operations are recorded, if they are. */
  readonly trail?: AuditTrail | undefined
  /** What traces requests, if something does. */
  readonly tracing?: Tracing | undefined
  readonly tls: TlsFiles
  readonly authentication: Authentication
}

/** Builds the mTLS instance that clients call. */
export async function buildApi(deps: ApiDeps): Promise<ApiInstance> {
  const { config, bridge, log, metrics, open, keys, publicKeys, authentication } = deps
  const methods = new Map<string, string[]>()
  const record = createRecorder({ log, metrics, keys })
  const enter = createEntry({ authentication, record, open, methods, tracing: deps.tracing })

  const app: ApiInstance = fastify({
    ...fastifyOptions(config.limits),
    https: tlsOptions(deps.tls, config.limits),
    clientErrorHandler: createClientErrorHandler({ open, record, authentication }),
    // A URL that cannot be decoded never meets the hooks, so it enters by the same door here.
    frameworkErrors: (error, request, reply) => {
      const refuse = (refusal: unknown) => answerProblem(refusal, request, reply)
      void Promise.resolve()
        .then(() => enter(request, reply))
        .then(() => refuse(error), refuse)
    },
  }).withTypeProvider<TypeBoxTypeProvider>()
  app.server.on('connection', authentication.connected)
  app.server.on('tlsClientError', () => metrics.tlsRefusal())
  // Node would answer on its own, before anybody knows who asks; the entry check looks at the header.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response))

  installBodyParser(app)
  app.setErrorHandler(answerProblem)
  app.setNotFoundHandler(() => {
    throw new ServiceError('ERR_NOT_FOUND')
  })
  app.addHook('onRequest', async (request, reply) => enter(request, reply))
  const hash = createHashSource(bridge, keys)
  const { ask, recordOutcome } = createAudited({ bridge, trail: deps.trail, keys, hash })
  app.addHook('onSend', releaseOnce(recordOutcome))
  app.addHook('onSend', plainJsonType)
  app.addHook('onSend', closeWhileClosing(app))
  app.addHook('onRoute', ({ url, method }) => {
    methods.set(url, [...(methods.get(url) ?? []), ...[method].flat()])
    metrics.route(url)
  })
  await app.register(swagger, openApiOptions())

  const { guesses, counters } = createLimits(config.limits, hash, deps.limitStore)
  const guards = { limits: guesses, log, metrics }
  const guarded = createGuardedCall(guards)
  const guardedBatch = createGuardedBatch(guards)
  await declareRoutes(app, { keys, ask, guarded, guardedBatch, counters, publicKeys })
  return app
}

/** Declares every route of the API. */
export async function declareRoutes(app: ApiInstance, routes: RouteDeps): Promise<void> {
  pinRoutes(app, routes)
  pinBlockRoutes(app, routes)
  await pinBlockBatchRoutes(app, routes)
  prwRoutes(app, routes)
  macRoutes(app, routes)
  d1Routes(app, routes)
  jweRoutes(app, routes)
  keyRoutes(app, routes)
}

/** Builds the plain instance of the management listener: health, metrics and the OpenAPI document, no secret. */
export function buildManagement(deps: ManagementDeps): FastifyInstance {
  const app = fastify({
    ...fastifyOptions(deps.config.limits),
    http: nodeOptions(deps.config.limits),
    clientErrorHandler: createClientErrorHandler({ open: createOpenRequests(), record: () => {} }),
    frameworkErrors: answerProblem,
  })
  app.removeAllContentTypeParsers()
  app.setErrorHandler(answerProblem)
  app.setNotFoundHandler(() => {
    throw new ServiceError('ERR_NOT_FOUND')
  })
  app.addHook('onSend', plainJsonType)
  managementRoutes(app, deps)
  return app
}

/**
 * While the server closes, Fastify ends the connection of every request that still arrives. One that had arrived before would
 * keep its connection for as long as its client likes, and the server would wait for it.
 */
function closeWhileClosing(app: ApiInstance): (request: unknown, reply: Pick<FastifyReply, 'header'>) => Promise<void> {
  let isClosing = false
  app.addHook('preClose', async () => {
    isClosing = true
  })
  return async (_request, reply) => {
    if (isClosing) reply.header('connection', 'close')
  }
}

/** JSON media types have no charset parameter (RFC 8259 section 11), and Fastify adds one. */
async function plainJsonType(_request: unknown, reply: Pick<FastifyReply, 'getHeader' | 'header'>): Promise<void> {
  const type = String(reply.getHeader('content-type') ?? '')
  if (/json; charset=utf-8$/.test(type)) reply.header('content-type', type.slice(0, type.indexOf(';')))
}
