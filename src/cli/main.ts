#!/usr/bin/env node
/** The `pinbridge` command. */
import { Command } from 'commander'
import { ConfigEditError, ConfigError } from '../config/problems.ts'
import { EX_CONFIG, EX_NOPERM } from '../exit-codes.ts'
import { VERSION } from '../version.ts'
import { auditCommand } from './audit.ts'
import { ceremonyCommand } from './ceremony.ts'
import { certsCommand } from './certs/certs.ts'
import { CommandError } from './command-error.ts'
import { credentialCommand } from './credential.ts'
import { doctorCommand } from './doctor.ts'
import { healthCommand } from './health.ts'
import { initCommand } from './init.ts'
import { keysCommand } from './keys.ts'
import { migrateCommand } from './migrate.ts'
import { rotateCommand } from './rotate.ts'
import { serveCommand } from './serve.ts'

const program = new Command('pinbridge')
  .description('A hardened PIN crypto service with an HSM bridge')
  .version(VERSION)
  .showHelpAfterError()
  .commandsGroup('Set up and run:')
  .addCommand(initCommand())
  .addCommand(serveCommand())
  .addCommand(doctorCommand())
  .addCommand(healthCommand())
  .commandsGroup('Keys and certificates:')
  .addCommand(keysCommand())
  .addCommand(ceremonyCommand())
  .addCommand(rotateCommand())
  .addCommand(certsCommand())
  .addCommand(credentialCommand())
  .commandsGroup('Stored PIN blocks and the audit record:')
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
  } else if (error instanceof ConfigEditError) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = EX_NOPERM
  } else throw error
}
