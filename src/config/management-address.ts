/** Where a configuration has the management listener, read without checking the rest of it. */
import { readFileSync } from 'node:fs'
import { ConfigError } from './problems.ts'
import { parseYaml } from './yaml.ts'

/**
 * Reads the management listener's address.
 *
 * Nothing else of the file is judged: a certificate that has expired since the start must not have a service that answers
 * taken for dead.
 *
 * @throws ConfigError if the file has no such address.
 */
export function managementAddressIn(path: string): { readonly host: string; readonly port: number } {
  try {
    const data = parseYaml(readFileSync(path, 'utf8')).data as {
      readonly listeners: { readonly management: { readonly host?: unknown; readonly port: unknown } }
    }
    const { host = '127.0.0.1', port } = data.listeners.management
    if (typeof host === 'string' && typeof port === 'number') return { host, port }
  } catch {
    // Told below, without what stands in the file.
  }
  throw new ConfigError([`${path}: has no listeners.management with a port`])
}
