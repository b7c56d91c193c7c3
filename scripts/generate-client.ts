/**
 * Writes the client's part of the OpenAPI document of scripts/openapi.ts. Usage: generate-client.ts [FILE]; without FILE, to standard
 * output.
 *
 * The types are openapi-typescript's: the components, and of each operation its request and its answer. Left out are headers, which
 * are the client's own business, and the error answers, which are all one.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format, resolveConfig } from 'prettier'

const { openapi, info, paths, components } = JSON.parse(
  execFileSync(process.execPath, [join(import.meta.dirname, 'openapi.ts')], { encoding: 'utf8' }),
)
const operations = Object.entries<any>(paths).flatMap(([path, item]) =>
  Object.entries<any>(item).map(([method, operation]) => ({ route: `${method.toUpperCase()} ${path}`, ...operation })),
)
const schemaOf = (message: any) => Object.values<any>(message?.content ?? {})[0]?.schema
const named = operations.flatMap(({ operationId, requestBody, responses }) => {
  const name = `${operationId[0].toUpperCase()}${operationId.slice(1)}`
  const request = schemaOf(requestBody)
  return [
    ...(request === undefined ? [] : [[`${name}Request`, request]]),
    [`${name}Answer`, { ...schemaOf(responses[200]) }],
  ]
})

/**
 * A rule beside the members of an object (one of two must be there, a length that goes with a format) would become a union that takes
 * anything, because a type cannot say it. The service checks it.
 */
function withoutRules(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutRules)
  if (typeof value !== 'object' || value === null) return value
  const isRule = (name: string) => 'properties' in value && ['anyOf', 'oneOf', 'allOf', 'not', 'if'].includes(name)
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, member]) => (isRule(name) ? [] : [[name, withoutRules(member)]])),
  )
}

const schemas = withoutRules({ ...Object.fromEntries(named), ...components.schemas })
// Run as a command, since its declarations need those of packages that are not installed. Here, so that it reads no settings of others.
const types = execFileSync(
  process.execPath,
  [
    join(import.meta.dirname, '../node_modules/openapi-typescript/bin/cli.js'),
    ...['--immutable', '--root-types', '--root-types-no-schema-prefix', '--default-non-nullable=false'],
  ],
  {
    encoding: 'utf8',
    cwd: import.meta.dirname,
    input: JSON.stringify({ openapi, info, paths: {}, components: { schemas } }),
  },
)
const routes = operations.map(({ operationId, route, summary }) => `/** ${summary} */\n${operationId}: '${route}',`)
const text = `// Generated from the OpenAPI document by: node scripts/generate-client.ts src/client/openapi.ts

/** Every operation, with its method and path. */
export const ROUTES = {${routes.join('\n')}} as const

/** The closed set of error codes. */
export const ERROR_CODES = ${JSON.stringify(components.schemas.Problem.properties.code.enum)} as const

${types.slice(types.indexOf('export type'))}`

const [, , file] = process.argv
const options = await resolveConfig(join(import.meta.dirname, '../src/client/openapi.ts'))
const formatted = await format(text, { ...options, parser: 'typescript' })
if (file === undefined) process.stdout.write(formatted)
else writeFileSync(file, formatted)
