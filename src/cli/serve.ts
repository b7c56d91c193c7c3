/** `pinbridge serve`: runs the service until it is told to stop. */
import { tmpdir } from 'node:os'
import { Command } from 'commander'
import { forbidCodeGeneration } from '../code-generation.ts'
import { pinOwnersIn } from '../config/pin-owners.ts'
import { refusalPath } from '../pin-file.ts'
import { hasLauncher } from '../supervisor/spawn.ts'
import { confine } from './confine.ts'
import { parsePort } from './port.ts'

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
  const [{ loadConfig }, { createLog }, { Supervisor }, { watchConfig }, { assertMayStart }] = await Promise.all([
    import('../config/config.ts'),
    import('../log.ts'),
    import('../supervisor/supervisor.ts'),
    import('../supervisor/reload.ts'),
    import('../supervisor/start-rules.ts'),
  ])
  const load = () =>
    loadConfig(options.config, {
      ...(options.port !== undefined && { port: options.port }),
      ...(options.managementPort !== undefined && { managementPort: options.managementPort }),
    })
  const config = load()
  assertMayStart(config)
  const log = createLog('supervisor', config.logLevel)
  if (config.environment === 'development') {
    log.warn('DEVELOPMENT: keys with known values, for tests only; never give this service a real PIN')
    if (!hasLauncher()) log.warn('the launcher is not built: gateway and vaults may ask the kernel for anything')
  }
  const supervisor = new Supervisor(config, log, {
    onReady: (line) => process.stdout.write(`${JSON.stringify(line)}\n`),
    onEnd: (exitCode) => process.exit(exitCode),
  })
  const reloader = watchConfig({ path: options.config, load, service: supervisor, log })
  process.on('SIGHUP', reloader.reload)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      reloader.stop()
      supervisor.stop()
    })
  }
  supervisor.start()
  forbidCodeGeneration()
}
