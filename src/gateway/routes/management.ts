/** The management listener's routes: no client, no secret, nothing that changes anything. */
import type { FastifyInstance } from 'fastify'
import type { GatewayConfig } from '../../config/schema.ts'
import type { Metrics } from '../metrics.ts'
import type { Status } from '../status.ts'
import { docsRoutes } from './docs.ts'

/** What the management listener needs. */
export interface ManagementDeps {
  readonly config: GatewayConfig
  readonly metrics: Metrics
  readonly status: () => Status
  /** The OpenAPI document, asked for when it is served: `() => api.swagger()`. */
  readonly openApi: () => object
}

/** Declares the routes. */
export function managementRoutes(app: FastifyInstance, { metrics, status, openApi }: ManagementDeps): void {
  // Alive: this process answers. It says nothing of the HSM, or a broken HSM would have healthy gateways restarted.
  app.get('/healthz', async () => ({ status: 'alive' }))

  app.get('/readyz', async (_request, reply) => {
    const { reason, vaults, queued, tokens, configuration } = status()
    const ready = reason === undefined
    reply.code(ready ? 200 : 503)
    return {
      ready,
      reason,
      vaults: vaults.map(({ id, token, state, inFlight, selfTestAgeMs, sessions }) => ({
        id,
        token,
        state,
        inFlight,
        selfTestAgeMs: Math.round(selfTestAgeMs),
        sessions,
      })),
      queued,
      tokens: tokens.map(({ name, state, wanted, serving }) => ({ name, state, wanted, serving })),
      configuration,
    }
  })

  app.get('/metrics', async (_request, reply) => {
    reply.type(metrics.contentType)
    return metrics.render()
  })

  app.get('/openapi.json', async () => openApi())
  docsRoutes(app)
}
