/** `pinbridge credential`: keys of the HSM as credentials of IBM Digital Asset Haven (powered by Dfns). */
import { Command, Option, type CommanderError } from 'commander'
import type { KeyEntry } from '../config/schema.ts'
import { EX_USAGE } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'
import type { ChallengeOptions } from './credential/challenge.ts'
import type { OutputOptions } from './credential/output.ts'
import { parseDay, parseId } from './keys/key-options.ts'

/** What every one of the commands is told. */
export interface SignOptions extends ChallengeOptions, OutputOptions {
  readonly config: string
  readonly token?: string
  readonly recovery?: boolean
}

/** What `create` is told. */
export interface CreateOptions extends SignOptions {
  readonly id: string
  readonly algorithm: Extract<KeyEntry['algorithm'], 'EC-P256' | 'Ed25519'>
  readonly expires?: string
  readonly wrapKey?: string
}

const NOTES = `
How a credential comes about:
  1. Somebody with a token of the API starts a registration, and gets a challenge (and a temporary authentication token,
     which is no business of these commands).
  2. credential create   a new key of the HSM signs the challenge; prints what POST /auth/registration/enduser takes as
                         firstFactorCredential, or with --recovery as recoveryCredential.
     credential attest   the same for a key that is in the HSM already.
  3. credential assert   later, the key signs the challenge of a login, an action or a recovery.

These commands talk to the HSM and to nobody else: what they print is sent by whoever has the token of the API.`

const EXIT_CODES = `
What is signed is shown, and asked about at a terminal; --yes asks nothing, and is needed where there is no terminal.

Exit codes: 0 signed; 64 wrong usage, or not agreed to; 65 the challenge is not what it should be; 66 a file cannot be read;
69 the HSM cannot be used, or lacks what the key needs; 73 the file, or the key, is there already; 74 writing failed;
77 this key may not, or the configuration cannot be written; 78 the configuration cannot be used; 130 stopped by Ctrl-C,
with the token as it was.`

const CREATE_NOTES = `
The key is made inside the HSM as a credential-sign key: it signs challenges and nothing else, and never leaves. Its entry is
written into the configuration; if anything fails, the token, the configuration and the file stay as they were.

With --recovery it is registered as a recovery credential: whoever has it can take the user's account over, and ends every
other credential by it. With --wrap-key the key is also wrapped out, once, under that credential-wrap key (AES-256, RFC 5649),
and the result is printed as encryptedPrivateKey. It leaves while it is made: what is kept in the HSM is a copy that cannot
leave, signs as any other, and counts as imported, because its value is known to whoever can unwrap it. The wrapping key
wraps and never unwraps here; so it must be one that somebody else has: bring it in with "pinbridge ceremony", whose
custodians keep its components, or generate it --exportable. Without --wrap-key the HSM, and its backup, is all there is.

Examples:
  pinbridge credential create --id end-user --origin https://app.bank.example --challenge-file challenge.txt
  pinbridge credential create --id rescue --recovery --wrap-key credential-wrap --origin https://app.bank.example \\
    --challenge-file - --out recovery-credential.json --yes
${EXIT_CODES}`

const ATTEST_NOTES = `
Prints what registers a key that the HSM has already: for a challenge that has expired, or a new version of a key that
"pinbridge rotate" made. Nothing leaves the HSM, so that there is no encryptedPrivateKey.

Example: pinbridge credential attest end-user@2 --origin https://app.bank.example --challenge-file challenge.txt
${EXIT_CODES}`

const ASSERT_NOTES = `
Prints what answers a challenge: firstFactor of POST /auth/action and of POST /auth/login, or with --recovery the recovery of
POST /auth/recover/user, whose challenge is the base64url of the new credentials' JSON.

Example: pinbridge credential assert end-user --challenge-file challenge.txt
${EXIT_CODES}`

/** Declares the commands. */
export function credentialCommand(): Command {
  const create = signing('create', 'make a credential key in the HSM, and what registers it')
    .requiredOption('--id <id>', 'the name of the new key', parseId)
    .addOption(new Option('--algorithm <algorithm>', 'its kind').choices(['EC-P256', 'Ed25519']).default('EC-P256'))
    .option('--expires <day>', 'the last day that it should be used, such as 2028-12-31', parseDay)
    .option('--recovery', 'it is a recovery credential')
    .option('--wrap-key <key>', 'wrap a recovery credential out under this credential-wrap key, as ID or ID@VERSION')
    .addHelpText('after', CREATE_NOTES)
    .action(async (options: CreateOptions) => (await import('./credential/create.ts')).createCommand(options))
  const attest = signing('attest', 'make what registers a credential key that exists')
    .argument('<key>', 'its id, or ID@VERSION')
    .option('--recovery', 'as a recovery credential')
    .addHelpText('after', ATTEST_NOTES)
    .action(async (key: string, options: SignOptions) =>
      (await import('./credential/sign.ts')).attestCommand(key, options),
    )
  const assert = signing('assert', 'sign the challenge of a login, an action or a recovery')
    .argument('<key>', 'its id, or ID@VERSION')
    .option('--recovery', 'by a recovery credential')
    .addHelpText('after', ASSERT_NOTES)
    .action(async (key: string, options: SignOptions) =>
      (await import('./credential/sign.ts')).assertCommand(key, options),
    )
  return new Command('credential')
    .description('keys of the HSM as credentials of IBM Digital Asset Haven')
    .exitOverride(usage)
    .addHelpText('after', NOTES)
    .addCommand(create)
    .addCommand(attest)
    .addCommand(assert)
}

function signing(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .exitOverride(usage)
    .addOption(
      new Option('--config <file>', 'the configuration').default(process.env['PINBRIDGE_CONFIG']).makeOptionMandatory(),
    )
    .option('--token <name>', 'the token, where the configuration has several')
    .option('--challenge <text>', 'what is to be signed, as the API gave it: base64url')
    .option('--challenge-file <file>', 'a file with it; - is standard input')
    .option('--origin <origin>', 'where the application runs, such as https://app.bank.example')
    .option('--no-origin', 'leave it out of the client data')
    .option(
      '--cred-id <id>',
      "the credential's id, base64url (default: the thumbprint of the public key, RFC 7638)",
      parseCredId,
    )
    .option('--out <file>', 'where the result goes; standard output without it')
    .option('--yes', 'ask nothing')
    .option('--json', 'print it with the key and its thumbprint on one line')
}

function parseCredId(text: string): string {
  if (/^[A-Za-z0-9_-]{1,512}$/.test(text)) return text
  throw new CommandError(EX_USAGE, '--cred-id: 1 to 512 characters of base64url')
}

/** Ends as the exit codes say; commander's own for wrong usage is 1. */
function usage({ exitCode }: CommanderError): never {
  process.exit(exitCode === 0 ? 0 : EX_USAGE)
}
