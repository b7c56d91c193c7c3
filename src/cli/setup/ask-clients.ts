/** Asks who may call, and what each caller may do: nothing unless it is said, and what is dangerous only by typing its name. */
import { GRANTABLE_OPERATIONS, type GrantableOperation } from '../../config/schema.ts'
import { EX_DATAERR } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'
import type { ClientAnswer } from './answers.ts'
import { dnsNameProblem } from './ask-service.ts'
import type { Questions } from './questions.ts'

/** What a caller may do, in words; the dangerous ones are in DANGERS too. */
const WORDS: Readonly<Record<GrantableOperation, string>> = {
  'pin/set': "opens D1's message with a new PIN and gives the PIN block under a zone key",
  'pin/get': 'seals a PIN for a recipient such as D1',
  'pin-blocks/translate': 'translates a PIN block from one zone key to another',
  'pin-blocks/translate-batch': 'the same for up to 10 000 PIN blocks at once',
  'pin-blocks/translate-seccos': 'the same to and from SECCOS blocks, which name no PAN',
  'prw/generate': 'makes the PIN reference value of a PIN block',
  'prw/verify': 'says whether a PIN reference value is right',
  'mac/generate': 'makes a MAC over a PIN block',
  'mac/verify': 'says whether a MAC is right',
  'd1/assertion': 'signs the assertion by which the issuer shows D1 that it is the issuer',
  'jwe/seal': 'encrypts card or consumer data for D1, never a PIN',
  'jwe/open': 'opens card or consumer data that D1 encrypted, never a PIN',
  jwks: 'lists the public keys that D1 encrypts to',
  keys: 'lists the keys, never a value',
}

const DANGERS: Partial<Record<GrantableOperation, string>> = {
  'pin/get':
    'pin/get is the most dangerous grant: who holds it, and a recipient key of his own in this configuration, reads every PIN.',
  'pin-blocks/translate-batch':
    'pin-blocks/translate-batch moves 10 000 PIN blocks with one request: few callers need it.',
  'pin-blocks/translate-seccos':
    'pin-blocks/translate-seccos takes PIN blocks away from their PAN, which is what protects them from being exchanged.',
}

const HARMLESS: readonly GrantableOperation[] = ['jwks', 'keys']
const ID = /^[A-Za-z0-9._-]{1,64}$/

/** A caller and what it may do. */
export interface ChosenClient {
  readonly id: string
  readonly dnsName: string
  readonly operations: readonly GrantableOperation[]
}

/**
 * Asks for callers until there are no more.
 *
 * @throws CommandError (65) if an answers file has one that cannot be.
 */
export async function askClients(questions: Questions): Promise<ChosenClient[]> {
  if (questions.clients) return questions.clients.map(fromFile)
  questions.explain(`\n— Callers —
A caller is a system, such as the CMS adapter, that connects with a certificate. It may do what it is given and nothing else:
${GRANTABLE_OPERATIONS.map((operation) => `  ${operation.padEnd(28)}${WORDS[operation]}`).join('\n')}`)
  const clients: ChosenClient[] = []
  const { terminal } = questions
  for (;;) {
    const id = await terminal.ask(
      clients.length === 0 ? 'Name of a caller, such as cms-adapter' : 'Name of the next caller (no more: press Enter)',
      {
        ...(clients.length > 0 && { fallback: '' }),
        problemOf: (answer) => (answer === '' ? undefined : idProblem(answer, clients)),
      },
    )
    if (id === '') return clients
    const dnsName = await terminal.ask('DNS name in its certificate (subjectAltName)', {
      problemOf: (answer) =>
        dnsNameProblem(answer) ??
        (clients.some((other) => other.dnsName === answer) ? 'another caller has this name' : undefined),
    })
    const answer = await terminal.ask('What it may do, with blanks between', {
      fallback: HARMLESS.join(' '),
      problemOf: (answer) => operationsProblem(answer.split(/\s+/)),
    })
    const operations: GrantableOperation[] = []
    for (const operation of answer.split(/\s+/) as GrantableOperation[]) {
      const danger = DANGERS[operation]
      if (danger === undefined || (await isMeant(questions, operation, danger))) operations.push(operation)
    }
    clients.push({ id, dnsName, operations })
  }
}

/** A dangerous operation is left out unless its name is typed once more. */
async function isMeant({ terminal }: Questions, operation: string, danger: string): Promise<boolean> {
  terminal.say(danger)
  const typed = await terminal.ask(`Type ${operation} to grant it (else: press Enter, and it is left out)`, {
    fallback: '',
  })
  return typed === operation
}

function fromFile(answer: ClientAnswer, i: number, all: readonly ClientAnswer[]): ChosenClient {
  const { id, dnsName, operations } = answer
  const problem =
    idProblem(id, all.slice(0, i)) ??
    dnsNameProblem(dnsName) ??
    (all.slice(0, i).some((other) => other.dnsName === dnsName) ? 'another caller has this DNS name' : undefined) ??
    operationsProblem(operations)
  if (problem !== undefined) throw new CommandError(EX_DATAERR, `--answers: clients, number ${i + 1}: ${problem}`)
  return { id, dnsName, operations: operations as GrantableOperation[] }
}

function idProblem(id: string, earlier: readonly { readonly id: string }[]): string | undefined {
  if (!ID.test(id)) return 'a name has 1 to 64 letters, digits, dots, underscores or hyphens'
  return earlier.some((other) => other.id === id) ? 'another caller has this name' : undefined
}

function operationsProblem(operations: readonly string[]): string | undefined {
  const known: readonly string[] = GRANTABLE_OPERATIONS
  const stranger = operations.find((operation) => !known.includes(operation))
  if (stranger !== undefined) return `there are only ${known.join(', ')}`
  return new Set(operations).size < operations.length ? 'something is named twice' : undefined
}
