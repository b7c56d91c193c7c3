/**
 * The load generator, a process of its own so that its work is nobody's to answer for: requests whose bytes are made
 * beforehand, over TLS connections that stay open. Each connection has one request under way.
 *
 * Told by messages of its parent: first the load, which is answered when all connections stand; then `go`, which is
 * answered when every request is. At full load a connection sends again as soon as it is answered. A paced load sends at
 * times that are fixed beforehand, and a request's time runs from then on whether or not a connection was free: else
 * whoever is slow would be asked less often, and look better.
 */
import { readFileSync } from 'node:fs'
import { connect, type TLSSocket } from 'node:tls'
import { Worker } from 'node:worker_threads'
import type { Latency } from './results.ts'

/** What to send, and as whom. */
export interface Load {
  readonly url: string
  readonly path: string
  readonly client: { readonly ca: string; readonly cert: string; readonly key: string }
  readonly connections: number
  /** A paced load: so many requests begin in a second, one after the other. */
  readonly perSecond?: number
  /** A JSON file: an array of request bodies, each of which is sent once. */
  readonly bodies: string
}

/** How it went. */
export interface LoadResult {
  readonly wallMs: number
  readonly latencyUs: Latency
  /** How many answers have not the status 200, and the first of them. */
  readonly refused: number
  readonly firstRefusal: string
  /** Bodies by their place, and their answers: the first, the last, and some between them. */
  readonly answers: readonly (readonly [number, string])[]
}

const HEAD_END = Buffer.from('\r\n\r\n')
const CONTENT_LENGTH = Buffer.from('content-length: ')
const OK = 'HTTP/1.1 200 '
const ANSWERS_KEPT = 8

process.once('disconnect', () => process.exit(0))
process.once('message', (load: Load) => void start(load).catch(fail))

function fail(error: unknown): never {
  process.stderr.write(`the load generator failed: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exit(1)
}

async function start(load: Load): Promise<void> {
  const { hostname, port } = new URL(load.url)
  const requests = (JSON.parse(readFileSync(load.bodies, 'utf8')) as string[]).map((body) => {
    const head = [
      `POST ${load.path} HTTP/1.1`,
      `host: ${hostname}:${port}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
    ]
    return Buffer.from(`${head.join('\r\n')}\r\n\r\n${body}`)
  })
  const files = {
    ca: readFileSync(load.client.ca),
    cert: readFileSync(load.client.cert),
    key: readFileSync(load.client.key),
  }
  const open = (): Promise<TLSSocket> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), ...files }, () => resolve(socket.setNoDelay()))
      socket.once('error', reject)
    })
  const sockets = await Promise.all(Array.from({ length: load.connections }, open))
  process.once('message', () => {
    const run = new Run(sockets, requests)
    void (load.perSecond === undefined ? run.atOnce() : run.paced(load.perSecond)).then(
      (result) => process.send?.(result),
      fail,
    )
  })
  process.send?.('connected')
}

/** One clock for all threads. */
function nowUs(): number {
  return Number(process.hrtime.bigint()) / 1000
}

/** Sends every request once, and waits for every answer. */
class Run {
  readonly #requests: readonly Buffer[]
  /** When each request began or should have begun, and then how long it took. */
  readonly #timesUs: Float64Array
  readonly #kept: ReadonlySet<number>
  readonly #answers: [number, string][] = []
  readonly #done = Promise.withResolvers<undefined>()
  /** Those that have nothing under way, the one that waits longest first. */
  readonly #idle: Connection[]
  /** How many requests may have begun. */
  #due = 0
  #sent = 0
  #answered = 0
  #refused = 0
  #firstRefusal = ''

  constructor(sockets: readonly TLSSocket[], requests: readonly Buffer[]) {
    this.#requests = requests
    this.#timesUs = new Float64Array(requests.length)
    const last = requests.length - 1
    this.#kept = new Set(Array.from({ length: ANSWERS_KEPT }, (_, i) => Math.round((i * last) / (ANSWERS_KEPT - 1))))
    this.#idle = sockets.map((socket) => {
      socket.once('close', () => this.#done.reject(new Error('a connection was closed')))
      return new Connection(socket, (connection, index, answer) => this.#take(connection, index, answer))
    })
  }

