/** What `rotate` does: shows where the rotation of a key stands, and takes the next step once it is agreed to. */
import { loadConfig } from '../../config/config.ts'
import { changeKeyEntries, expectEditable, removeKeyEntry, type KeyMembers, type KeyName } from '../../config/edit.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { CommandError } from '../command-error.ts'
import { columnsOf } from '../keys/columns.ts'
import { destroyIn } from '../keys/destroy-key.ts'
import { generateInto } from '../keys/generate.ts'
import { fullName } from '../keys/named-key.ts'
import { plannedKeyOf } from '../keys/planned-key.ts'
import { saidOf, untilTakenOver, type TakenOver } from '../keys/running-service.ts'
import { openTerminal } from '../terminal/terminal.ts'
import { adviceOn } from './advice.ts'
import { nextStep, type NextStep, type Step } from './next-step.ts'

/** What `rotate` is told. */
export interface RotateOptions {
  readonly config: string
  readonly step?: Step
  readonly status?: boolean
  readonly yes?: boolean
  readonly generate?: boolean
  readonly token?: string
  readonly kid?: string
  readonly expires?: string
  readonly managementPort?: number
  readonly json?: boolean
}

/** Shows, asks, takes the step, and waits for the running service. */
export async function rotateCommand(id: string, options: RotateOptions): Promise<void> {
  const config = loadConfig(options.config, {}, 'keys')
  const next = nextOf(config, id)
  if (options.status) {
    printStatus(versionsOf(config, id), next, options)
    return
  }
  if (options.step !== undefined && options.step !== next.step) {
    throw new CommandError(
      EX_USAGE,
      `the next step of ${id} is "${next.step}" and not "${options.step}": nothing was changed`,
    )
  }
  if (next.step === 'new') {
    // A script that runs once too often must not begin anew.
    if (options.yes && options.step === undefined) {
      throw new CommandError(EX_USAGE, `no rotation of ${id} is under way: to begin one, say --step new with --yes`)
    }
    expectGenerable(next.like, options)
  }
  expectEditable(options.config)
  await expectInStep(options)
  if (!options.yes) await agree(config, id, next)
  const answer = await take(config, next, options)
  const versions = versionsOf(loadConfig(options.config, {}, 'keys'), id)
  print(versions, next.step, answer, options)
}

function versionsOf({ keys }: Config, id: string): KeyEntry[] {
  return keys.filter((key) => key.id === id).sort((a, b) => a.version - b.version)
}

function nextOf(config: Config, id: string): NextStep {
  const versions = versionsOf(config, id)
  if (versions.length === 0) {
    const ids = [...new Set(config.keys.map((key) => key.id))].join(', ')
    throw new CommandError(EX_USAGE, `the configuration has no key ${id}; it has ${ids}`)
  }
  const next = nextStep(versions)
  if (next === undefined) throw new CommandError(EX_USAGE, `no version of ${id} is in use: there is nothing to rotate`)
  return next
}

/** Purposes whose keys nobody else has. */
const OWN: readonly KeyEntry['purpose'][] = [
  'jwe-decrypt',
  'jwe-open',
  'audit-mac',
  'limit-hash',
  'assertion-sign',
  'transcript-sign',
  'tls-sign',
  'credential-sign',
]

/** A key that another party has too is not replaced by a number that only this token knows. */
function expectGenerable(key: KeyEntry, { generate }: RotateOptions): void {
  if (generate || OWN.includes(key.purpose) || key.origin === 'generated' || key.exportable) return
  const like = `--new-version-of ${key.id}`
  throw new CommandError(
    EX_USAGE,
    `${fullName(key)} came from outside, so that another party has it too. Bring the new version in by one of\n` +
      `  pinbridge ceremony import ${like} …   (components, each with its custodian)\n` +
      `  pinbridge keys import ${like} …       (a key block)\n` +
      `and run this again. If nobody else needs it: pinbridge rotate ${key.id} --generate`,
  )
}

/** A service that does not know of the last step yet must not be given the next. */
async function expectInStep({ config, managementPort }: RotateOptions): Promise<void> {
  // What a ceremony or another command has just written takes the service a moment.
  const answer = await untilTakenOver(config, managementPort)
  if (answer === 'refused' || answer === 'no') {
    throw new CommandError(EX_NOPERM, `${saidOf(answer)} The next step has to wait for it; nothing was changed.`)
  }
}

async function agree(config: Config, id: string, next: NextStep): Promise<void> {
  const terminal = openTerminal()
  try {
    terminal.say(tableOf(versionsOf(config, id)).trimEnd())
    terminal.say(`\nNext step: ${next.step}`)
    for (const sentence of adviceOn(next)) terminal.say(`  ${sentence}`)
    terminal.say('  Where several nodes run, each of them must have the last step in its configuration already.')
    if (!(await terminal.confirm('Take this step now?'))) throw new CommandError(EX_USAGE, 'nothing was changed')
  } finally {
    terminal.close()
  }
}

