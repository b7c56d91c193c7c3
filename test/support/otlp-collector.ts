/**
 * A collector of traces: a real HTTP server that reads what OTLP/HTTP brings it in protobuf's wire format (protobuf.dev, "Encoding"),
 * with the field numbers of opentelemetry-proto 1.x, trace/v1/trace.proto and common/v1/common.proto (Apache-2.0).
 */
import { once } from 'node:events'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'

/** A span as it arrived; ids in hex, times in ns since 1970. */
export interface CollectedSpan {
  readonly traceId: string
  readonly spanId: string
  /** Empty for the first of its trace. */
  readonly parentSpanId: string
  readonly name: string
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number
  readonly startNs: bigint
  readonly endNs: bigint
  readonly attributes: Readonly<Record<string, string | number>>
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  /** 0 unset, 1 ok, 2 error. */
  readonly status: number
  readonly resource: Readonly<Record<string, string | number>>
  /** Field numbers that were there, to see that nothing else came. */
  readonly fields: readonly number[]
}

/** How a collector behaves. */
export type Manner =
  /** It takes everything. */
  | 'take'
  /** It says nothing. */
  | 'hang'
  /** It answers 400. */
  | 'refuse'
  /** It answers 503, and that there is no use in waiting. */
  | 'busy'
  /** It takes a batch but for one span. */
  | 'take-some'
  /** It answers a byte now and then and never ends. */
  | 'drip'
  /** It answers more than anybody should read. */
  | 'flood'

/** A running collector. */
export interface Collector {
  readonly url: string
  /** Every byte of every body. */
  readonly bodies: readonly Buffer[]
  readonly requests: readonly IncomingMessage[]
  readonly spans: readonly CollectedSpan[]
  /** How many connections there ever were. */
  readonly connections: () => number
  manner: Manner
  /** Cuts every connection. */
  readonly cut: () => void
  readonly close: () => Promise<void>
}

/** Starts one on a free port; with `tls` it asks for certificates as told. */
export async function startCollector(tls?: ServerOptions): Promise<Collector> {
  const bodies: Buffer[] = []
  const requests: IncomingMessage[] = []
  const spans: CollectedSpan[] = []
  let connections = 0
  const collector = { manner: 'take' as Manner }
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('error', () => {})
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const body = Buffer.concat(chunks)
      requests.push(request)
      bodies.push(body)
      if (collector.manner === 'take') spans.push(...spansIn(body))
      answer(collector.manner, response)
    })
  }
  const server = tls ? createHttpsServer(tls, listener) : createHttpServer(listener)
  server.on('connection', () => connections++)
  server.on('tlsClientError', () => {})
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return Object.assign(collector, {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}/v1/traces`,
    bodies,
    requests,
    spans,
    connections: () => connections,
    cut: () => server.closeAllConnections(),
    close: async () => {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  })
}

/** ExportTraceServiceResponse { partial_success: { rejected_spans: 1, error_message: "no" } } (trace_service.proto). */
const ONE_REJECTED = Buffer.from('0a06080112026e6f', 'hex')

function answer(manner: Manner, response: ServerResponse): void {
  response.on('error', () => {})
  if (manner === 'take') response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
  else if (manner === 'refuse') response.writeHead(400).end('no')
  else if (manner === 'busy') response.writeHead(503, { 'retry-after': '60' }).end()
  else if (manner === 'take-some') response.writeHead(200).end(ONE_REJECTED)
  else if (manner === 'flood') response.writeHead(200).end(Buffer.alloc(8 * 1024 * 1024, 0x78))
  else if (manner === 'drip') {
    response.writeHead(200)
    const timer = setInterval(() => response.write('x'), 200).unref()
    response.on('close', () => clearInterval(timer))
  }
}

type Fields = Map<number, (bigint | Buffer)[]>

/** The fields of one message by their numbers. */
function fieldsOf(bytes: Buffer): Fields {
  const fields: Fields = new Map()
  let at = 0
  const varint = (): bigint => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]
      if (byte === undefined) throw new RangeError('a varint without an end')
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const take = (length: number): Buffer => {
    if (at + length > bytes.length) throw new RangeError('a field beyond its message')
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = Number(varint())
    const kind = tag & 7
    const value =
      kind === 0
        ? varint()
        : kind === 1
          ? take(8).readBigUInt64LE()
          : kind === 2
            ? take(Number(varint()))
            : kind === 5
              ? BigInt(take(4).readUInt32LE())
              : undefined
    if (value === undefined) throw new RangeError('an unknown wire type')
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value])
  }
  return fields
}

const all = (fields: Fields, number: number) => (fields.get(number) ?? []) as Buffer[]
const bytesOf = (fields: Fields, number: number) => all(fields, number)[0] ?? Buffer.alloc(0)
const numberOf = (fields: Fields, number: number) => (fields.get(number)?.[0] as bigint | undefined) ?? 0n

function attributesOf(pairs: readonly Buffer[]): Record<string, string | number> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const fields = fieldsOf(pair)
      return [bytesOf(fields, 1).toString(), anyValueOf(fieldsOf(bytesOf(fields, 2)))]
    }),
  )
}

function anyValueOf(fields: Fields): string | number {
  if (fields.has(1)) return bytesOf(fields, 1).toString()
  if (fields.has(3)) return Number(BigInt.asIntN(64, numberOf(fields, 3)))
  if (!fields.has(4)) throw new RangeError('a value that is neither text nor number')
  const bits = Buffer.alloc(8)
  bits.writeBigUInt64LE(numberOf(fields, 4))
  return bits.readDoubleLE()
}

function spansIn(body: Buffer): CollectedSpan[] {
  return all(fieldsOf(body), 1).flatMap((bytes) => {
    const resourceSpans = fieldsOf(bytes)
    const resource = attributesOf(all(fieldsOf(bytesOf(resourceSpans, 1)), 1))
    return all(resourceSpans, 2).flatMap((scope) => all(fieldsOf(scope), 2).map((span) => spanIn(span, resource)))
  })
}

function spanIn(bytes: Buffer, resource: CollectedSpan['resource']): CollectedSpan {
  const span = fieldsOf(bytes)
  return {
    traceId: bytesOf(span, 1).toString('hex'),
    spanId: bytesOf(span, 2).toString('hex'),
    parentSpanId: bytesOf(span, 4).toString('hex'),
    name: bytesOf(span, 5).toString(),
    kind: Number(numberOf(span, 6)),
    startNs: numberOf(span, 7),
    endNs: numberOf(span, 8),
    attributes: attributesOf(all(span, 9)),
    links: all(span, 13).map((link) => {
      const fields = fieldsOf(link)
      return { traceId: bytesOf(fields, 1).toString('hex'), spanId: bytesOf(fields, 2).toString('hex') }
    }),
    status: Number(numberOf(fieldsOf(bytesOf(span, 15)), 3)),
    resource,
    fields: [...span.keys()],
  }
}
