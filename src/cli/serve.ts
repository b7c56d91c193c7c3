/** `pinbridge serve`: runs the service until it is told to stop. */
import { tmpdir } from 'node:os'
import { Command, InvalidArgumentError } from 'commander'
import { pinOwnersIn } from '../config/pin-owners.ts'
import { refusalPath } from '../pin-file.ts'
import { confine } from './confine.ts'

interface ServeOptions {
  readonly config: string
  readonly port?: number
  readonly managementPort?: number
}

/** Declares the command. */
export function serveCommand(): Command {
  return new Command('serve')
    .description(
      'run the service; prints one line of JSON on standard output once it is ready, its log on standard error',
    )
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--port <n>', 'listen on this port instead of the configured one; 0 for any free one', parsePort)
    .option('--management-port <n>', 'the same for the management listener', parsePort)
    .action(serve)
}

async function serve(options: ServeOptions): Promise<void> {
  confine([tmpdir(), ...pinOwnersIn(options.config).map(refusalPath)])
  // Loaded here, because this process begins anew when it is confined.
  const [{ loadConfig }, { createLog }, { Supervisor }] = await Promise.all([
    import('../config/config.ts'),
    import('../log.ts'),
    import('../supervisor/supervisor.ts'),
  ])
  const config = loadConfig(options.config, {
    ...(options.port !== undefined && { port: options.port }),
    ...(options.managementPort !== undefined && { managementPort: options.managementPort }),
  })
  const log = createLog('supervisor', config.logLevel)
  if (config.environment === 'development') {
    log.warn('DEVELOPMENT: keys with known values, for tests only; never give this service a real PIN')
  }
  const supervisor = new Supervisor(config, log, {
    onReady: (line) => process.stdout.write(`${JSON.stringify(line)}\n`),
    onEnd: (exitCode) => process.exit(exitCode),
  })
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => supervisor.stop())
  supervisor.start()
}

function parsePort(text: string): number {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('a port is a number from 0 to 65535')
  return port
}
