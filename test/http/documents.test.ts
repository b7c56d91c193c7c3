import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterEach, describe, expect, it } from 'vitest'
import { request } from 'undici'
import type { PublicJwk } from '../../src/bridge/contract.ts'
import { start, VALID, type Harness, type HarnessOptions } from './harness.ts'

let http: Harness
afterEach(() => http.close())

const begin = async (options: HarnessOptions = {}) => {
  http = await start(options)
}
const manage = async (path: string, method = 'GET') => {
  const answer = await request(`${http.managementUrl}${path}`, { method: method as 'GET' })
  return { status: answer.statusCode, headers: answer.headers, text: await answer.body.text() }
}

describe('GET /v1/jwks', () => {
  const jwk = (kid: string): PublicJwk => ({
    kty: 'EC',
    kid,
    use: 'enc',
    alg: 'ECDH-ES',
    crv: 'P-256',
    x: 'AA',
    y: 'AQ',
  })

  it('is a JWK Set of the public members, in the order that the vaults gave', async () => {
    await begin({ publicKeys: () => [{ ...jwk('new'), d: 'private' } as PublicJwk, jwk('old')] })
    const answer = await http.send('GET', '/v1/jwks', undefined, { client: 'auditor' })
    expect(answer.headers['content-type']).toBe('application/jwk-set+json')
    expect(answer.json).toEqual({ keys: [jwk('new'), jwk('old')] })
  })

  it('is 503 as long as no vault has said which keys there are', async () => {
    await begin()
    const answer = await http.send('GET', '/v1/jwks')
    expect(answer).toMatchObject({
      status: 503,
      json: { code: 'ERR_HSM_UNAVAILABLE' },
      headers: { 'retry-after': '5' },
    })
  })
})

describe('GET /v1/keys', () => {
  it('is the catalogue', async () => {
    await begin()
    const answer = await http.send('GET', '/v1/keys', undefined, { client: 'auditor' })
    expect((answer.json['keys'] as object[]).at(-1)).toEqual({
      id: 'prw',
      version: 1,
      state: 'active',
      purpose: 'prw',
      use: ['generate', 'verify'],
      algorithm: 'TDEA-128',
      kcv: 'D4D4D4',
      profile: 'seccos-3des',
    })
    expect((await http.send('GET', '/v1/keys', undefined, { client: 'narrow' })).status).toBe(403)
  })
})

interface OpenApi {
  openapi: string
  info: { title: string; version: string }
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, object>; securitySchemes: Record<string, { type: string }> }
  security: object[]
}
interface Operation {
  operationId: string
  tags: string[]
  summary: string
  requestBody?: { content: Record<string, { schema: object }> }
  responses: Record<string, { description: string; content: Record<string, { schema: object }> }>
}

describe('GET /openapi.json', () => {
  const load = async () => {
    await begin()
    const { text } = await manage('/openapi.json')
    return { text, document: JSON.parse(text) as OpenApi }
  }

  it('is OpenAPI 3.1 with the routes of the contract and nothing else', async () => {
    const { document } = await load()
    expect(document.openapi).toMatch(/^3\.1\./)
    expect(document.components.securitySchemes['mutualTls']).toMatchObject({ type: 'mutualTLS' })
    const found = Object.entries(document.paths).flatMap(([path, item]) => Object.keys(item).map((m) => `${m} ${path}`))
    const expected = [...Object.keys(VALID).map((path) => `post ${path}`), 'get /v1/jwks', 'get /v1/keys']
    expect(found.sort()).toEqual(expected.sort())
    const operations = Object.values(document.paths).flatMap((item) => Object.values(item))
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length)
    for (const { summary, tags, responses } of operations) {
      expect(summary && tags[0]).toBeTruthy()
      for (const [status, { description, content }] of Object.entries(responses)) {
        expect(description).not.toBe('')
        expect(Object.keys(content)[0]).toMatch(
          Number(status) < 400 ? /^application\/(jwk-set\+)?json$/ : /problem\+json$/,
        )
      }
    }
  })

  it('refers to components that exist, and every component is used', async () => {
    const { document, text } = await load()
    const referred = new Set([...text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name))
    expect([...referred].sort()).toEqual(Object.keys(document.components.schemas).sort())
  })

  it('its schemas judge bodies as the service does', async () => {
    const { document } = await load()
    const ajv = new Ajv2020({ strict: false, formats: { uuid: true } })
    ajv.addSchema({ ...document, $id: 'api' })
    const pointer = (...parts: string[]) =>
      parts.map((part) => part.replaceAll('~', '~0').replaceAll('/', '~1')).join('/')
    for (const [path, body] of Object.entries(VALID)) {
      const at = `api#/${pointer('paths', path, 'post')}`
      const judge = ajv.compile({ $ref: `${at}/${pointer('requestBody', 'content', 'application/json', 'schema')}` })
      const problem = ajv.compile({
        $ref: `${at}/${pointer('responses', '400', 'content', 'application/problem+json', 'schema')}`,
      })
      const answer = ajv.compile({
        $ref: `${at}/${pointer('responses', '200', 'content', 'application/json', 'schema')}`,
      })
      for (const candidate of [body, { ...body, extra: 1 }, { ...body, card: { pan: '1' } }, {}]) {
        const got = await http.send('POST', path, candidate)
        expect(judge(candidate)).toBe(got.status === 200)
        expect((got.status === 200 ? answer : problem)(got.json)).toBe(true)
      }
    }
  })
})
