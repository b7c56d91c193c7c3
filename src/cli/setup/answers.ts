/** The answers of a file, for whoever sets up several nodes: by the names of the questions, and never a secret. */
import { readFileSync } from 'node:fs'
import { fileProblem } from '../../config/files.ts'
import { commentedYaml } from '../../config/commented-yaml.ts'
import { parseYaml } from '../../config/yaml.ts'
import { EX_DATAERR, EX_NOINPUT } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'

/** The questions of the set-up, by name, and the kind of answer that each takes. */
const KINDS = {
  module: 'text',
  moduleVariables: 'text',
  libraryParameters: 'text',
  tokenLabel: 'text',
  softwareToken: 'text',
  socket: 'text',
  pinFile: 'text',
  logIn: 'yes',
  keysOf: 'text',
  jweAlg: 'text',
  generateKeys: 'yes',
  organisation: 'text',
  dnsName: 'text',
  apiHost: 'text',
  apiPort: 'text',
  managementHost: 'text',
  managementPort: 'text',
  clientCa: 'text',
  clients: 'clients',
  auditDirectory: 'text',
  startedBy: 'text',
  gatewayUser: 'text',
  vaultUser: 'text',
  limitStore: 'text',
  limitStorePasswordFile: 'text',
  limitStoreCa: 'text',
} as const

/** The name of a question. */
export type QuestionName = keyof typeof KINDS

/** A caller, as it was answered. */
export interface ClientAnswer {
  readonly id: string
  readonly dnsName: string
  readonly operations: readonly string[]
}

/** What was answered, or is answered in advance. */
export interface Answers {
  readonly texts: ReadonlyMap<QuestionName, string>
  readonly clients: readonly ClientAnswer[] | undefined
}

/**
 * Reads answers: YAML or JSON, a member for each question.
 *
 * @throws CommandError (66, 65) that says what is wrong, and quotes nothing of the file.
 */
export function readAnswers(path: string): Answers {
  const problem = fileProblem(path)
  if (problem !== undefined) throw new CommandError(EX_NOINPUT, `--answers: the file ${problem}`)
  const refuse = (sentence: string) => new CommandError(EX_DATAERR, `--answers: ${sentence}`)
  const { data, problems } = parseYaml(readFileSync(path, 'utf8'))
  if (problems[0]) throw refuse(`line ${problems[0].line} ${problems[0].sentence}`)
  if (!isRecord(data)) throw refuse('this is not a set of answers, one a line, such as "apiPort: 8443"')
  const texts = new Map<QuestionName, string>()
  for (const [name, value] of Object.entries(data)) {
    if (!Object.hasOwn(KINDS, name)) {
      throw refuse(`"${printable(name)}" is no question; the questions are ${Object.keys(KINDS).join(', ')}`)
    }
    const kind = KINDS[name as QuestionName]
    if (kind === 'clients') continue
    const text = kind === 'yes' ? yesText(value) : scalarText(value)
    if (text === undefined) throw refuse(`${name} must be ${kind === 'yes' ? 'true or false' : 'one text or number'}`)
    texts.set(name as QuestionName, text)
  }
  if (data['clients'] === undefined) return { texts, clients: undefined }
  if (!Array.isArray(data['clients']) || !data['clients'].every(isClient)) {
    throw refuse('clients must be a list, each with id, dnsName and a list of operations')
  }
  return { texts, clients: data['clients'] }
}

/** Writes what was answered, for a next node; there is no secret among it. */
export function answersText(texts: ReadonlyMap<QuestionName, string>, clients: readonly ClientAnswer[]): string {
  const members = [...texts].map(([name, text]) => [name, KINDS[name] === 'yes' ? text === 'yes' : text])
  return commentedYaml([
    {
      comment: `What was answered, for "pinbridge init --dir DIR --answers THIS-FILE" on another node: change what is that node's own, such as
dnsName and apiHost. If it uses the same token, add keysOf: a copy of this node's pinbridge.yaml, and its keys are taken over.`,
      members: { ...(Object.fromEntries(members) as Record<string, string | boolean>), clients },
    },
  ])
}

function yesText(value: unknown): string | undefined {
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : undefined
}

function scalarText(value: unknown): string | undefined {
  if (value === null) return ''
  return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined
}

function isClient(value: unknown): value is ClientAnswer {
  if (!isRecord(value)) return false
  const { id, dnsName, operations, ...more } = value
  const areTexts = Array.isArray(operations) && operations.every((each) => typeof each === 'string')
  return typeof id === 'string' && typeof dnsName === 'string' && areTexts && Object.keys(more).length === 0
}

/** A name without what could move a terminal's cursor. */
function printable(name: string): string {
  return name.slice(0, 64).replace(/[^ -~]/g, '?')
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
