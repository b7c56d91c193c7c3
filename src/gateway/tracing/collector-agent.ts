/** The connection to a trace collector: one at a time, kept open, and over TLS unless it is on this machine. */
import { readFileSync } from 'node:fs'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { Duplex } from 'node:stream'
import type { TracingConfig } from '../../config/schema.ts'

const OPTIONS = { keepAlive: true, maxSockets: 1 }
/** What node's callback has beside an error, which its type does not say. */
const NO_SOCKET = undefined as unknown as Duplex

/** Makes the agent; its files are read anew for each connection, so that they can be replaced without a restart. */
export function collectorAgent({
  endpoint,
  caFile,
  certificateFile,
  privateKeyFile,
}: Pick<TracingConfig, 'endpoint' | 'caFile' | 'certificateFile' | 'privateKeyFile'>): HttpAgent {
  if (endpoint.startsWith('http:')) return new HttpAgent(OPTIONS)
  const files = () => ({
    ...(caFile !== undefined && { ca: readFileSync(caFile) }),
    ...(certificateFile !== undefined && { cert: readFileSync(certificateFile) }),
    ...(privateKeyFile !== undefined && { key: readFileSync(privateKeyFile) }),
  })
  const agent = new HttpsAgent({ ...OPTIONS, minVersion: 'TLSv1.2', ...files() })
  const connect = agent.createConnection.bind(agent)
  agent.createConnection = (options, callback) => {
    try {
      return connect({ ...options, ...readable(files) }, callback)
    } catch (error) {
      // Of files that are half replaced. A request that waited would have it thrown out of a socket's end, and so end the process.
      callback?.(error as Error, NO_SOCKET)
      return undefined
    }
  }
  return agent
}

/** While a file is being replaced it may be missing: then those of before are tried. */
function readable<T extends object>(files: () => T): T | undefined {
  try {
    return files()
  } catch {
    return undefined
  }
}
