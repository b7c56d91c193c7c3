/** The OpenAPI 3.1 document: generated from the schemas that the routes check with, so the two cannot differ. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { Card, Change, Issue, KeyId, PinBlock, Zone } from '../bridge/contract.ts'
import { IssuedMacSchema, IssuedPrwSchema, KeyRefSchema, ProblemSchema } from './schemas.ts'

/** The schemas that the document names instead of repeating them. */
const COMPONENTS: Readonly<Record<string, object>> = {
  Problem: ProblemSchema,
  IssuedPrw: IssuedPrwSchema,
  IssuedMac: IssuedMacSchema,
  KeyRef: KeyRefSchema,
  Card,
  Change,
  Zone,
  Issue,
  KeyId,
  PinBlock,
}

/** The headers that every route takes over; documented here, checked where every request enters. */
const HEADERS = {
  type: 'object',
  properties: {
    'x-correlation-id': {
      type: 'string',
      pattern: '^[a-zA-Z0-9_\\-. ]{1,64}$',
      description: 'Returned on every answer',
    },
    traceparent: { type: 'string', description: 'W3C Trace Context; returned on every answer' },
  },
}

/** The options of @fastify/swagger. */
export function openApiOptions(): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'pinbridge',
        version: '1',
        description:
          'PIN operations for a card issuer: errors are application/problem+json, hex is upper-case in answers.',
      },
      tags: [
        { name: 'PIN', description: 'Thales D1 PIN set and get' },
        { name: 'PIN blocks', description: 'Translation between zone keys' },
        { name: 'PRW', description: 'PIN reference values' },
        { name: 'MAC', description: 'MACs over enciphered PIN blocks' },
        { name: 'Keys', description: 'What is known of keys; never a value' },
      ],
      components: { securitySchemes: { mutualTls: { type: 'mutualTLS' } as never } },
      security: [{ mutualTls: [] }],
    },
    convertConstToEnum: false,
    transform: ({ schema, url }) => ({ schema: { ...schema, headers: HEADERS }, url }),
    transformObject: (document) => referToComponents('openapiObject' in document ? document.openapiObject : {}),
  }
}

/** The document with the tokens that callers need, or may show, beside their certificates (OpenAPI 3.1 section 4.8.30). */
export function describeCallers(document: object, bearer: { readonly required: boolean } | undefined): object {
  if (bearer === undefined) return document
  const { components } = document as { components: { securitySchemes: object } }
  const scheme = {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'Bound to the certificate (RFC 8705)',
  }
  return {
    ...document,
    components: { ...components, securitySchemes: { ...components.securitySchemes, bearer: scheme } },
    security: [{ mutualTls: [], bearer: [] }, ...(bearer.required ? [] : [{ mutualTls: [] }])],
  }
}

/** The document with the names of `type` in pin/set that are accepted now. */
export function describeSetPinTypes(document: object, types: readonly string[]): object {
  const described = structuredClone(document) as {
    paths: { '/v1/pin/set': { post: { requestBody: { content: { 'application/json': { schema: JsonObject } } } } } }
  }
  const { schema } = described.paths['/v1/pin/set'].post.requestBody.content['application/json']
  // An empty enum is no schema: without a D1 profile there is no type to accept.
  schema.properties['type'] = types.length > 0 ? { type: 'string', enum: types } : { not: {} }
  return described
}

interface JsonObject {
  readonly properties: Record<string, object>
}

/** Moves the components out of the routes. */
function referToComponents(document: { readonly components?: object }): object {
  const names = new Map(Object.entries(COMPONENTS).map(([name, schema]) => [JSON.stringify(schema), name]))
  const schemas = Object.entries(COMPONENTS).map(([name, schema]) => {
    const members = Object.entries(schema as Record<string, unknown>).map(([key, value]) => [key, named(value, names)])
    return [name, Object.fromEntries(members) as object] as const
  })
  const { components, ...rest } = document
  const referring = named(rest, names) as object
  return { ...referring, components: { ...components, schemas: Object.fromEntries(schemas) } }
}

/** Replaces every schema that is a component by a reference to it. */
function named(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (typeof value !== 'object' || value === null) return value
  const name = names.get(JSON.stringify(value))
  if (name !== undefined) return { $ref: `#/components/schemas/${name}` }
  if (Array.isArray(value)) return value.map((item) => named(item, names))
  return Object.fromEntries(
    Object.entries(value as Record<string, unknown>).map(([key, member]) => [key, named(member, names)]),
  )
}