  /** As fast as the answers come. */
  async atOnce(): Promise<LoadResult> {
    const startedUs = nowUs()
    this.#due = this.#requests.length
    this.#send()
    await this.#done.promise
    return this.#result(startedUs)
  }

  /** At fixed times. */
  async paced(perSecond: number): Promise<LoadResult> {
    const intervalUs = 1_000_000 / perSecond
    // The thread takes a moment to start.
    const startUs = nowUs() + 200_000
    for (let i = 0; i < this.#timesUs.length; i++) this.#timesUs[i] = startUs + i * intervalUs
    const pacer = new Worker(PACER, { eval: true, workerData: this.#timesUs })
    pacer.on('message', (due: number) => {
      this.#due = due
      this.#send()
    })
    pacer.once('error', this.#done.reject)
    await this.#done.promise
    return this.#result(startUs)
  }

  #send(): void {
    while (this.#sent < this.#due) {
      const connection = this.#idle.shift()
      if (connection === undefined) return
      const index = this.#sent++
      if (this.#timesUs[index] === 0) this.#timesUs[index] = nowUs()
      connection.send(index, this.#requests[index]!)
    }
  }

  #take(connection: Connection, index: number, answer: Buffer): void {
    this.#timesUs[index] = nowUs() - this.#timesUs[index]!
    if (answer.toString('latin1', 0, OK.length) !== OK) {
      if (this.#refused++ === 0) this.#firstRefusal = answer.toString('utf8')
    } else if (this.#kept.has(index)) this.#answers.push([index, bodyOf(answer)])
    this.#idle.push(connection)
    if (++this.#answered === this.#requests.length) this.#done.resolve(undefined)
    else this.#send()
  }

  #result(startedUs: number): LoadResult {
    const wallMs = (nowUs() - startedUs) / 1000
    const sorted = this.#timesUs.sort()
    const at = (share: number): number => sorted[Math.ceil(sorted.length * share) - 1]!
    return {
      wallMs,
      latencyUs: { p50: at(0.5), p99: at(0.99), p999: at(0.999) },
      refused: this.#refused,
      firstRefusal: this.#firstRefusal,
      answers: this.#answers,
    }
  }
}

/**
 * The thread of a paced load: it sleeps until each request's time, to some ten microseconds, and says how many are due.
 * Node's own timers know milliseconds only, and a loop that waits for the moment would take a core from the service.
 */
const PACER = `
  const { parentPort, workerData: timesUs } = require('node:worker_threads')
  const nowUs = () => Number(process.hrtime.bigint()) / 1000
  const nobody = new Int32Array(new SharedArrayBuffer(4))
  for (let due = 0; due < timesUs.length; ) {
    const leftUs = timesUs[due] - nowUs()
    if (leftUs > 0) Atomics.wait(nobody, 0, 0, leftUs / 1000)
    else {
      while (due < timesUs.length && timesUs[due] <= nowUs()) due++
      parentPort.postMessage(due)
    }
  }
`

/** A connection with one request under way at most. */
class Connection {
  readonly #socket: TLSSocket
  #index = 0
  #received: Buffer[] = []
  #receivedBytes = 0
  #neededBytes = 0

  constructor(socket: TLSSocket, onAnswer: (connection: Connection, index: number, answer: Buffer) => void) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received.push(chunk)
      this.#receivedBytes += chunk.length
      if (this.#neededBytes === 0) this.#neededBytes = answerBytes(this.#joined())
      if (this.#neededBytes === 0 || this.#receivedBytes < this.#neededBytes) return
      const answer = this.#joined()
      this.#received = []
      this.#receivedBytes = this.#neededBytes = 0
      onAnswer(this, this.#index, answer)
    })
  }

  send(index: number, request: Buffer): void {
    this.#index = index
    this.#socket.write(request)
  }

  #joined(): Buffer {
    return this.#received.length === 1 ? this.#received[0]! : Buffer.concat(this.#received)
  }
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
