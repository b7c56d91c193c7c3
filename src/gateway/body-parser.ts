/** The request body: strict JSON over bytes in place of Fastify's own parser, and no other media type. */
import type { FastifyInstance } from 'fastify'
import type { IncomingHttpHeaders } from 'node:http'
import { ServiceError } from '../errors.ts'
import { expectedNames, readJson, type JsonLimits } from '../json-bytes.ts'

const JSON_TYPE = /^application\/json[ \t]*(?:;[ \t]*charset=(?:utf-8|"utf-8")[ \t]*)?$/i
/** The contract nests four deep and no object of it has ten members; the reader need not follow an attacker further. */
export const BODY_LIMITS: JsonLimits = {
  maxDepth: 8,
  maxMembers: 32,
  names: expectedNames(['id', 'pinBlock', 'card', 'pan', 'from', 'to', 'key', 'format', 'change', 'counter']),
}

/**
 * Installs the parser on an instance, or another reader of the body in its place; nothing but application/json is left.
 *
 * The body is wiped once it is read, so that the PANs in it do not wait for the garbage collector (M-7).
 */
export function installBodyParser(
  app: Pick<FastifyInstance, 'removeAllContentTypeParsers' | 'addContentTypeParser'>,
  read: (body: Buffer) => unknown = readRequest,
) {
  app.removeAllContentTypeParsers()
  const parse = async (_request: unknown, body: Buffer) => {
    try {
      return read(body)
    } finally {
      body.fill(0)
    }
  }
  app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, parse)
}

function readRequest(body: Buffer): unknown {
  const value = readJson(body, BODY_LIMITS)
  if (value === undefined) throw new ServiceError('ERR_REQUEST_INVALID')
  return value
}

/** Refuses a body by its headers alone, before any of it is read: another type, charset or content coding. */
export function assertBodyHeaders(headers: IncomingHttpHeaders): void {
  const type = headers['content-type']
  const coding = headers['content-encoding'] ?? 'identity'
  if ((type !== undefined && !JSON_TYPE.test(type)) || coding !== 'identity') {
    throw new ServiceError('ERR_UNSUPPORTED_MEDIA_TYPE')
  }
}

/** Whether the headers announce a body. */
export function announcesBody(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0'
}
