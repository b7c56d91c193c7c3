/** `pinbridge ceremony`: keys in and out as components, each known to one custodian. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { EX_USAGE } from '../exit-codes.ts'
import type { ExportOptions, GenerateOptions, ImportOptions } from './ceremony/commands.ts'
import type { VerifyOptions } from './ceremony/verify-transcript.ts'
import { guardMemory } from './ceremony/guard-memory.ts'
import { KEY_OPTION_NOTES, withKeyOptions } from './keys/key-options.ts'

const NOTES = `
Two or three people, the custodians, each hold one component of a key on a sheet in a safe of their own. The key is the
exclusive or of the components: whoever lacks one of them knows nothing of the key. This command is typed at one
terminal, by one custodian after the other, while the others look away; whoever runs it leads them through it.

What is asked is asked at the terminal. No component and no key is in an argument, in the environment, in the shell's
history or in a file; memory is wiped. What remains is the transcript: a text that says what was done, when and by whom,
without a secret, signed by a key of the HSM. Ctrl-C gives the ceremony up at any question; then the token and the
configuration are as they were, and the transcript says so.

What no command can see to: that the custodians are different people, that nobody looks over a shoulder, that no camera
sees the screen, and that the sheets go into different safes. A generic PKCS#11 token cannot combine components inside:
the key is in the memory of this command for the moment between the last component and the token. Use a machine for it
that is trusted as the HSM is, without swap, and a terminal that is local: not a session that is recorded.`

const EXIT_CODES = `
Exit codes: 0 done; 64 wrong usage, or no terminal; 65 the components do not make the key that they should; 69 the HSM
cannot be used; 73 the transcript's file or the key is there already; 74 the transcript cannot be written; 77 the
configuration cannot be written; 78 the configuration cannot be used; 130 given up.`

const EXPORT_EXIT_CODES = `
Exit codes: 0 done; 64 wrong usage, or no terminal; 69 the HSM cannot be used; 73 the transcript's file is there already;
74 the transcript cannot be written; 77 the key is not exportable; 78 the configuration cannot be used; 130 given up.`

const IMPORT_NOTES = `${KEY_OPTION_NOTES}

Each custodian types the component, in hex, and is shown its KCV (key check value) to compare with the sheet. Then the KCV of the key is shown,
and everything is stored: in every token of the configuration, and with an entry in the configuration. A retail MAC key
becomes the two objects that it needs. Refused are components that are all zeros or the same, and weak keys.

Example:
  pinbridge ceremony import --config pinbridge.yaml --transcript zpk-visa.txt --components 3 \\
    --id zpk-visa --purpose zone-pin --direction out --formats ISO-0 --algorithm TDEA-128
${EXIT_CODES}`

const GENERATE_NOTES = `${KEY_OPTION_NOTES}

For a key that another party needs too, or of which a copy is to be in safes. The components are random numbers of the HSM; the
key is what they make together, so it is made in this command's memory and imported, and its origin is "imported". (A token
that generates a key does not give its value out as components. A key that nobody else needs is better made with
"pinbridge keys generate": it never leaves the token.)

Each custodian sees the own component once, on a screen that cannot be scrolled back to, and types it back from the sheet.
Only when all have done so is the key stored. If one of them fails, nothing is stored: destroy the sheets that were
written, and begin again.

Example:
  pinbridge ceremony generate --config pinbridge.yaml --transcript zpk-visa.txt --components 2 \\
    --id zpk-visa --purpose zone-pin --direction out --formats ISO-0 --algorithm TDEA-128
${EXIT_CODES}`

const EXPORT_NOTES = `
For a party that takes no key blocks. Only a key that was made with --exportable can be given out: every other stays in its
token. The token hands it over wrapped, and it is split in this command's memory: all components but one are random
numbers of the HSM.

Each custodian sees the own component once, on a screen that cannot be scrolled back to, and types it back from the sheet.
The key stays as it is. If the ceremony is given up, destroy the sheets that were written.

Example:
  pinbridge ceremony export zpk-visa --config pinbridge.yaml --transcript zpk-visa-out.txt --components 3
${EXPORT_EXIT_CODES}`

const VERIFY_NOTES = `
Says whether the transcript is the one that the HSM key has signed, to the last letter. With --config the HSM is asked for
the public key, which must be the one of the configuration. With --public-key no HSM is needed: "pinbridge keys public
ID" writes such a file; keep it where nobody can change it. A ceremony that was given up has a transcript too: read its
outcome, which is printed.

Exit codes: 0 it is; 65 it was changed, or is no signed transcript; 66 a file is not there; 64 wrong usage; 69 the HSM cannot
be used; 78 the configuration cannot be used.

Example:
  pinbridge ceremony verify zpk-visa.txt --public-key transcript.pem`

const KCV = /^(?:[0-9A-Fa-f]{6}|[0-9A-Fa-f]{10})$/

/** Declares the command and its parts. */
export function ceremonyCommand(): Command {
  return new Command('ceremony')
    .description('take keys in, and give them out, as components that each one custodian knows')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EX_USAGE))
    .addHelpText('after', NOTES)
    .addCommand(importCommand())
    .addCommand(generateCommand())
    .addCommand(exportCommand())
    .addCommand(verifyCommand())
}

