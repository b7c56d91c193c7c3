/** The options that describe a new key, for every command that makes one: `keys generate`, `keys import`, `ceremony`. */
import { Option, type Command } from 'commander'
import { ALGORITHMS, PURPOSES, type KeyEntry } from '../../config/schema.ts'
import { EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** What commander gives of these options. */
export interface KeyOptions {
  readonly id?: string
  readonly newVersionOf?: string
  readonly keyVersion?: number
  readonly state?: KeyEntry['state']
  readonly purpose?: KeyEntry['purpose']
  readonly algorithm?: KeyEntry['algorithm']
  readonly direction?: NonNullable<KeyEntry['direction']>
  readonly use?: NonNullable<KeyEntry['use']>
  readonly formats?: NonNullable<KeyEntry['formats']>
  readonly profile?: string
  readonly d1Profile?: string
  readonly kid?: string
  readonly issuerId?: string
  readonly audience?: string
  readonly expires?: string
  readonly migrate?: boolean
  readonly exportable?: boolean
  readonly legacyBlocks?: boolean
}

/** For the help of each of these commands: what a purpose needs. */
export const KEY_OPTION_NOTES = `
What each purpose needs beside --id and --algorithm:
  jwe-decrypt       --d1-profile; EC-P256 or RSA-*; D1 encrypts PINs to it
  zone-pin          --direction and --formats; TDEA-* for ISO-0, ISO-1, ISO-3; AES-* for ISO-4
  seccos-pin        --direction; TDEA-*
  prw, pin-mac      --use generate,verify (or one of them) and --profile
  audit-mac         AES-*; seals the audit record
  limit-hash        AES-*; hides PANs where attempts are counted
  key-transport     --use import,export (or one of them); keys travel under it
  jwe-open          EC-P256 or RSA-*; D1 encrypts data of cards and consumers to it, never a PIN
  assertion-sign    --issuer-id, and --audience if D1 asks for one; EC-P256; speaks for the issuer to D1
  transcript-sign   EC-P256; signs the transcripts of ceremonies
  tls-sign          EC-P256 or RSA-*; the key of a certificate
  credential-sign   EC-P256 or Ed25519; a credential of IBM Digital Asset Haven, made with "pinbridge credential create"
  credential-wrap   AES-256; a recovery credential leaves under it
A key needs --id or --new-version-of, not both. A new version takes everything over from the active one, is the next
version, and is pending until "pinbridge rotate" makes it the active one.`

/** Adds the options to a command. */
export function withKeyOptions(command: Command): Command {
  return command
    .option('--id <id>', 'the name of the new key; callers use it', parseId)
    .option('--new-version-of <id>', 'make the next version of this key, of the same kind', parseId)
    .option('--key-version <n>', 'its version (default: the next one of this id)', parseVersion)
    .addOption(
      new Option('--state <state>', 'what it does at first (default: active; pending for a new version)').choices([
        'pending',
        'active',
      ]),
    )
    .addOption(new Option('--purpose <purpose>', 'the one thing that it is for').choices(PURPOSES))
    .addOption(new Option('--algorithm <algorithm>', 'its kind and length').choices(ALGORITHMS))
    .addOption(
      new Option('--direction <direction>', 'which way PIN blocks go, seen from here').choices(['in', 'out', 'both']),
    )
    .option('--use <uses>', 'what it may do, such as generate,verify', parseUses)
    .option('--formats <formats>', 'PIN block formats, such as ISO-0,ISO-3', parseFormats)
    .option('--profile <id>', 'the PRW or MAC profile')
    .option('--d1-profile <id>', 'the D1 profile of a JWE key')
    .option('--issuer-id <id>', 'the issuerId of 10 characters that D1 gave, for an assertion-sign key', parseIssuerId)
    .option('--audience <aud>', 'whom the assertions of a key are meant for', parseAudience)
    .option(
      '--kid <kid>',
      'the kid of a JWE key or an assertion-sign key (default: the thumbprint of the public key, RFC 7638)',
    )
    .option('--expires <day>', 'the last day that it should be used, such as 2028-12-31', parseDay)
    .option('--migrate', '"pinbridge migrate" may use it')
    .option('--exportable', 'its value may leave the token in a key block, for a party that needs it too')
    .option('--legacy-blocks', 'a key-transport key of TDEA that also reads key blocks of versions A and C')
}

function usage(sentence: string): CommandError {
  return new CommandError(EX_USAGE, sentence)
}

/** Reads an id. */
export function parseId(text: string): string {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(text))
    throw usage('an id has 1 to 64 letters, digits, dots, underscores or hyphens')
  return text
}

function parseIssuerId(text: string): string {
  if (!/^[A-Za-z0-9_-]{10}$/.test(text))
    throw usage('--issuer-id: 10 letters, digits, underscores or hyphens, as D1 gave it')
  return text
}

function parseAudience(text: string): string {
  if (text.length < 1 || text.length > 1024) throw usage('--audience: 1 to 1024 characters')
  return text
}

function parseVersion(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw usage('a version is a number from 1 to 9999')
  return Number(text)
}

/** Reads a day. */
export function parseDay(text: string): string {
  const time = /^20\d\d-\d\d-\d\d$/.test(text) ? new Date(`${text}T00:00:00Z`) : undefined
  if (time === undefined || Number.isNaN(time.getTime()) || time.toISOString().slice(0, 10) !== text) {
    throw usage('--expires: a day is written as 2028-12-31')
  }
  return text
}

const listOf =
  <T extends string>(option: string, ...values: T[]) =>
  (text: string): T[] => {
    const given = text.split(',').map((each) => each.trim()) as T[]
    if (given.some((each) => !values.includes(each)) || new Set(given).size < given.length) {
      throw usage(`${option}: a list such as ${values.slice(0, 2).join(',')}, each of it one of ${values.join(', ')}`)
    }
    return given
  }

const parseUses = listOf('--use', 'generate', 'verify', 'import', 'export')
const parseFormats = listOf('--formats', 'ISO-0', 'ISO-1', 'ISO-3', 'ISO-4', 'SECCOS')
