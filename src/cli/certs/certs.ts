/** `pinbridge certs`: requests and certificates for key pairs of the HSM, and what expires when. */
import { Command, InvalidArgumentError, Option, type CommanderError } from 'commander'
import { EX_USAGE } from '../../exit-codes.ts'

/** What every command that makes something is told. */
interface MakeOptions {
  readonly config: string
  readonly subject: string
  readonly out?: string
  readonly json?: boolean
}

/** What `csr` is told. */
export interface CsrOptions extends MakeOptions {
  readonly dns: readonly string[]
  readonly tls: 'client' | 'server' | 'both'
}

/** What `self-signed` is told. */
export interface SelfSignedOptions extends CsrOptions {
  readonly days: number
  readonly ca?: boolean
}

/** What `issue-for` is told. */
export interface IssueOptions extends MakeOptions {
  readonly by: string
  readonly issuer: string
  readonly days: number
}

/** What `show` is told. */
export interface ShowOptions {
  readonly config: string
  readonly within: number
  readonly json?: boolean
}

const NOTES = `
Which one do I need?
  csr          your certification authority is to certify a key that signs (tls-sign, transcript-sign,
               assertion-sign): send it the file.
  self-signed  the other party takes a certificate that you vouch for by telling its thumbprint.
  issue-for    a JWE key is to be onboarded, for example with Thales D1, and is in the HSM already. It deciphers and so
               signs nothing; a tls-sign key issues the certificate in its place. For a JWE key that is still to be made,
               "pinbridge keys generate --csr" is better: the new key signs its own request once, and can never again.
  show         what expires when: server certificate, authorities, keys.`

const MAKE_EXIT_CODES = `
The HSM is asked to sign and nothing in it is changed; a file that is there already is not overwritten.

Exit codes: 0 made; 64 wrong usage; 65 a certificate given is not what it should be; 66 a file cannot be read; 69 the HSM
cannot be used, or lacks what the key needs; 73 the file is there already; 74 writing failed; 77 this key may not;
78 the configuration cannot be used.`

const CSR_NOTES = `
Makes a certification request (PKCS#10, PEM). The key signs it inside the HSM and never leaves it.

Example: pinbridge certs csr tls --subject 'CN=pin.bank.example,O=Example Bank,C=DE' --dns pin.bank.example --out tls.csr
${MAKE_EXIT_CODES}`

const SELF_SIGNED_NOTES = `
Makes a certificate (X.509, PEM) that the key signs for itself inside the HSM. Nobody can know by the certificate alone that
it is yours: tell the other party the thumbprint by a second way, such as a letter or a call that you make.

With --ca the certificate says that its key issues certificates and does nothing else; use a tls-sign key of its own for it.

Example: pinbridge certs self-signed tls --subject 'CN=pin.bank.example' --dns pin.bank.example --days 365 --out tls.pem
${MAKE_EXIT_CODES}`

const ISSUE_NOTES = `
Makes a certificate (X.509, PEM) over the public key of a JWE key, issued by a tls-sign key of the same HSM. Before that, the
HSM is seen to open something sealed to the JWE key, so that the certificate is over a key that is really held.
The other party needs the certificate and its thumbprint, and the issuer's certificate if it checks who issued it.

Example, the issuer first, once:
  pinbridge certs self-signed issuer --ca --subject 'CN=Example Bank PIN keys,O=Example Bank' --days 3650 --out issuer.pem
  pinbridge certs issue-for jwe-ec --by issuer --issuer issuer.pem --subject 'CN=jwe-ec,O=Example Bank' --out jwe-ec.pem
${MAKE_EXIT_CODES}`

const SHOW_NOTES = `
Lists by date, the next to expire first: the server's certificate and its chain, the authorities of clients and of the
limit store, keys that callers' tokens are verified with (if they say when they expire), keys of the catalogue with
"expires", and the files named here. Nothing is changed and the HSM is not asked.

Example: pinbridge certs show thales.pem --within 60

Exit codes: 0 nothing expires within that many days; 1 something does, or has expired, or cannot be read;
78 the configuration cannot be used.`

