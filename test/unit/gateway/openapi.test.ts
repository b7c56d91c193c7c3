/** The OpenAPI document: what a linter says of it, whether it says everything, and whether its examples are what its schemas want. */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { beforeAll, describe, expect, it } from 'vitest'
import { openApiDocument } from '../../../scripts/openapi-document.ts'
import { GRANTABLE_OPERATIONS } from '../../../src/config/schema.ts'
import { ERROR_TITLES, type ErrorCode } from '../../../src/errors.ts'
import { OPERATIONS } from '../../../src/gateway/document/operations.ts'
import { describeSetPinTypes } from '../../../src/gateway/openapi.ts'
import { PROBLEM_TYPE, problemOf, STATUS } from '../../../src/gateway/problem.ts'
import { temporaryFolder } from '../../support/service.ts'

const ROOT = new URL('../../..', import.meta.url).pathname
const CODES = Object.keys(ERROR_TITLES) as ErrorCode[]
/** Numbers that card schemes and processors publish for tests: nobody's account. */
const TEST_PANS = ['4111111111111111', '5555555555554444']

const routes: string[] = []
let document: any
beforeAll(async () => {
  document = await openApiDocument(({ method, url }) => routes.push(`${method} ${url}`))
})

const operations = () =>
  Object.entries<any>(document.paths).flatMap(([path, item]) =>
    Object.entries<any>(item).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, ...operation })),
  )
/** What a reference refers to. */
const resolve = (value: any): any =>
  value?.$ref === undefined
    ? value
    : value.$ref
        .slice(2)
        .split('/')
        .reduce((at: any, name: string) => at[name], document)
const jsonOf = (message: any) => Object.values<any>(message.content)[0]

