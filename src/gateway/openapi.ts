/** The OpenAPI 3.1 document: generated from the schemas that the routes check with, so the two cannot differ. */
import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { Card, Change, Issue, KeyId, PinBlock, Zone } from '../bridge/contract.ts'
import { complete, type Document } from './document/complete.ts'
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

/** What holds for every operation; CommonMark. */
const ABOUT = `PIN operations for a card issuer, next to an HSM.

**Form.** JSON in UTF-8, both ways. Hex is of either case in requests and upper-case in answers. An unknown member is an error. No path takes a query.

**Who calls.** TLS 1.3 with a client certificate, whose name the service knows; where it wants tokens, a bearer token that is bound to the certificate besides. What a client may do is granted by operation, key, format and recipient: one grant must cover the whole request.

**Errors** are \`application/problem+json\` (RFC 9457). \`code\` is for programs, the set is closed; texts are constant and never hold input. A client that does not know a code goes by the status.

**Again.** After 429 and 503 the same request may be sent again once \`Retry-After\` has passed. After 408 and a connection that was never made it was not carried out. After any other error but 500 it would fail again. After 500, and when an answer is lost, see the operation.

**Guesses.** A PIN block, PRW, MAC or PIN change that is wrong is counted for the client, the card and the PIN block. When one of these budgets is spent, requests are 429 until its window ends.

**Examples** hold test PANs and made-up values; their keys are those of a development set-up (\`pinbridge init --dev\`).`

/** The options of @fastify/swagger. */
export function openApiOptions(): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'pinbridge',
        version: '1',
        description: ABOUT,
        license: { name: 'Apache License 2.0', identifier: 'Apache-2.0' } as never,
      },
      servers: [
        // Which it is decides the configuration: this is the name and the port that the README's examples have.
        { url: 'https://pinbridge:8443', description: 'The API listener, by a name in its certificate' },
      ],
      tags: [
        { name: 'PIN', description: 'Thales D1 PIN set and get' },
        { name: 'PIN blocks', description: 'Translation between zone keys' },
        { name: 'PRW', description: 'PIN reference values' },
        { name: 'MAC', description: 'MACs over enciphered PIN blocks' },
        { name: 'D1 registration', description: 'What the issuer calls D1 with: consumers and cards, never a PIN' },
        { name: 'Keys', description: 'What is known of keys; never a value' },
      ],
      components: {
        securitySchemes: {
          mutualTls: { type: 'mutualTLS', description: "A client certificate of the service's client CA" } as never,
        },
      },
      security: [{ mutualTls: [] }],
    },
    convertConstToEnum: false,
    transformObject: (document) =>
      complete(referToComponents('openapiObject' in document ? document.openapiObject : {}) as Document),
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

/** The document with the names of `type` in pin/set that are accepted now, and the examples that have one of them. */
export function describeSetPinTypes(document: object, types: readonly string[]): object {
  const described = structuredClone(document) as {
    paths: { '/v1/pin/set': { post: { requestBody: { content: { 'application/json': SetPinMedia } } } } }
  }
  const media = described.paths['/v1/pin/set'].post.requestBody.content['application/json']
  const { properties } = media.schema
  // An empty enum is no schema: without a D1 profile there is no type to accept.
  properties['type'] = types.length > 0 ? { ...properties['type'], type: 'string', enum: types } : { not: {} }
  media.examples = Object.fromEntries(
    Object.entries(media.examples).filter(([, { value }]) => types.includes(value.type)),
  )
  return described
}

interface SetPinMedia {
  readonly schema: { readonly properties: Record<string, object> }
  examples: Record<string, { readonly value: { readonly type: string } }>
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
