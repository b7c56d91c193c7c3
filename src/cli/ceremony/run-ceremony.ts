/** The frame of every ceremony: terminal, tokens, transcript, and that nothing is half-done when it is given up (M-34). */
import { hostname, userInfo } from 'node:os'
import { resolve } from 'node:path'
import { addKeyEntry } from '../../config/edit.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { ServiceError } from '../../errors.ts'
import { EX_INTERRUPTED, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { HsmStartError } from '../../hsm/hsm.ts'
import { CommandError } from '../command-error.ts'
import { KeyLeftError, undone } from '../keys/store-key.ts'
import { hearInterrupts, withEveryToken, type OpenedToken } from '../open-token.ts'
import { openTerminal, type Terminal } from '../terminal/terminal.ts'
import { nameProblem, Transcript, type Outcome } from './transcript.ts'
import { TranscriptFile } from './transcript-file.ts'
import { openSigner, transcriptKeyOf, type OpenedSigner } from './transcript-key.ts'

/** What every ceremony is told. */
export interface CeremonyOptions {
  readonly config: string
  readonly transcript: string
  readonly transcriptKey?: string
  readonly json?: boolean
}

/** A ceremony that runs. */
export interface Ceremony {
  readonly terminal: Terminal
  readonly tokens: readonly OpenedToken[]
  readonly transcript: Transcript
  /** Gives random bytes. */
  readonly hsm: OpenedSigner['hsm']
  /** Who runs the ceremony. */
  readonly operator: string
}

/** What a ceremony is about. */
export interface CeremonyPlan {
  readonly options: CeremonyOptions
  readonly config: Config
  /** Such as `import of a key in 3 components`. */
  readonly what: string
  /** What is done to which key, for the transcript. */
  readonly facts: readonly (readonly [label: string, value: string])[]
  /** What the people are told before it begins. */
  readonly explanation: string
  /** What is left to do when it was given up, for the transcript. */
  readonly afterAbort?: string
  /** Refuses, before anybody types, what could not be finished. */
  readonly precheck: (tokens: readonly OpenedToken[]) => void
}

/** What a ceremony has done: the key that is in the tokens now and is not yet in the configuration, and a sentence. */
export interface CeremonyResult {
  readonly stored?: KeyEntry
  readonly result: Readonly<Record<string, unknown>>
  readonly sentence: string
}

/**
 * Runs a ceremony.
 *
 * @param work - the ceremony itself; it has wiped every secret when it returns.
 * @throws CommandError, whatever ended it: then the tokens and the configuration are as they were, and the transcript says why.
 */
export async function runCeremony(
  plan: CeremonyPlan,
  work: (ceremony: Ceremony) => Promise<CeremonyResult>,
): Promise<void> {
  const { options, config } = plan
  const signingKey = transcriptKeyOf(config, options.transcriptKey)
  const terminal = openTerminal()
  let done: CeremonyResult
  try {
    if (!terminal.isInteractive)
      throw new CommandError(EX_USAGE, 'a ceremony is typed at a terminal, and there is none here')
    using file = new TranscriptFile(resolve(options.transcript))
    done = await withEveryToken(config, async (tokens) => {
      const signer = await openSigner(tokens, signingKey)
      plan.precheck(tokens)
      return withTranscript(plan, { terminal, tokens, signer, file }, work)
    })
    await bidFarewell(terminal, done.sentence)
  } finally {
    terminal.close()
  }
  process.stdout.write(
    options.json
      ? `${JSON.stringify({ ...done.result, transcript: resolve(options.transcript) })}\n`
      : `${done.sentence}\nThe transcript is in ${resolve(options.transcript)}\n`,
  )
}

interface Surroundings {
  readonly terminal: Terminal
  readonly tokens: readonly OpenedToken[]
  readonly signer: OpenedSigner
  readonly file: TranscriptFile
}

async function withTranscript(
  plan: CeremonyPlan,
  { terminal, tokens, signer, file }: Surroundings,
  work: (ceremony: Ceremony) => Promise<CeremonyResult>,
): Promise<CeremonyResult> {
  terminal.clear()
  terminal.say(`${plan.explanation}\n`)
  if (!(await terminal.confirm('Shall the ceremony begin?'))) throw new CommandError(EX_INTERRUPTED, 'not begun')
  const operator = await terminal.ask('Name or role of whoever runs the ceremony', { problemOf: nameProblem })
  const transcript = new Transcript(plan.what, factsOf(plan, tokens), () => new Date())
  const finish = async (outcome: Outcome): Promise<void> => {
    file.write(await signedText(transcript, outcome, signer))
  }
  try {
    transcript.note(`The ceremony begins; it is run by ${operator}.`)
    const done = await work({ terminal, tokens, transcript, hsm: signer.hsm, operator })
    try {
      await finish('completed')
      await hearInterrupts()
      for (const { throwIfInterrupted } of done.stored ? tokens : []) throwIfInterrupted()
      // Last of all, since only this makes the key one that is used.
      if (done.stored) addKeyEntry(plan.options.config, done.stored)
    } catch (error) {
      if (!done.stored) throw error
      const told = undone(tokens, done.stored, error)
      if (!(told instanceof KeyLeftError)) transcript.note('The key was taken out again.')
      throw told
    }
    return done
  } catch (error) {
    const after = [
      error instanceof KeyLeftError ? '' : ' Nothing was stored.',
      plan.afterAbort && ` ${plan.afterAbort}`,
    ]
    const afterAbort = after.join('')
    transcript.note(`The ceremony ends here: ${reasonOf(error)}.${afterAbort}`)
    terminal.clear()
    try {
      await finish('aborted')
      terminal.say(`The ceremony was given up.${afterAbort} The transcript is in ${file.path}`)
    } catch (failed) {
      // Why it was given up comes first.
      terminal.say(failed instanceof CommandError ? failed.message : 'the transcript was not written')
    }
    if (!(error instanceof ServiceError)) throw error
    throw new CommandError(EX_UNAVAILABLE, `the token failed (${error.detail?.ckr ?? error.code})`)
  }
}

/** Signed, or where the token fails at that, with a line that says so: what happened has to be told in any case. */
async function signedText(transcript: Transcript, outcome: Outcome, signer: OpenedSigner): Promise<string> {
  try {
    return await transcript.signed(outcome, signer)
  } catch (error) {
    if (outcome === 'aborted') return transcript.unsigned(outcome, 'the token does not sign any more')
    const why = error instanceof ServiceError ? (error.detail?.ckr ?? error.code) : 'it failed'
    throw new CommandError(EX_UNAVAILABLE, `the token does not sign the transcript (${why})`)
  }
}

function factsOf({ options, facts }: CeremonyPlan, tokens: readonly OpenedToken[]): [string, string][] {
  return [
    ...facts.map(([label, value]): [string, string] => [label, value]),
    ...tokens.map(({ token, settings }): [string, string] => {
      const { label, serialNumber, manufacturerID, model } = token.slot.getToken()
      const parts = [
        `label ${label.trim()}`,
        `serial ${serialNumber.trim()}`,
        `${manufacturerID.trim()} ${model.trim()}`,
      ]
      return ['Token', `${settings.name}: ${parts.join(', ')}`]
    }),
    ['Host', `${hostname()}, user ${userName()}`],
    ['Configuration', resolve(options.config)],
  ]
}

function userName(): string {
  try {
    return userInfo().username
  } catch {
    // A user who has no name on this machine.
    return String(process.getuid?.())
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed'
  if (error instanceof CommandError && error.message === 'stopped') return 'somebody stopped it'
  if (error instanceof HsmStartError) return error.problems.join('; ')
  return error instanceof CommandError || error.name.startsWith('Config') ? error.message : 'it failed'
}

/** Leaves the result on the screen until somebody has read it. */
async function bidFarewell(terminal: Terminal, sentence: string): Promise<void> {
  terminal.clear()
  terminal.say(`${sentence}\n`)
  try {
    await terminal.ask('Press Enter to clear the screen and end', { fallback: '' })
  } catch {
    // Ctrl-C: it has ended already.
  }
  terminal.clear()
}
