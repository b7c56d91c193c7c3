/**
 * The service as one would write it first: Fastify over mTLS and graphene-pk11 in one process, synchronous. No audit, no
 * limits, no wiping.
 *
 * Usage: node plain-service.ts CONFIG_FILE. Listens on a free port of 127.0.0.1, and prints one line of JSON when it is ready:
 * `{ url, pid }`.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fastify } from 'fastify'
import { parse } from 'yaml'
import { openHsm } from './plain-hsm.ts'
import { pointOf } from './plain-jwe.ts'
import { createRoutes } from './plain-routes.ts'

/** A batch of 10 000 rows. */
const MAX_BODY_BYTES = 2_500_000

const configFile = process.argv[2]!
const { hsm, keys, d1, listeners } = parse(readFileSync(configFile, 'utf8'))
const readPem = (name: string): Buffer => readFileSync(resolve(configFile, '..', name))

const recipients = d1.recipients.map(({ kid, publicKey }: any) => ({ kid, publicKey: pointOf(publicKey) }))
const app = fastify({
  https: {
    key: readPem(listeners.api.privateKey),
    cert: readPem(listeners.api.certificate),
    ca: readPem(listeners.api.clientCa),
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  },
  bodyLimit: MAX_BODY_BYTES,
  ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
})
for (const [path, { body, answer }] of Object.entries(createRoutes(openHsm(hsm, keys), keys, recipients))) {
  app.post(path, { schema: { body } }, async (request) => answer(request.body))
}
const url = await app.listen({ host: '127.0.0.1', port: 0 })
process.stdout.write(`${JSON.stringify({ url, pid: process.pid })}\n`)
