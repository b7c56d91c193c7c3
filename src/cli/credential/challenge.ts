/** What a credential is asked to sign: read, held against what it must be, shown to the person, and agreed to (M-38). */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { decodeBase64url } from '../../bytes.ts'
import { EX_DATAERR, EX_NOINPUT, EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'
import { openTerminal } from '../terminal/terminal.ts'
import type { Challenge } from './client-data.ts'

/** What every command that signs is told of it. */
export interface ChallengeOptions {
  readonly challenge?: string
  readonly challengeFile?: string
  /** False where the client data are to have none. */
  readonly origin?: string | false
  readonly yes?: boolean
}

/** 16 bytes: of fewer, somebody could know a signature beforehand. */
const LEAST_CHARACTERS = 22
/** Most of a registration's, and of an assertion's, which in a recovery is the whole of the new credentials. */
const MOST_CHARACTERS = { 'key.create': 1024, 'key.get': 65_536 } as const
const SHOWN_CHARACTERS = 128

/**
 * Reads the challenge and the origin.
 *
 * @throws CommandError that says what is wrong with them.
 */
export function challengeOf(type: keyof typeof MOST_CHARACTERS, options: ChallengeOptions): Challenge {
  return { origin: originOf(type, options), challenge: expectChallenge(type, textOf(options)) }
}

function textOf({ challenge, challengeFile }: ChallengeOptions): string {
  if ((challenge === undefined) === (challengeFile === undefined)) {
    throw new CommandError(EX_USAGE, 'what is to be signed? Say --challenge, or --challenge-file, and not both')
  }
  if (challengeFile === undefined) return challenge!
  try {
    // 0: standard input.
    return readFileSync(challengeFile === '-' ? 0 : challengeFile, 'latin1').replace(/\r?\n$/, '')
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    throw new CommandError(EX_NOINPUT, `--challenge-file: ${challengeFile} cannot be read (${code})`)
  }
}

function expectChallenge(type: keyof typeof MOST_CHARACTERS, text: string): string {
  const most = MOST_CHARACTERS[type]
  const refuse = (sentence: string): CommandError =>
    new CommandError(EX_DATAERR, `the challenge ${sentence}; nothing was signed`)
  if (text.length < LEAST_CHARACTERS || text.length > most) {
    throw refuse(`has ${text.length} characters, and must have ${LEAST_CHARACTERS} to ${most}`)
  }
  if (decodeBase64url(text) === undefined) {
    throw refuse('is not base64url without padding: give it as the API gave it, and nothing else')
  }
  return text
}

function originOf(type: keyof typeof MOST_CHARACTERS, { origin }: ChallengeOptions): string | undefined {
  if (origin === false) return undefined
  if (origin === undefined) {
    if (type === 'key.get') return undefined
    throw new CommandError(
      EX_USAGE,
      '--origin is needed, such as --origin https://app.bank.example; or --no-origin, where the API wants client data of ' +
        'challenge and type alone',
    )
  }
  if (origin.startsWith('https://') && URL.canParse(origin) && new URL(origin).origin === origin) return origin
  throw new CommandError(EX_USAGE, '--origin: https:// and a host in lower case, and nothing behind it but a port')
}

/**
 * Shows what is about to be signed, and asks.
 *
 * @param what - what the key does, as the end of a sentence.
 * @throws CommandError if the person does not agree, or there is nobody to ask.
 */
export async function agree(
  what: string,
  clientData: Buffer,
  { challenge, origin }: Challenge,
  { yes = false }: ChallengeOptions,
): Promise<void> {
  const terminal = yes ? undefined : openTerminal()
  try {
    if (terminal?.isInteractive === false) {
      throw new CommandError(EX_USAGE, 'there is no terminal to ask at: say --yes, and nothing is asked')
    }
    const say = (line: string): void =>
      terminal === undefined ? void process.stderr.write(`${line}\n`) : terminal.say(line)
    say(what)
    say(`  origin       ${origin ?? 'none'}`)
    say(`  challenge    ${shownOf(challenge)}`)
    say(`  client data  SHA-256 ${createHash('sha256').update(clientData).digest('hex')}`)
    if (terminal === undefined || (await terminal.confirm('Is that what you want signed?'))) return
    throw new CommandError(EX_USAGE, 'nothing was signed')
  } finally {
    terminal?.close()
  }
}

function shownOf(challenge: string): string {
  if (challenge.length <= SHOWN_CHARACTERS) return challenge
  return `${challenge.slice(0, SHOWN_CHARACTERS)}… (${challenge.length} characters)`
}