/** Redocly's linter, offline: its own telemetry and its look for a newer version are off. */
async function lint(candidate: object): Promise<{ ok: boolean; problems: { ruleId: string; severity: string }[] }> {
  const folder = temporaryFolder()
  const file = join(folder.path, 'openapi.json')
  writeFileSync(file, JSON.stringify(candidate))
  const cli = join(ROOT, 'node_modules/@redocly/cli/bin/cli.js')
  const args = [cli, 'lint', '--config', join(ROOT, 'scripts/openapi-rules.yaml'), '--format', 'json', file]
  const env = { PATH: '', HOME: folder.path, REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true' }
  const ended = await promisify(execFile)(process.execPath, args, { env }).then(
    ({ stdout }) => ({ ok: true, stdout }),
    (error: unknown) => ({ ok: false, stdout: (error as { stdout: string }).stdout }),
  )
  folder.dispose()
  return { ok: ended.ok, problems: JSON.parse(ended.stdout).problems }
}

describe('the linter', () => {
  it('finds nothing, not even a warning', async () => {
    expect(await lint(document)).toEqual({ ok: true, problems: [] })
  })

  it('would find an example that is not as its schema wants, an operation without text and a reference to nothing', async () => {
    const spoilt = structuredClone(document)
    jsonOf(spoilt.paths['/v1/pin/get'].post.requestBody).examples.iso0.value.card.pan = 4111
    delete spoilt.paths['/v1/keys'].get.description
    spoilt.paths['/v1/prw/generate'].post.responses[429].headers['retry-after'].$ref = '#/components/headers/Nothing'
    const { ok, problems } = await lint(spoilt)
    expect(ok).toBe(false)
    expect(problems.map(({ ruleId }) => ruleId)).toEqual(
      expect.arrayContaining(['no-invalid-media-type-examples', 'operation-description', 'no-unresolved-refs']),
    )
  })
})

describe('what stands in it', () => {
  it('is every route that is declared, and no other', () => {
    expect(routes.length).toBeGreaterThan(0)
    expect(
      operations()
        .map(({ name }) => name)
        .sort(),
    ).toEqual([...routes].sort())
    expect(
      operations()
        .map(({ operationId }) => operationId)
        .sort(),
    ).toEqual(Object.keys(OPERATIONS).sort())
  })

  it('is every error code, with an example that is its answer', () => {
    expect(Object.keys(document.components.examples).sort()).toEqual([...CODES].sort())
    for (const code of CODES) {
      const { summary, description, value } = document.components.examples[code]
      expect(summary).toBe(ERROR_TITLES[code])
      expect(description).toMatch(/\.$/)
      expect(value).toEqual(problemOf(code, value.requestId))
    }
    const named = operations().flatMap(({ responses }) =>
      Object.values<any>(responses).flatMap(({ content }) => Object.keys(content[PROBLEM_TYPE]?.examples ?? {})),
    )
    expect([...new Set(named)].sort()).toEqual([...CODES].sort())
  })

  it('names the codes of each status, each by an example', () => {
    for (const { name, responses } of operations()) {
      for (const [status, { description, content }] of Object.entries<any>(responses)) {
        if (status === '200') continue
        const { examples } = content[PROBLEM_TYPE]
        expect(Object.keys(examples).length, `${name} ${status}`).toBeGreaterThan(0)
        expect(description).toBe(Object.keys(examples).join(', '))
        for (const [code, example] of Object.entries<any>(examples)) {
          expect(STATUS[code as ErrorCode], `${name} ${code}`).toBe(Number(status))
          expect(resolve(example).value.code).toBe(code)
        }
      }
    }
  })

  it('says of each operation which grants it needs, and what comes of it twice', () => {
    const known = new Set<string>(GRANTABLE_OPERATIONS)
    const granted = operations().flatMap(({ name, description }) => {
      expect(description, name).toMatch(/^[A-Z][^\n]+\n\n\*\*Grant:\*\* `[^\n]+\n\n\*\*Again:\*\* [A-Z]/)
      const [, grants] = /\*\*Grant:\*\* ([^\n]+)/.exec(description)!
      return [...grants!.matchAll(/`([a-z0-9/-]+)`/g)].map(([, grant]) => grant!).filter((grant) => known.has(grant))
    })
    expect([...new Set(granted)].sort()).toEqual([...known].sort())
  })

  it('is a description of each member of each schema', () => {
    const bare: string[] = []
    const walk = (schema: any, at: string) => {
      for (const [name, member] of Object.entries<any>(schema.properties ?? {})) {
        if (member.$ref === undefined && member.description === undefined) bare.push(`${at}.${name}`)
        walk(member, `${at}.${name}`)
      }
      if (schema.items) walk(schema.items, `${at}[]`)
      // Beside the members of an object these are rules, which repeat names without saying what they are.
      for (const branch of schema.type === 'object' ? [] : (schema.anyOf ?? [])) walk(branch, at)
    }
    for (const [name, schema] of Object.entries<any>(document.components.schemas)) {
      expect(schema.description, name).toBeTruthy()
      walk(schema, name)
    }
    for (const { operationId, requestBody, responses } of operations()) {
      if (requestBody) walk(jsonOf(requestBody).schema, `${operationId} request`)
      walk(jsonOf(responses[200]).schema, `${operationId} answer`)
    }
    expect(bare).toEqual([])
  })

  it('is every header that a caller may send, or gets', () => {
    for (const { name, parameters, responses } of operations()) {
      expect(
        parameters.map((each: any) => resolve(each).name),
        name,
      ).toEqual(['x-correlation-id', 'traceparent'])
      for (const [status, { headers }] of Object.entries<any>(responses)) {
        const more = { 401: ['www-authenticate'], 405: ['allow'], 429: ['retry-after'], 503: ['retry-after'] }[status]
        expect(Object.keys(headers).sort(), `${name} ${status}`).toEqual(
          ['traceparent', 'x-correlation-id', ...(more ?? [])].sort(),
        )
        for (const header of Object.values(headers)) expect(resolve(header).description).toBeTruthy()
      }
    }
  })
})

describe('the examples', () => {
  const all = () =>
    operations().flatMap(({ operationId, requestBody, responses }) => {
      const { examples: answers, schema: answer } = jsonOf(responses[200])
      const { examples: requests, schema: request } = requestBody ? jsonOf(requestBody) : { examples: undefined }
      return Object.keys(answers).map((name) => ({
        name: `${operationId} ${name}`,
        summary: answers[name].summary,
        messages: [[answers[name].value, answer], ...(requestBody ? [[requests[name].value, request]] : [])],
      }))
    })

  it('are there for each request and each answer, and are as their schemas want', () => {
    // By another judge than the linter's: the one that the service has, in its strict mode.
    const ajv = new Ajv2020({ strict: true, strictRequired: false, formats: { uuid: true }, unicodeRegExp: true })
    ajv.addVocabulary(['components', 'example'])
    const schemas = JSON.parse(JSON.stringify(document.components.schemas).replaceAll('#/components/schemas/', 'api:'))
    for (const [name, schema] of Object.entries<object>(schemas)) ajv.addSchema({ ...schema, $id: `api:${name}` })
    const judge = (schema: object) =>
      ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('#/components/schemas/', 'api:')))
    expect(all().length).toBeGreaterThanOrEqual(2 * operations().length - 4)
    for (const { name, summary, messages } of all()) {
      expect(summary, name).toBeTruthy()
      for (const [value, schema] of messages) {
        const isValid = judge(schema)
        expect(isValid(value), `${name}: ${ajv.errorsText(isValid.errors)}`).toBe(true)
      }
    }
    for (const example of Object.values<any>(document.components.examples)) {
      expect(judge(document.components.schemas.Problem)(example.value)).toBe(true)
    }
    for (const { operationId, requestBody, responses } of operations()) {
      if (!requestBody) continue
      expect(Object.keys(jsonOf(requestBody).examples), operationId).toEqual(
        Object.keys(jsonOf(responses[200]).examples),
      )
    }
  })

  it('show both types of pin/set and issue, both kinds of PRW profile, and both forms of a batch', () => {
    const values = (path: string) =>
      Object.values<any>(jsonOf(document.paths[path].post.requestBody).examples).map(({ value }) => value)
    expect(new Set(values('/v1/pin/set').map(({ type }) => type))).toEqual(new Set(['ISO0', '3DES_SECCOS']))
    expect(values('/v1/pin/set').some(({ issue }) => issue?.prw && issue.mac)).toBe(true)
    for (const path of ['/v1/prw/generate', '/v1/prw/verify']) {
      expect(new Set(values(path).map(({ key }) => key))).toEqual(new Set(['prw', 'prw-aes']))
    }
    expect(values('/v1/prw/verify').some(({ randomNumber }) => randomNumber !== undefined)).toBe(true)
    expect(values('/v1/pin-blocks/translate-batch').flatMap((value) => Object.keys(value))).toEqual(
      expect.arrayContaining(['items', 'rows']),
    )
  })

  it('hold no PAN but test PANs, and no JWE longer than a line', () => {
    const text = JSON.stringify(all())
    const digits = [...text.matchAll(/(?<![0-9A-Za-z])[1-9][0-9]{11,18}(?![0-9A-Za-z])/g)].map(([pan]) => pan)
    expect(new Set(digits)).toEqual(new Set(TEST_PANS))
    for (const [jwe] of text.matchAll(/eyJ[A-Za-z0-9_.-]+/g)) expect(jwe.length).toBeLessThan(160)
  })

  it('of pin/set are those whose type the service takes', () => {
    const of = (types: string[]) => {
      const described = describeSetPinTypes(document, types) as typeof document
      return jsonOf(described.paths['/v1/pin/set'].post.requestBody)
    }
    expect(Object.keys(of(['ISO0']).examples)).toEqual(['iso0', 'issue', 'prwOnly'])
    expect(of(['ISO0']).schema.properties.type).toMatchObject({ enum: ['ISO0'] })
    expect(of([])).toMatchObject({ examples: {}, schema: { properties: { type: { not: {} } } } })
    expect(of(['a name of its own']).examples).toEqual({})
  })
})
