/** What a running service says of itself on its management listener, as commands ask it. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { get } from 'node:http'

const ANSWER_MS = 3000

/** What of `GET /readyz` is looked at. */
export interface Readiness {
  readonly ready: boolean
  readonly reason?: string
  readonly vaults?: readonly unknown[]
  readonly configuration?: { readonly inUse: string; readonly refused?: string; readonly renewing: number }
}

/** Asks once; undefined if nothing answers there, or nothing of ours. */
export function readinessOf(host: string, port: number): Promise<Readiness | undefined> {
  return new Promise((resolve) => {
    const request = get({ host, port, path: '/readyz', agent: false, timeout: ANSWER_MS }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('end', () => resolve(parse(Buffer.concat(chunks).toString('utf8'))))
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(undefined))
  })
}

/** How a service names the state of the configuration file that it has in use or has refused. */
export function configurationHash(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex')
}

function parse(text: string): Readiness | undefined {
  try {
    const body: unknown = JSON.parse(text)
    return typeof body === 'object' && body !== null && 'ready' in body ? (body as Readiness) : undefined
  } catch {
    // Whatever answers there is no pinbridge.
    return undefined
  }
}
