/**
 * Connections that stay open, one request at a time on each: HTTP by hand over TLS, because a client that spends more on a
 * request than the service does would measure itself.
 */
import { readFileSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'
import type { Service } from '../../support/service.ts'

/** A request as bytes, made beforehand. */
export type RawRequest = Buffer

/** An answer, and when it was there. */
export interface RawAnswer {
  readonly status: number
  readonly retryAfter: string | undefined
  readonly body: string
  readonly ms: number
}

const HEAD_END = '\r\n\r\n'

/** The bytes of a POST. */
export function rawPost(service: Service, path: string, body: object): RawRequest {
  const { host } = new URL(service.ready.url)
  const json = JSON.stringify(body)
  const head = `POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(json)}`
  return Buffer.from(`${head}${HEAD_END}${json}`)
}

/** One connection. */
export interface Connection {
  /** Sends a request; undefined if the connection ends without a whole answer. */
  readonly ask: (request: RawRequest) => Promise<RawAnswer | undefined>
  readonly isOpen: () => boolean
  readonly close: () => void
}

/** Opens connections as a client of the service, a few at a time: handshakes are dear. */
export async function openConnections(service: Service, count: number, client = 'cms-adapter'): Promise<Connection[]> {
  const { cert, key } = service.setUp.clients.find(({ id }) => id === client)!
  const { hostname, port } = new URL(service.ready.url)
  const files = { ca: readFileSync(service.setUp.ca), cert: readFileSync(cert), key: readFileSync(key) }
  const connections: Connection[] = []
  const AT_A_TIME = 8
  const openOne = () =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), ...files }, () => resolve(socket))
      socket.once('error', reject)
    })
  const opener = async () => {
    while (connections.length < count) {
      const connection = connectionOn(await openOne())
      connections.push(connection)
      // One that has never asked for anything is taken for an attacker's after a while.
      await connection.ask(Buffer.from(`GET /v1/keys HTTP/1.1\r\nhost: ${hostname}:${port}${HEAD_END}`))
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_A_TIME, count) }, opener))
  for (const { close } of connections.splice(count)) close()
  return connections
}

function connectionOn(socket: TLSSocket): Connection {
  let received = ''
  let waiting: { resolve: (answer: RawAnswer | undefined) => void; startedMs: number } | undefined
  const settle = (answer: RawAnswer | undefined) => {
    const { resolve } = waiting ?? {}
    waiting = undefined
    resolve?.(answer)
  }
  socket.setNoDelay(true)
  socket.on('data', (chunk: Buffer) => {
    // Nothing but ASCII comes from this service.
    received += chunk.toString('latin1')
    const headEnd = received.indexOf(HEAD_END)
    if (headEnd < 0 || waiting === undefined) return
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(received)![1])
    const end = headEnd + HEAD_END.length + length
    if (received.length < end) return
    const head = received.slice(0, headEnd)
    const answer = {
      status: Number(head.slice('HTTP/1.1 '.length, 'HTTP/1.1 200'.length)),
      retryAfter: /\r\nretry-after: (\S+)/i.exec(head)?.[1],
      body: received.slice(headEnd + HEAD_END.length, end),
      ms: performance.now() - waiting.startedMs,
    }
    received = received.slice(end)
    settle(answer)
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', () => settle(undefined))
  return {
    ask: (request) =>
      new Promise((resolve) => {
        if (socket.destroyed) return resolve(undefined)
        waiting = { resolve, startedMs: performance.now() }
        socket.write(request)
      }),
    isOpen: () => !socket.destroyed,
    close: () => socket.destroy(),
  }
}