async function take(config: Config, next: NextStep, options: RotateOptions): Promise<TakenOver> {
  if (next.step === 'new') {
    const { kid, expires } = options
    const named = {
      newVersionOf: next.like.id,
      ...(kid !== undefined && { kid }),
      ...(expires !== undefined && { expires }),
    }
    const made = await generateInto(config, plannedKeyOf(named, config, 'generated'), options)
    const answer = await untilTakenOver(options.config, options.managementPort)
    if (answer === 'refused') await takeOut(config, made, options)
    return answer
  }
  const [changes, back] = changesOf(next)
  changeKeyEntries(options.config, changes)
  const answer = await untilTakenOver(options.config, options.managementPort)
  if (answer !== 'refused') return answer
  changeKeyEntries(options.config, back)
  throw new CommandError(EX_UNAVAILABLE, `${saidOf(answer)} The step was taken back: the configuration is as it was.`)
}

/** Nothing has come under a version that was pending from the start, and that the service has refused. */
async function takeOut(config: Config, made: KeyEntry, options: RotateOptions): Promise<never> {
  const { id, version, state } = made
  removeKeyEntry(options.config, { id, version, state })
  const { problem } = await destroyIn(config, options.token, made)
  const back =
    problem === undefined
      ? 'The step was taken back: token and configuration are as they were.'
      : `The configuration is as it was, and the token keeps ${fullName(made)} (${problem}): "pinbridge keys destroy ${fullName(made)}" removes it.`
  const several =
    config.hsm.tokens.length > 1
      ? `\nIf only the HSM's own copying is needed: "pinbridge keys generate --new-version-of ${id}", have it copied to every token, and come back.`
      : ''
  throw new CommandError(EX_UNAVAILABLE, `${saidOf('refused')} ${back}${several}`)
}

type Change = { readonly key: KeyName; readonly members: KeyMembers }

/** The changes of states, all in one edit, and what takes them back. */
function changesOf(next: Exclude<NextStep, { step: 'new' }>): [Change[], Change[]] {
  const moves: (readonly [KeyEntry, KeyEntry['state']])[] =
    next.step === 'activate'
      ? [[next.pending, 'active'], ...(next.active ? [[next.active, 'retiring'] as const] : [])]
      : next.retiring.map((key) => [key, 'retired'] as const)
  const change = ({ id, version }: KeyEntry, from: KeyEntry['state'], to: KeyEntry['state']): Change => ({
    key: { id, version, state: from },
    members: { state: to },
  })
  return [
    moves.map(([key, state]) => change(key, key.state, state)),
    moves.map(([key, state]) => change(key, state, key.state)),
  ]
}

function printStatus(versions: readonly KeyEntry[], next: NextStep, { json }: RotateOptions): void {
  if (json) process.stdout.write(`${JSON.stringify({ next: next.step, versions: versions.map(shown) })}\n`)
  else
    process.stdout.write(
      `${tableOf(versions)}Next step: ${next.step}\n${adviceOn(next)
        .map((each) => `  ${each}\n`)
        .join('')}`,
    )
}

function print(versions: readonly KeyEntry[], done: Step, service: TakenOver, { json }: RotateOptions): void {
  process.stdout.write(
    json ? `${JSON.stringify({ done, service, versions: versions.map(shown) })}\n` : tableOf(versions),
  )
  const [{ id }] = versions as [KeyEntry]
  const retired = versions.filter(({ state }) => state === 'retired').map(fullName)
  const then =
    done === 'retire'
      ? `The rotation is done. Once nobody misses it: ${retired.map((name) => `pinbridge keys destroy ${name}`).join(', ')}`
      : `When it is time for the next step: pinbridge rotate ${id}`
  process.stderr.write(`${saidOf(service)}\n${then}\n`)
}

function shown({ id, version, state, kcv, created, expires }: KeyEntry): object {
  return { id, version, state, kcv: kcv.toUpperCase(), created, expires }
}

const DOES: Readonly<Record<KeyEntry['state'], string>> = {
  pending: 'opens, deciphers and verifies what comes under it; makes nothing yet',
  active: 'does all',
  retiring: 'opens, deciphers and verifies; makes nothing new',
  retired: 'nothing; may be destroyed',
}

function tableOf(versions: readonly KeyEntry[]): string {
  const rows = versions.map((key) => [
    fullName(key),
    key.state,
    key.kcv.toUpperCase(),
    key.created ?? '-',
    DOES[key.state],
  ])
  return columnsOf(['KEY', 'STATE', 'KCV', 'CREATED', 'WHAT IT DOES'], rows)
}
