/** `pinbridge serve`: runs the service until it is told to stop. */
import { tmpdir } from 'node:os'
import { Command, InvalidArgumentError } from 'commander'
import { loadConfig } from '../config/config.ts'
import { CommandError } from './command-error.ts'
import { createLog } from '../log.ts'
import { HARDENING_FLAGS } from '../supervisor/spawn.ts'
import { Supervisor } from '../supervisor/supervisor.ts'

const EX_UNAVAILABLE = 69

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

function serve(options: ServeOptions): void {
  confine()
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

/**
 * Puts this process under node's permission model by starting it anew in its place: a flag is the only way in, and whoever
 * types the command should not have to know it. The supervisor reads files and starts its two kinds of children.
 */
function confine(): void {
  // The type says that it is always there; it is under --permission only.
  if ((process.permission as unknown) !== undefined) return
  if (process.execve === undefined)
    throw new CommandError(EX_UNAVAILABLE, 'this node cannot be confined: Node.js 24 is needed')
  const flags = ['--permission', '--no-warnings', ...HARDENING_FLAGS, '--allow-child-process', '--allow-fs-read=*']
  process.execve(
    process.execPath,
    [process.execPath, ...flags, `--allow-fs-write=${tmpdir()}`, ...process.argv.slice(1)],
    process.env,
  )
}

function parsePort(text: string): number {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('a port is a number from 0 to 65535')
  return port
}
