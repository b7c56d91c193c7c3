/**
 * GET /docs: the OpenAPI document as a page (M-40).
 *
 * The viewer is Swagger UI, from the files that @fastify/swagger-ui carries: the same people keep it as keep Fastify, it reads OpenAPI
 * 3.1, and of the viewers that are kept it is the only one that works under a Content-Security-Policy without 'unsafe-inline'. Redoc
 * asks its makers' server for a picture; Swagger UI's own package brings telemetry that runs when it is installed.
 *
 * The build copies the files beside this code (viewer/). They are read when they are asked for: two megabytes have no place in the
 * memory of this process.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'

const VIEWER = join(import.meta.dirname, '..', 'viewer')
const FILES = {
  'main.js': 'text/javascript; charset=utf-8',
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'swagger-ui.css': 'text/css; charset=utf-8',
} as const

/** The column for links, which the document has none of, is what makes Swagger UI's tables too wide for a telephone. */
const STYLE = '.swagger-ui .response-col_links { display: none }\n'

/** Addresses are relative, so that the page may stand behind a prefix. The icon is empty: browsers ask for one. */
const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pinbridge: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/page.css">
<script defer src="docs/swagger-ui-bundle.js"></script>
<script type="module" src="docs/main.js"></script>
<main id="document"><noscript>The document itself: <a href="openapi.json">openapi.json</a></noscript></main>
</html>
`

/** Scripts and styles are those of this listener, and it is all that they may ask; Swagger UI's icons are data: pictures in its styles. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  'img-src data:',
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Declares the routes. */
export function docsRoutes(app: FastifyInstance): void {
  app.get('/docs', async (_request, reply) => {
    harden(reply)
    return reply.type('text/html; charset=utf-8').send(PAGE)
  })

  app.get('/docs/page.css', async (_request, reply) => {
    harden(reply)
    return reply.type(FILES['swagger-ui.css']).send(STYLE)
  })

  for (const [name, type] of Object.entries(FILES)) {
    app.get(`/docs/${name}`, async (request, reply) => {
      const path = join(VIEWER, name)
      const { size, mtimeMs } = await stat(path)
      const tag = `"${size.toString(16)}-${mtimeMs.toString(16)}"`
      harden(reply)
      reply.header('etag', tag)
      if (request.headers['if-none-match'] === tag) return reply.code(304).send()
      return reply.type(type).header('content-length', size).send(createReadStream(path))
    })
  }
}

function harden(reply: FastifyReply): void {
  reply.headers({
    'content-security-policy': POLICY,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
    // Kept by the browser, and asked for by its tag: after an upgrade nobody sees an old page.
    'cache-control': 'no-cache',
  })
}