/** Declares the commands. */
export function certsCommand(): Command {
  const csr = making('csr', 'make a certification request for a key that signs')
    .argument('<key>', 'its id, or ID@VERSION')
    .option('--dns <name>', 'a DNS name it is for; may be given again', collectDnsName, [])
    .addOption(tlsOption())
    .addHelpText('after', CSR_NOTES)
    .action(async (key: string, options: CsrOptions) => (await import('./sign.ts')).csrCommand(key, options))
  const selfSigned = making('self-signed', 'make a certificate that a key that signs issues for itself')
    .argument('<key>', 'its id, or ID@VERSION')
    .option('--dns <name>', 'a DNS name it is for; may be given again', collectDnsName, [])
    .addOption(tlsOption())
    .option('--ca', 'the key issues certificates (certs issue-for) and does nothing else')
    .option('--days <n>', 'for how long it is valid', parseDays, 365)
    .addHelpText('after', SELF_SIGNED_NOTES)
    .action(async (key: string, options: SelfSignedOptions) =>
      (await import('./sign.ts')).selfSignedCommand(key, options),
    )
  const issueFor = making('issue-for', 'make a certificate for a JWE key, issued by a tls-sign key')
    .argument('<key>', 'the id of the JWE key, or ID@VERSION')
    .requiredOption('--by <key>', 'the tls-sign key that issues it')
    .requiredOption('--issuer <file>', "that key's certificate, made with certs self-signed --ca")
    .option('--days <n>', 'for how long it is valid', parseDays, 365)
    .addHelpText('after', ISSUE_NOTES)
    .action(async (key: string, options: IssueOptions) => (await import('./sign.ts')).issueForCommand(key, options))
  const show = new Command('show')
    .description('show what expires when')
    .argument('[file...]', 'more certificates, as PEM files')
    .exitOverride(usage)
    .addOption(configOption())
    .option('--within <days>', 'how near is soon', parseDays, 30)
    .option('--json', 'print the list as JSON')
    .addHelpText('after', SHOW_NOTES)
    .action(async (files: string[], options: ShowOptions) => (await import('./show.ts')).showCommand(files, options))
  return new Command('certs')
    .description('requests and certificates for keys of the HSM, and what expires when')
    .exitOverride(usage)
    .addHelpText('after', NOTES)
    .addCommand(csr)
    .addCommand(selfSigned)
    .addCommand(issueFor)
    .addCommand(show)
}

function making(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .requiredOption('--subject <name>', "who it is made out to, such as 'CN=pinbridge,O=Example Bank,C=DE'")
    .exitOverride(usage)
    .addOption(configOption())
    .option('--out <file>', 'where it goes; standard output without it')
    .option('--json', 'print it with its thumbprints as JSON')
}

/** Ends as the exit codes say; commander's own for wrong usage is 1. */
function usage({ exitCode }: CommanderError): never {
  process.exit(exitCode === 0 ? 0 : EX_USAGE)
}

function configOption(): Option {
  return new Option('--config <file>', 'the configuration')
    .default(process.env['PINBRIDGE_CONFIG'])
    .makeOptionMandatory()
}

function tlsOption(): Option {
  return new Option('--tls <side>', 'of a tls-sign key: the side of a connection it speaks for')
    .choices(['client', 'server', 'both'])
    .default('both')
}

function collectDnsName(text: string, earlier: readonly string[]): string[] {
  const label = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
  if (text.length > 253 || !new RegExp(`^(?:\\*\\.)?${label}(?:\\.${label})*$`).test(text)) {
    throw new InvalidArgumentError('a DNS name is written in lower case, such as pin.bank.example')
  }
  return [...earlier, text]
}

/** Reads for how many days something is valid. */
export function parseDays(text: string): number {
  const days = Number(text)
  if (!/^[1-9][0-9]{0,3}$/.test(text) || days > 7300) throw new InvalidArgumentError('days are a number from 1 to 7300')
  return days
}
