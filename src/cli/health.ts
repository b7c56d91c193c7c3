/** `pinbridge health`: asks a running service whether it is alive, for those who restart it and have no HTTP client. */
import { get } from 'node:http'
import { Command } from 'commander'
import { managementAddressIn } from '../config/management-address.ts'
import { CommandError } from './command-error.ts'
import { parsePort } from './port.ts'

const UNHEALTHY = 1
const ANSWER_MS = 3000

/** Declares the command. */
export function healthCommand(): Command {
  return new Command('health')
    .description('ask the running service whether it is alive (/healthz); the exit code is 0 if it is, 1 if not')
    .requiredOption('--config <file>', 'the configuration that it runs with', process.env['PINBRIDGE_CONFIG'])
    .option('--management-port <n>', 'where it was told to listen instead of the configured port', parsePort)
    .action(async ({ config, managementPort }: { config: string; managementPort?: number }) => {
      const { host, port } = managementAddressIn(config)
      if ((await statusOf(host, managementPort ?? port)) !== 200) {
        throw new CommandError(UNHEALTHY, 'the service does not answer that it is alive')
      }
    })
}

/** The status of /healthz; undefined if there is no answer in time. */
function statusOf(host: string, port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = get({ host, port, path: '/healthz', agent: false, timeout: ANSWER_MS }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(undefined))
  })
}
