#!/usr/bin/env node
/** The `pinbridge` command. */
import { Command } from 'commander'
import { ConfigError } from '../config/problems.ts'
import { EX_CONFIG } from '../exit-codes.ts'
import { auditCommand } from './audit.ts'
import { CommandError } from './command-error.ts'
import { doctorCommand } from './doctor.ts'
import { healthCommand } from './health.ts'
import { initCommand } from './init.ts'
import { migrateCommand } from './migrate.ts'
import { serveCommand } from './serve.ts'

const program = new Command('pinbridge')
  .description('A hardened PIN crypto service with an HSM bridge')
  .version('0.1.0')
  .showHelpAfterError()
  .addCommand(serveCommand())
  .addCommand(initCommand())
  .addCommand(doctorCommand())
  .addCommand(healthCommand())
  .addCommand(migrateCommand())
  .addCommand(auditCommand())

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof ConfigError) {
    process.stderr.write(`The configuration cannot be used:\n${error.problems.map((line) => `  ${line}\n`).join('')}`)
    process.exitCode = EX_CONFIG
  } else if (error instanceof CommandError) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = error.exitCode
  } else throw error
}
