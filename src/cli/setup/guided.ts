/** The guided set-up for production: asks, tries the login once, makes the keys in the HSM and writes the files, or leaves nothing. */
import { join } from 'node:path'
import { loadConfig } from '../../config/config.ts'
import type { KeyEntry, TokenConfig } from '../../config/schema.ts'
import { EX_INTERRUPTED, EX_USAGE } from '../../exit-codes.ts'
import type { TokenDescription } from '../../hsm/pkcs11/list-tokens.ts'
import { CommandError } from '../command-error.ts'
import type { PlannedKey } from '../keys/planned-key.ts'
import type { OpenedToken } from '../open-token.ts'
import { openTerminal } from '../terminal/terminal.ts'
import { answersText, readAnswers } from './answers.ts'
import { askClients, type ChosenClient } from './ask-clients.ts'
import { askPinFile } from './ask-pin-file.ts'
import { askService, type ServiceAnswers } from './ask-service.ts'
import { askToken } from './ask-token.ts'
import { configText, rulesOf } from './config-text.ts'
import { NewFolder } from './new-folder.ts'
import { askOtherNode, expectSameKeys, type SharedMembers } from './other-node.ts'
import { destroyOwnKeys, expectRoom, generateOwnKeys, ownKeys, WHAT_FOR, type JweAlg } from './own-keys.ts'
import { Questions } from './questions.ts'
import { stepsText } from './steps.ts'
import { PRIVATE_KEY_FILE, REQUEST_FILE, writeTlsFiles } from './tls-files.ts'
import { agreeToLogIn, tryLogin, withLogin } from './try-login.ts'

const CONFIG_FILE = 'pinbridge.yaml'
const NEW_CONFIG_FILE = 'pinbridge.yaml.new'
const STEPS_FILE = 'STEPS.md'
const ANSWERS_FILE = 'answers.yaml'

/** What was made; no secret. */
export interface SetUp {
  readonly config: string
  readonly steps: string
  /** What was answered, for the next node. */
  readonly answers: string
  readonly certificateRequest: string
  readonly token: Pick<TokenDescription, 'label' | 'manufacturer' | 'model' | 'serialNumber'>
  readonly keys: readonly Pick<KeyEntry, 'id' | 'version' | 'purpose' | 'algorithm' | 'kcv'>[]
}

/** What was answered before any key is made. */
export interface Answered {
  readonly token: TokenConfig
  readonly description: TokenDescription
  /** The keys and rules of another node; undefined for the first one. */
  readonly shared: SharedMembers | undefined
  /** The keys to generate; none where another node's are used. */
  readonly planned: readonly PlannedKey[]
  readonly service: ServiceAnswers
  readonly clients: readonly ChosenClient[]
}

/**
 * Asks and makes the set-up.
 *
 * @param dir - absent or empty.
 * @param answersPath - a file that answers; what it does not is asked, or takes its default where there is no terminal.
 * @throws CommandError, ConfigError; then nothing was made, neither on the disk nor in the token.
 */
