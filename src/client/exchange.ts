/** One request and its answer over mTLS; what went wrong is a result, so that nobody has to catch what node throws. */
import type { IncomingMessage } from 'node:http'
import { request, type Agent } from 'node:https'
import { TLSSocket } from 'node:tls'

/** An answer to a full batch has less than 2 MiB. */
const MOST_ANSWER_BYTES = 4 * 1024 * 1024

/** What is sent. */
export interface Outgoing {
  readonly url: URL
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
  readonly signal: AbortSignal
}

/** A whole answer, whoever gave it. */
export interface Answered {
  readonly status: number
  readonly contentType: string
  readonly retryAfter: string | undefined
  readonly body: Buffer
}

/** No whole answer. */
export interface Unanswered {
  /** One word: node's code of what went wrong. */
  readonly reason: string
  /** Whether any of the request can have left: false up to the end of a handshake in which the server has shown who it is. */
  readonly mayHaveLeft: boolean
}

/** Sends a request once, and never again: node sends nothing twice by itself. */
export function exchange(
  agent: Agent,
  { url, method, headers, body, signal }: Outgoing,
): Promise<Answered | Unanswered> {
  return new Promise((resolve) => {
    let mayHaveLeft = false
    const fail = (error: unknown) => resolve({ reason: reasonOf(error), mayHaveLeft })
    const sent = request(url, { agent, method, headers, signal })
    sent.once('socket', (socket) => {
      const left = () => (mayHaveLeft = true)
      // A socket of the pool is past its handshake; on a new one, nothing is written before this event.
      if (socket instanceof TLSSocket && socket.authorized) left()
      else socket.once('secureConnect', left)
    })
    sent.once('response', (answer) => void readAnswer(answer).then(resolve, fail))
    sent.on('error', fail)
    // Node says so of a request that has no connection yet only when it gets one.
    signal.addEventListener('abort', () => fail({ code: 'ABORT_ERR' }), { once: true })
    sent.end(body)
  })
}

async function readAnswer(answer: IncomingMessage): Promise<Answered | Unanswered> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    chunks.push(chunk)
    bytes += chunk.length
    // Leaving the loop ends the connection.
    if (bytes > MOST_ANSWER_BYTES) return { reason: 'ANSWER_TOO_LARGE', mayHaveLeft: true }
  }
  const { statusCode = 0, headers } = answer
  const [contentType = ''] = (headers['content-type'] ?? '').split(';')
  return { status: statusCode, contentType, retryAfter: headers['retry-after'], body: Buffer.concat(chunks) }
}

/** Node's code of an error. Its message may quote what was sent, or what a stranger answered. */
function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : 'BROKEN'
}
