/** Asks for the token: its module, what the module wants to be told, and which of its tokens it is. */
import { basename, resolve } from 'node:path'
import { fileProblem } from '../../config/files.ts'
import { NAME_OF_THE_ONLY_ONE, nameByLabel } from '../../config/one-token.ts'
import { MODULE_VARIABLE, type TokenConfig } from '../../config/schema.ts'
import { EX_UNAVAILABLE } from '../../exit-codes.ts'
import { HsmStartError } from '../../hsm/hsm.ts'
import { listTokens, type TokenDescription } from '../../hsm/pkcs11/list-tokens.ts'
import { CommandError } from '../command-error.ts'
import { withProgress } from '../terminal/progress.ts'
import { findModules, knownModule } from './known-modules.ts'
import type { Questions } from './questions.ts'

const SESSIONS = 4
const SOCKETS: readonly string[] = ['none', 'unix', 'inet']

/** The token that was chosen, without its PIN file. */
export interface ChosenToken {
  readonly settings: Omit<TokenConfig, 'pinFile'>
  readonly description: TokenDescription
}

/**
 * Asks for module, variables, token and socket, and looks at the module meanwhile; nobody logs in.
 *
 * @throws CommandError (69) if the module cannot be loaded, or shows no token that can be used.
 */
export async function askToken(questions: Questions): Promise<ChosenToken> {
  const module = await askModule(questions)
  const known = knownModule(module)
  const environment = await askVariables(questions, known?.variable)
  Object.assign(process.env, environment)
  const libraryParameters = await questions.ask({
    name: 'libraryParameters',
    text: 'Library parameters (almost always none: press Enter)',
    fallback: '',
  })
  const tokens = await withProgress('loading the PKCS#11 module', async () => describeTokens(module, libraryParameters))
  const description = await chooseToken(questions, tokens)
  await warnOfSoftware(questions, description)
  const socket = await questions.ask({
    name: 'socket',
    text: 'How does the module reach its HSM: none, unix or inet?',
    help: `Each part of the service may open only the kind of socket that it needs. "none" is for a device in this machine,
"unix" for a daemon on this machine, "inet" for an HSM on the network.`,
    fallback: known?.socket ?? 'inet',
    problemOf: (answer) => (SOCKETS.includes(answer) ? undefined : 'answer none, unix or inet'),
  })
  return {
    settings: {
      name: nameByLabel(description.label) ?? NAME_OF_THE_ONLY_ONE,
      module,
      tokenLabel: description.label,
      environment,
      ...(libraryParameters !== '' && { libraryParameters }),
      sessions: SESSIONS,
      socket: socket as TokenConfig['socket'],
    },
    description,
  }
}

async function askModule(questions: Questions): Promise<string> {
  const found = findModules()
  const list = found.map(({ path, product }, i) => `  ${i + 1}  ${product}: ${path}`)
  const chosen = (answer: string): string => found[Number(answer) - 1]?.path ?? resolve(answer)
  const answer = await questions.ask({
    name: 'module',
    text: found.length > 0 ? 'Its number, or a path' : 'Path of the PKCS#11 module',
    help: `The HSM is reached through a PKCS#11 module: a library of its vendor, a file that ends in .so.
${found.length > 0 ? `On this machine there is:\n${list.join('\n')}` : 'None was found in the usual places.'}`,
    ...(found.length === 1 && { fallback: '1' }),
    problemOf: (answer) => {
      const problem = fileProblem(chosen(answer))
      return problem === undefined ? undefined : `this file ${problem}`
    },
  })
  return chosen(answer)
}

