/** Writes the OpenAPI document to standard output, without a service: for generators of clients, and for readers. */
import { openApiDocument } from './openapi-document.ts'

process.stdout.write(`${JSON.stringify(await openApiDocument(), undefined, 2)}\n`)