export async function makeGuidedSetUp(dir: string, answersPath: string | undefined): Promise<SetUp> {
  const folder = NewFolder.at(dir)
  const answers = answersPath === undefined ? undefined : readAnswers(answersPath)
  const terminal = openTerminal()
  let interrupted = false
  const interrupt = (): void => {
    interrupted = true
  }
  const throwIfInterrupted = (): void => {
    if (interrupted) throw new CommandError(EX_INTERRUPTED, 'stopped; nothing was made')
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  try {
    if (!terminal.isInteractive && answers === undefined) {
      throw new CommandError(
        EX_USAGE,
        'init asks questions: run it at a terminal, or answer them in a file (--answers)',
      )
    }
    const questions = new Questions(terminal, answers, throwIfInterrupted)
    const answered = await askAll(questions, folder)
    await agreeToMake(questions, answered)
    return await withLogin(answered.token, (opened) => make(opened, answered, questions, folder))
  } catch (error) {
    folder.undo()
    throw error
  } finally {
    terminal.close()
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  }
}

async function askAll(questions: Questions, folder: NewFolder): Promise<Answered> {
  questions.explain(`This sets up pinbridge for production in ${folder.path}. It asks, and makes no key before the last question;
Ctrl-C ends it at any of them and leaves nothing behind. What stands in [brackets] is taken when you press Enter.

— The HSM —`)
  const { settings, description } = await askToken(questions)
  const shared = await askOtherNode(questions)
  const planned = shared ? [] : ownKeys(await askJweAlg(questions))
  const pinFile = await askPinFile(questions, folder, settings)
  const token: TokenConfig = { ...settings, pinFile }
  await agreeToLogIn(questions, description)
  await tryLogin(token, (opened) => expectRoom(opened, planned))
  questions.explain('The token took the PIN, and has room for the keys.')
  const service = await askService(questions, folder, shared === undefined)
  const clients = shared ? [] : await askClients(questions)
  return { token, description, shared, planned, service, clients }
}

async function askJweAlg(questions: Questions): Promise<JweAlg> {
  const answer = await questions.ask({
    name: 'jweAlg',
    text: 'ECDH-ES or RSA-OAEP-256',
    help: `D1 encrypts new PINs to a key of yours, in one of two ways; ask Thales which. ECDH-ES is the one that D1 publishes.`,
    fallback: 'ECDH-ES',
    problemOf: (answer) => (['ECDH-ES', 'RSA-OAEP-256'].includes(answer) ? undefined : 'ECDH-ES or RSA-OAEP-256'),
  })
  return answer as JweAlg
}

async function agreeToMake(questions: Questions, { shared, planned, token }: Answered): Promise<void> {
  const keys = planned.map(({ id, algorithm }) => `  ${id.padEnd(18)}${algorithm.padEnd(10)}${WHAT_FOR[id]}`)
  const agreed = await questions.agree(
    'generateKeys',
    shared ? 'Write the files now' : 'Generate these keys and write the files now',
    shared
      ? '\nThat was all. No key is made: this node uses those of the other one.'
      : `\nThat was all. In token ${token.tokenLabel} these keys are generated now; nobody sees their values, and they never leave it:
${keys.join('\n')}
Zone keys, PRW and MAC keys are shared with others: they come in later, by a ceremony or as key blocks.`,
  )
  if (!agreed) throw new CommandError(EX_USAGE, 'stopped before anything was made')
}

/** Keys first, because the configuration holds their KCVs; the file gets its name when all of it has been checked. */
async function make(opened: OpenedToken, answered: Answered, questions: Questions, folder: NewFolder): Promise<SetUp> {
  const { token, description, shared, planned, service, clients } = answered
  const made = await generateOwnKeys(opened, planned)
  try {
    folder.make()
    await writeTlsFiles(folder, service)
    folder.makeDirectory(service.auditDirectory)
    if (service.users) giveToUsers(folder, service.users, service.auditDirectory, token.pinFile)
    const rules = shared ?? rulesOf(made, clients, service)
    const newConfig = folder.write(NEW_CONFIG_FILE, configText({ token, service, rules }, folder.path))
    const config = loadConfig(newConfig)
    if (shared) await expectSameKeys(opened, config)
    const answers = folder.write(ANSWERS_FILE, answersText(questions.given, clients))
    const steps = folder.write(
      STEPS_FILE,
      stepsText(folder.path, answered, config, join(folder.path, CONFIG_FILE)),
      0o644,
    )
    if (service.owner) folder.giveAll(service.owner)
    opened.throwIfInterrupted()
    const { label, manufacturer, model, serialNumber } = description
    return {
      config: folder.rename(NEW_CONFIG_FILE, CONFIG_FILE),
      ...{ steps, answers },
      certificateRequest: join(folder.path, REQUEST_FILE),
      token: { label, manufacturer, model, serialNumber },
      keys: config.keys.map(({ id, version, purpose, algorithm, kcv }) => ({ id, version, purpose, algorithm, kcv })),
    }
  } catch (error) {
    destroyOwnKeys(opened, made)
    throw error
  }
}

/** Each of the two users gets what only it may read; of the folder both can reach the files that they know. */
function giveToUsers(
  folder: NewFolder,
  { gateway, vault }: NonNullable<ServiceAnswers['users']>,
  auditDirectory: string,
  pinFile: string,
): void {
  folder.letThrough()
  folder.give([join(folder.path, PRIVATE_KEY_FILE), auditDirectory], gateway)
  folder.give([pinFile], vault)
}