async function askVariables(questions: Questions, variable: string | undefined): Promise<Record<string, string>> {
  const set = variable === undefined ? undefined : process.env[variable]
  const answer = await questions.ask({
    name: 'moduleVariables',
    text: 'Variables, as NAME=VALUE with blanks between them (none: press Enter)',
    help: `Some modules read a variable of the environment, most often one that names their configuration file${
      variable === undefined ? '' : ` (this one: ${variable})`
    }.
The service starts with a clean environment, so that such a variable has to stand in the configuration. No secret in it.`,
    fallback: set === undefined ? '' : `${variable}=${set}`,
    problemOf: (answer) => variablesProblem(answer),
  })
  return Object.fromEntries(variablesIn(answer))
}

function variablesIn(answer: string): [name: string, value: string][] {
  return answer
    .split(/\s+/)
    .filter((pair) => pair !== '')
    .map((pair) => [pair.slice(0, Math.max(pair.indexOf('='), 0)), pair.slice(pair.indexOf('=') + 1)])
}

function variablesProblem(answer: string): string | undefined {
  const isFit = ([name]: [string, string]): boolean => new RegExp(MODULE_VARIABLE).test(name)
  return variablesIn(answer).every(isFit)
    ? undefined
    : 'write NAME=VALUE; variables that steer the service itself, such as NODE_OPTIONS or LD_PRELOAD, are not taken'
}

function describeTokens(module: string, libraryParameters: string): TokenDescription[] {
  try {
    return listTokens(module, libraryParameters === '' ? undefined : libraryParameters)
  } catch (error) {
    if (!(error instanceof HsmStartError)) throw error
    throw new CommandError(
      EX_UNAVAILABLE,
      `${error.message}: is it the vendor's PKCS#11 library, and is its own configuration in place (${basename(module)})?`,
    )
  }
}

async function chooseToken(questions: Questions, tokens: readonly TokenDescription[]): Promise<TokenDescription> {
  const usable = tokens.filter(
    ({ isReady, label }) => isReady && tokens.filter((other) => other.label === label).length === 1,
  )
  if (usable.length === 0) throw new CommandError(EX_UNAVAILABLE, noTokenSentence(tokens))
  const list = usable.map(
    ({ label, manufacturer, model, serialNumber }, i) =>
      `  ${i + 1}  ${label} (${[manufacturer, model].filter(Boolean).join(' ')}, serial number ${serialNumber})`,
  )
  const chosen = (answer: string): TokenDescription | undefined =>
    usable.find(({ label }) => label === answer) ?? usable[Number(answer) - 1]
  const answer = await questions.ask({
    name: 'tokenLabel',
    text: 'Its number, or its label',
    help: `A token is the part of an HSM that holds keys and that one logs in to (a partition, a slot). The module shows:
${list.join('\n')}`,
    ...(usable.length === 1 && { fallback: usable[0]!.label }),
    problemOf: (answer) => (chosen(answer) ? undefined : 'the module shows no such token'),
  })
  const token = chosen(answer)!
  if (token.isWriteProtected) {
    throw new CommandError(EX_UNAVAILABLE, 'this token is read-only: no key can be made in it')
  }
  return token
}

function noTokenSentence(tokens: readonly TokenDescription[]): string {
  if (tokens.length === 0) {
    return "the module shows no token: make a partition with its vendor's tools, give it a label and a user PIN, and begin again"
  }
  return "the module shows no token that can be used: each needs a label of its own and a user PIN (initialise it with its vendor's tools)"
}

/** What keeps keys in files protects them as well as a file. */
async function warnOfSoftware(questions: Questions, { manufacturer, model, label }: TokenDescription): Promise<void> {
  const isSoftware = /softhsm|mozilla|nss|soft ?token/i.test(`${manufacturer} ${model}`)
  if (!isSoftware && !/(?:^|[^a-z])dev(?:elopment)?(?:$|[^a-z])/i.test(label)) return
  await questions.agreeByTyping(
    'softwareToken',
    isSoftware
      ? 'This token is software: its keys are in files of this machine, and whoever copies them has them. It is not for production.'
      : 'The label of this token says that it is for development. It is not for production.',
    label,
  )
}
