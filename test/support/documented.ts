/** Holds the answers of the service, wherever a test gets one, against the OpenAPI document. */
import { openApiDocument } from '../../scripts/openapi-document.ts'
import { PROBLEM_TYPE } from '../../src/gateway/problem.ts'

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly json: any
}

let made: Promise<any> | undefined

/**
 * Throws if an answer has a status, an error code or a header that the document does not have for its operation. What is no operation
 * (another path, another method) is none of its business.
 */
export async function assertDocumented(method: string, path: string, { status, headers, json }: Answer): Promise<void> {
  made ??= openApiDocument()
  const operation = (await made).paths[path]?.[method.toLowerCase()]
  if (operation === undefined) return
  const fail = (what: string): never => {
    throw new Error(`${method} ${path} answered ${what}, which its operation in the OpenAPI document does not have`)
  }
  const response = operation.responses[status] ?? fail(String(status))
  if (status !== 200 && response.content[PROBLEM_TYPE].examples[json?.code] === undefined)
    fail(`${status} ${json?.code}`)
  for (const name of ['retry-after', 'allow', 'www-authenticate', 'x-correlation-id', 'traceparent']) {
    if (headers[name] !== undefined && response.headers[name] === undefined) fail(`${status} with ${name}`)
  }
}
