/** `pinbridge keys`: shows the keys, makes them, gives out public halves, and takes keys out of use. */
import { Command, Option, type CommanderError } from 'commander'
import { EX_USAGE } from '../exit-codes.ts'
import { parseDays } from './certs/certs.ts'
import { exportCommand } from './keys/export.ts'
import { importCommand } from './keys/import.ts'
import { withKeyOptions, KEY_OPTION_NOTES } from './keys/key-options.ts'
import type { GenerateOptions } from './keys/generate.ts'
import type { PublicOptions } from './keys/public-key.ts'
import { parsePort } from './port.ts'

const CONFIG = ['--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG']] as const
const JSON_OPTION = ['--json', 'print the result as JSON'] as const
const MANAGEMENT_PORT = [
  '--management-port <n>',
  'where the running service was told to listen instead of the configured port',
  parsePort,
] as const

const EXIT_CODES = `
Exit codes: 0 done; 64 wrong usage, or a name that was not typed again; 69 the HSM cannot be used, or the service refused;
73 something of this name is there already; 74 a file that was asked for cannot be written; 77 not permitted, as for a key in
use or a configuration that cannot be written; 78 the configuration cannot be used;
130 stopped by Ctrl-C, with the token as it was.`

const LIST_NOTES = `
Changes nothing. "missing" is a key that the configuration names and the token has not; objects of pinbridge's that the
configuration does not name, and two with one label, are listed below the table.

Example: pinbridge keys list --config pinbridge.yaml
${EXIT_CODES}`

const SHOW_NOTES = `
Reads back the attributes of the key's objects, and computes with the key: KCV and known answer have to be those of the
configuration. Changes nothing. The exit code is 69 if something is wrong with the key.

Example: pinbridge keys show zpk@2 --config pinbridge.yaml
${EXIT_CODES}`

const GENERATE_NOTES = `
The key is made inside the HSM: nobody sees its value. It is sensitive, can do its one thing only, and never leaves the token
unless --exportable says that another party is to have it too, in a key block (see "pinbridge keys export"). Its entry is
written into the configuration with its KCV; if anything fails, the token and the configuration stay as they were.

What no token generates: a key for retail MACs (ISO 9797-1 algorithm 3, such as the profile seccos-3des of pin-mac), which is
two objects of one value: "pinbridge ceremony" brings it in. Some tokens generate no TDEA-128 (openCryptoki); then take
TDEA-192 or AES, or bring the key in. A token tells nobody whether a TDEA key that it made is weak; its generator sees to that.
${KEY_OPTION_NOTES}

With several tokens, say with --token in which one: the HSM's own replication has to copy the key to the others.

A JWE key deciphers and signs nothing. So whoever certifies it cannot be sent a request later, and --csr has the new key sign
one while it is made; --certificate likewise makes a certificate that it signs for itself. The token must keep, for a copied
key, that it was made inside (NSS does not); where it does not, "pinbridge certs issue-for" is the other way.

Examples:
  pinbridge keys generate --id jwe-2027 --purpose jwe-decrypt --algorithm EC-P256 --d1-profile d1
  pinbridge keys generate --new-version-of jwe --csr jwe.csr --subject 'CN=jwe,O=Example Bank,C=DE'
  pinbridge keys generate --new-version-of audit-mac
${EXIT_CODES}`

const PUBLIC_NOTES = `
What a partner such as Thales is given: a JWK with its kid, PEM (SubjectPublicKeyInfo), or the JWK Set of all active and
retiring JWE keys, as /v1/jwks serves it. The thumbprint goes to standard error: compare it with your partner by phone, since
whoever replaces the key on its way can read PINs. Changes nothing.

Example: pinbridge keys public jwe --format jwk --config pinbridge.yaml > jwe.jwk.json
${EXIT_CODES}`

const RETIRE_NOTES = `
For a key that nothing uses any more. It asks for the name to be typed again, and refuses a key in use: an active one that
something in the configuration names, or the only one of its kind. To replace a key, use "pinbridge rotate", which retires
the old version as its last step. Changes the configuration; the token keeps the key until "pinbridge keys destroy". If the
running service refuses the configuration without the key, that is taken back.

Example: pinbridge keys retire zpk@1 --config pinbridge.yaml
${EXIT_CODES}`

const DESTROY_NOTES = `
Asks for the name to be typed again. Only a retired or a pending key is destroyed, and none that a running service may still
use. It removes every object of the key that pinbridge has made, by its label, and no other, from every token that the
configuration names, and then the entry from the configuration. A name that only the token knows is destroyed too, such as one
that a killed command has left there.

Example: pinbridge keys destroy zpk@1 --config pinbridge.yaml
${EXIT_CODES}`

