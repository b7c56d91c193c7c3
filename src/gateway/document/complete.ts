/** Completes the document that the routes' schemas give: headers, texts and examples of each operation. */
import { ERROR_EXAMPLES } from './error-examples.ts'
import { OPERATIONS } from './operations.ts'

/** What is completed of an OpenAPI document; the rest of it stays as it is. */
export interface Document {
  readonly paths: Record<string, Record<string, DocumentOperation>>
  readonly components: Record<string, object>
}
interface DocumentOperation {
  readonly operationId: string
  readonly requestBody?: { readonly content: Record<string, { readonly schema: object }> }
  readonly responses: Record<string, { readonly content: Record<string, object> }>
}

const PARAMETERS = {
  CorrelationId: {
    name: 'x-correlation-id',
    in: 'header',
    description:
      "The caller's id of what this request belongs to: stands in the service's records, and is returned. A malformed one is 400.",
    schema: { type: 'string', pattern: '^[a-zA-Z0-9_\\-. ]{1,64}$' },
    example: 'pin-change-0003',
  },
  Traceparent: {
    name: 'traceparent',
    in: 'header',
    description: 'W3C Trace Context, returned; a malformed one is ignored.',
    schema: { type: 'string' },
    example: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  },
}

const HEADERS = {
  CorrelationId: { description: 'That of the request, if it had one', schema: { type: 'string' } },
  Traceparent: { description: 'That of the request, if it had a well-formed one', schema: { type: 'string' } },
  RetryAfter: {
    description: 'Seconds to wait before the request is sent again (RFC 9110 section 10.2.3)',
    schema: { type: 'integer', minimum: 1 },
    example: 1,
  },
  Allow: { description: 'The methods that the path takes', schema: { type: 'string' }, example: 'POST' },
  WwwAuthenticate: {
    description: 'Where the service takes tokens: the same challenge, whatever was wrong',
    schema: { type: 'string' },
    example: 'Bearer error="invalid_token"',
  },
}

/** The headers of an answer beyond those that every answer has. */
const HEADERS_OF: Readonly<Record<string, object>> = {
  401: { 'www-authenticate': { $ref: '#/components/headers/WwwAuthenticate' } },
  405: { allow: { $ref: '#/components/headers/Allow' } },
  429: { 'retry-after': { $ref: '#/components/headers/RetryAfter' } },
  503: { 'retry-after': { $ref: '#/components/headers/RetryAfter' } },
}
const EVERY_HEADER = {
  'x-correlation-id': { $ref: '#/components/headers/CorrelationId' },
  traceparent: { $ref: '#/components/headers/Traceparent' },
}

/** Adds what is said of each operation; one of which nothing is said is an error of whoever wrote its route. */
export function complete<T extends Document>(document: T): T {
  const { paths, components } = document
  return {
    ...document,
    paths: mapMembers(paths, (item) => mapMembers(item, completeOperation)),
    components: { ...components, parameters: PARAMETERS, headers: HEADERS, examples: ERROR_EXAMPLES },
  }
}

function completeOperation(operation: DocumentOperation): object {
  const { requestBody, responses } = operation
  const text = OPERATIONS[operation.operationId]
  if (text === undefined) throw new Error(`the document says nothing of the operation ${operation.operationId}`)
  const { does, grant, again, examples } = text
  const requests = mapMembers(examples, ({ summary, request }) => ({ summary, value: request }))
  const answers = mapMembers(examples, ({ summary, answer }) => ({ summary, value: answer }))
  return {
    ...operation,
    description: `${does}\n\n**Grant:** ${grant}\n\n**Again:** ${again}`,
    parameters: [{ $ref: '#/components/parameters/CorrelationId' }, { $ref: '#/components/parameters/Traceparent' }],
    ...(requestBody && {
      requestBody: {
        ...requestBody,
        content: mapMembers(requestBody.content, (media) => ({ ...media, examples: requests })),
      },
    }),
    responses: mapMembers(responses, (response, status) => ({
      ...response,
      ...(status === '200' && { description: 'The operation was carried out.' }),
      headers: { ...EVERY_HEADER, ...HEADERS_OF[status] },
      content:
        status === '200'
          ? mapMembers(response.content, (media) => ({ ...media, examples: answers }))
          : response.content,
    })),
  }
}

function mapMembers<T, U>(
  members: Readonly<Record<string, T>>,
  change: (member: T, name: string) => U,
): Record<string, U> {
  return Object.fromEntries(Object.entries(members).map(([name, member]) => [name, change(member, name)]))
}