function importCommand(): Command {
  const command = new Command('import').description('make a key of components that custodians type')
  return withKeyOptions(withCeremonyOptions(command))
    .addOption(
      new Option('--component-parity <parity>', 'TDEA: what each byte of a component must have')
        .choices(['odd', 'any'])
        .default('odd'),
    )
    .option('--expect-kcv <kcv>', 'the KCV that the key must have (default: it is asked for)', parseKcv)
    .option('--type-kcv', 'custodians type the KCV of their sheet, instead of comparing it with the one that is shown')
    .addHelpText('after', IMPORT_NOTES)
    .action(async (options: ImportOptions) => {
      guardMemory()
      const { importAsComponents } = await import('./ceremony/commands.ts')
      await importAsComponents(options)
    })
}

function generateCommand(): Command {
  const command = new Command('generate').description('make a new key and give it out as components')
  return withKeyOptions(withCeremonyOptions(command))
    .addHelpText('after', GENERATE_NOTES)
    .action(async (options: GenerateOptions) => {
      guardMemory()
      const { generateAsComponents } = await import('./ceremony/commands.ts')
      await generateAsComponents(options)
    })
}

function exportCommand(): Command {
  return withCeremonyOptions(new Command('export').argument('<id>', 'the key'))
    .description('give a key that the configuration calls exportable out as components')
    .option('--key-version <n>', 'which version (default: the active one)', parseVersion)
    .addHelpText('after', EXPORT_NOTES)
    .action(async (id: string, options: ExportOptions) => {
      guardMemory()
      const { exportAsComponents } = await import('./ceremony/commands.ts')
      await exportAsComponents(id, options)
    })
}

function verifyCommand(): Command {
  return new Command('verify')
    .description('verify the signature of a transcript')
    .argument('<transcript>', 'the file')
    .option('--config <file>', 'the configuration, to ask the HSM for the public key', process.env['PINBRIDGE_CONFIG'])
    .option('--public-key <file>', 'the public key of the one that signed, as PEM or JWK')
    .option('--json', 'print the result as JSON')
    .addHelpText('after', VERIFY_NOTES)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EX_USAGE))
    .action(async (transcript: string, options: VerifyOptions) => {
      const { verifyTranscript } = await import('./ceremony/verify-transcript.ts')
      await verifyTranscript(transcript, options)
    })
}

function withCeremonyOptions(command: Command): Command {
  return command
    .requiredOption('--config <file>', 'the configuration', process.env['PINBRIDGE_CONFIG'])
    .requiredOption('--transcript <file>', 'where the signed transcript goes: a file that is not there yet')
    .addOption(new Option('--components <n>', 'how many there are').choices(['2', '3']).makeOptionMandatory())
    .option('--transcript-key <id>', 'the key that signs the transcript, if the configuration has several')
    .option('--json', 'print the result as JSON')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EX_USAGE))
}

function parseVersion(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('A version is a number from 1 to 9999.')
}

function parseKcv(text: string): string {
  if (KCV.test(text)) return text
  throw new InvalidArgumentError('A KCV has 6 hex digits, or 10 for AES.')
}
