/** The OpenAPI document without a service. */
import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import { fastify } from 'fastify'
import { declareRoutes } from '../src/gateway/app.ts'
import type { RouteDeps } from '../src/gateway/api-instance.ts'
import { openApiOptions } from '../src/gateway/openapi.ts'

/**
 * Makes the document of the routes as they are declared.
 *
 * A running service's GET /openapi.json says besides what its configuration decides: the names of `type` in pin/set, and the callers' tokens.
 *
 * @param onRoute - told of each route that Fastify knows.
 */
export async function openApiDocument(onRoute: (route: { method: string; url: string }) => void = () => {}) {
  const app = fastify({ https: {} }).withTypeProvider<TypeBoxTypeProvider>()
  app.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) if (each !== 'HEAD') onRoute({ method: each, url })
  })
  await app.register(swagger, openApiOptions())
  // Nothing is called: the routes are declared, and answer nobody.
  await declareRoutes(app, {} as RouteDeps)
  await app.ready()
  return app.swagger()
}
