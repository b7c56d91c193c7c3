/** `pinbridge rotate`: puts a new version in a key's place, a step at a time, while the service runs. */
import { Command, Option } from 'commander'
import { EX_USAGE } from '../exit-codes.ts'
import { parsePort } from './port.ts'
import { parseDay, parseId } from './keys/key-options.ts'
import type { RotateOptions } from './rotate/rotate-key.ts'

const NOTES = `
A rotation takes three steps, each by running this command once more:

  new       a new version is generated in the HSM, or brought in before; it is pending
  activate  it becomes the active version; the old one is being retired, and what it made is still taken
  retire    the old version serves nothing any more; "pinbridge keys destroy" may follow

Between the steps the other party has to do its part, and stored PIN blocks and PRWs are made anew: what is needed is said
before each step, and nothing is done until you agree. After each step the command waits until the running service has taken
it over; no request fails meanwhile. If the service refuses, the step is taken back.

With several nodes, give every node the new configuration before the next step. A key that another party has too, such as a
zone key, is not generated unless --generate says so: bring its new version in with "pinbridge ceremony import
--new-version-of" or "pinbridge keys import --new-version-of", and go on here.

Examples:
  pinbridge rotate jwe --config pinbridge.yaml
  pinbridge rotate jwe --config pinbridge.yaml --status
  pinbridge rotate audit-mac --config pinbridge.yaml --step new --yes

Exit codes: 0 the step was taken; 64 wrong usage, or not agreed to; 69 the HSM, or the service, refused; 77 not permitted, as
for a configuration that cannot be written or a service that is not in step with it; 78 the configuration cannot be used;
130 stopped by Ctrl-C, with the token as it was.`

/** Declares the command. */
export function rotateCommand(): Command {
  return new Command('rotate')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EX_USAGE))
    .description('replace a key while the service runs: shows where its rotation stands, and takes the next step')
    .argument('<id>', 'the key', parseId)
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .option('--status', 'only show where it stands')
    .option('--yes', 'do not ask, for scripts; a new rotation begins with --step new only')
    .addOption(new Option('--step <step>', 'take this step, and no other').choices(['new', 'activate', 'retire']))
    .option('--generate', 'generate the new version in the HSM, though the old one came from outside')
    .option('--token <name>', 'the token to generate it in, where the configuration has several')
    .option('--kid <kid>', "the new version's kid, for a JWE key (default: the thumbprint of its public key)")
    .option('--expires <day>', 'the last day that the new version should be used, such as 2028-12-31', parseDay)
    .option(
      '--management-port <n>',
      'where the running service was told to listen instead of the configured port',
      parsePort,
    )
    .option('--json', 'print the result as JSON')
    .addHelpText('after', NOTES)
    .action(async (id: string, options: RotateOptions) => {
      // Loaded here, because it loads native code, and the supervisor is forbidden to.
      const { rotateCommand: rotate } = await import('./rotate/rotate-key.ts')
      await rotate(id, options)
    })
}
