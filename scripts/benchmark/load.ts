/**
 * The load generator, a process of its own so that its work is nobody's to answer for: requests whose bytes are made
 * beforehand, over TLS connections that stay open. Each connection has one request under way.
 *
 * Told by messages of its parent: first the load, which is answered when all connections stand; then `go`, which is
 * answered when every request is.
 */
import { readFileSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'

/** What to send, and as whom. */
export interface Load {
  readonly url: string
  readonly path: string
  readonly contentType: string
  readonly client: { readonly ca: string; readonly cert: string; readonly key: string }
  readonly connections: number
  /** A JSON file: an array of request bodies, each of which is sent once. */
  readonly bodies: string
}

/** How it went. */
export interface LoadResult {
  readonly wallMs: number
  readonly answers: number
  /** How many of them have the status 200. */
  readonly succeeded: number
  /** The answer to the first body. */
  readonly firstAnswer: string
}

const HEAD_END = Buffer.from('\r\n\r\n')
const CONTENT_LENGTH = Buffer.from('content-length: ')
const OK = 'HTTP/1.1 200 '

process.once('disconnect', () => process.exit(0))
process.once('message', (load: Load) => {
  start(load).catch((error: unknown) => {
    process.stderr.write(`the load generator failed: ${error instanceof Error ? error.message : String(error)}\n`)
    process.exit(1)
  })
})

async function start(load: Load): Promise<void> {
  const { hostname, port } = new URL(load.url)
  const requests = (JSON.parse(readFileSync(load.bodies, 'utf8')) as string[]).map((body) => {
    const head = [
      `POST ${load.path} HTTP/1.1`,
      `host: ${hostname}:${port}`,
      `content-type: ${load.contentType}`,
      `content-length: ${Buffer.byteLength(body)}`,
    ]
    return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`)
  })
  const files = {
    ca: readFileSync(load.client.ca),
    cert: readFileSync(load.client.cert),
    key: readFileSync(load.client.key),
  }
  const sockets = await Promise.all(
    Array.from(
      { length: load.connections },
      () =>
        new Promise<TLSSocket>((resolve, reject) => {
          const socket = connect({ host: hostname, port: Number(port), ...files }, () => resolve(socket))
          socket.once('error', reject)
        }),
    ),
  )

  process.once('message', () => {
    run(sockets, requests).then((result) => process.send?.(result), fail)
  })
  process.send?.('connected')
}

function fail(error: Error): never {
  process.stderr.write(`the load generator failed: ${error.message}\n`)
  process.exit(1)
}

/** Sends every request, over all connections, and waits for every answer. */
function run(sockets: readonly TLSSocket[], requests: readonly Buffer[]): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const startedAtMs = performance.now()
    let sent = 0
    let answered = 0
    let succeeded = 0
    let firstAnswer = ''

    for (const socket of sockets) {
      let received: Buffer[] = []
      let receivedBytes = 0
      let neededBytes = 0
      let index = 0

      const next = (): void => {
        if (sent === requests.length) return
        index = sent++
        socket.write(requests[index]!)
      }
      socket.on('data', (chunk: Buffer) => {
        received.push(chunk)
        receivedBytes += chunk.length
        if (neededBytes === 0) neededBytes = answerBytes(received.length === 1 ? chunk : Buffer.concat(received))
        if (neededBytes === 0 || receivedBytes < neededBytes) return
        const first = received[0]!
        if (first.toString('latin1', 0, OK.length) === OK) succeeded++
        if (index === 0) firstAnswer = bodyOf(Buffer.concat(received))
        received = []
        receivedBytes = neededBytes = 0
        answered++
        if (answered < requests.length) next()
        else resolve({ wallMs: performance.now() - startedAtMs, answers: answered, succeeded, firstAnswer })
      })
      socket.on('close', () => reject(new Error('a connection was closed')))
      next()
    }
  })
}

/** The length of an answer, head and body; 0 as long as the head is not whole. */
function answerBytes(received: Buffer): number {
  const headEnd = received.indexOf(HEAD_END)
  if (headEnd < 0) return 0
  const at = received.subarray(0, headEnd).indexOf(CONTENT_LENGTH)
  if (at < 0) throw new Error('an answer says no content-length')
  return headEnd + HEAD_END.length + parseInt(received.toString('latin1', at + CONTENT_LENGTH.length, headEnd), 10)
}

function bodyOf(answer: Buffer): string {
  return answer.subarray(answer.indexOf(HEAD_END) + HEAD_END.length).toString('utf8')
}