/** Declares the commands. */
export function keysCommand(): Command {
  const commands = new Command('keys')
    .description('show, generate, import, export and take out of use the keys in the HSM')
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(generateCommand())
    .addCommand(importCommand())
    .addCommand(exportCommand())
    .addCommand(publicCommand())
    .addCommand(retireCommand())
    .addCommand(destroyCommand())
  for (const each of [commands, ...commands.commands]) each.exitOverride(usage)
  return commands
}

/** Ends as the exit codes say; commander's own for wrong usage is 1. */
function usage({ exitCode }: CommanderError): never {
  process.exit(exitCode === 0 ? 0 : EX_USAGE)
}

function listCommand(): Command {
  return new Command('list')
    .description('list the keys of the configuration, and what of them is in the token')
    .requiredOption(...CONFIG)
    .option('--token <name>', 'look at this token only')
    .option(...JSON_OPTION)
    .addHelpText('after', LIST_NOTES)
    .action(async (options: { config: string; token?: string; json?: boolean }) => {
      // Here as below: loaded when it is run, because it loads native code, and the supervisor is forbidden to.
      const { listKeysCommand } = await import('./keys/list-keys.ts')
      await listKeysCommand(options)
    })
}

function showCommand(): Command {
  return new Command('show')
    .description('show a key: its entry, and the attributes of its objects as the token has them')
    .argument('<id[@version]>', 'the key; without a version, the active one')
    .requiredOption(...CONFIG)
    .option('--token <name>', 'look at this token only')
    .option(...JSON_OPTION)
    .addHelpText('after', SHOW_NOTES)
    .action(async (name: string, options: { config: string; token?: string; json?: boolean }) => {
      const { showKeyCommand } = await import('./keys/show-key.ts')
      await showKeyCommand(name, options)
    })
}

function generateCommand(): Command {
  const command = new Command('generate')
    .description('generate a key inside the HSM, and write it into the configuration')
    .requiredOption(...CONFIG)
    .option('--token <name>', 'the token to make it in, where the configuration has several')
    .option('--print-entry', 'print the entry for the configuration instead of writing it')
    .option(...JSON_OPTION)
  return withKeyOptions(command)
    .option('--csr <file>', 'have a new JWE key sign a certification request while it is made')
    .option('--certificate <file>', 'have a new JWE key sign a certificate for itself while it is made')
    .option('--subject <name>', "who these are made out to, such as 'CN=jwe,O=Example Bank,C=DE'")
    .option('--days <n>', 'for how long the certificate is valid (default: 365)', parseDays)
    .addHelpText('after', GENERATE_NOTES)
    .action(async (options: GenerateOptions) => {
      const { generateCommand: generate } = await import('./keys/generate.ts')
      await generate(options)
    })
}

function publicCommand(): Command {
  return new Command('public')
    .description('print the public half of a key pair, for whoever encrypts to it or verifies with it')
    .argument('[id[@version]]', 'the key; may be left out for --format jwks')
    .requiredOption(...CONFIG)
    .addOption(new Option('--format <format>', 'how to write it').choices(['jwk', 'pem', 'jwks']).default('jwk'))
    .option('--token <name>', 'read it from this token (default: the first)')
    .addHelpText('after', PUBLIC_NOTES)
    .action(async (name: string | undefined, options: PublicOptions) => {
      const { publicKeyCommand } = await import('./keys/public-key.ts')
      await publicKeyCommand(name, options)
    })
}

function retireCommand(): Command {
  return new Command('retire')
    .description('take a key out of use that nothing uses any more')
    .argument('<id@version>', 'the key')
    .requiredOption(...CONFIG)
    .option(...MANAGEMENT_PORT)
    .option(...JSON_OPTION)
    .addHelpText('after', RETIRE_NOTES)
    .action(async (name: string, options: { config: string; managementPort?: number; json?: boolean }) => {
      const { retireKeyCommand } = await import('./keys/retire-key.ts')
      await retireKeyCommand(name, options)
    })
}

function destroyCommand(): Command {
  return new Command('destroy')
    .description('destroy a retired key, in every token')
    .argument('<id@version>', 'the key')
    .requiredOption(...CONFIG)
    .option(...MANAGEMENT_PORT)
    .option(...JSON_OPTION)
    .addHelpText('after', DESTROY_NOTES)
    .action(async (name: string, options: { config: string; managementPort?: number; json?: boolean }) => {
      const { destroyKeyCommand } = await import('./keys/destroy-key.ts')
      await destroyKeyCommand(name, options)
    })
}
