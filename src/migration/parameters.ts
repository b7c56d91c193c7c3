/** What a migration is to do, and whether the keys permit it: looked at before a vault is started. */
import { prwInputsOf } from '../config/config.ts'
import type { Config, KeyEntry } from '../config/schema.ts'
import type { Zone } from '../bridge/contract.ts'
import { translationVerdict } from '../pin/translation-policy.ts'
import type { CardField } from '../rows/row-reader.ts'
import { EX_NOPERM } from '../exit-codes.ts'
import { MigrationError } from './migration-error.ts'

/** A key as the command line names it, and its format or profile; without a version, its active one. */
export interface Named {
  readonly key: string
  readonly version?: number
  readonly format: string
}

/** One side of the translation. */
export interface MigrationZone {
  readonly key: KeyEntry
  readonly format: Zone['format']
}

/** The PRW that every row gains. */
export interface MigrationPrw {
  readonly key: KeyEntry
  readonly profile: string
  /** What it takes of a row beside PAN and PIN. */
  readonly cardFields: readonly CardField[]
  readonly newNames: readonly string[]
}

/** What every row goes through. */
export interface Parameters {
  readonly from: MigrationZone
  readonly to: MigrationZone
  readonly prw: MigrationPrw | undefined
  readonly checkIds: boolean
}

/** The rows' names of what a PRW profile may take. */
const CARD_FIELDS: ReadonlyMap<string, CardField> = new Map([
  ['panSequenceNumber', 'panSequenceNumber'],
  ['expiry', 'expiry'],
  ['changeCounter', 'counter'],
])
const OF_EVERY_ROW = ['pan', 'pin', 'randomNumber']

/**
 * Finds the keys and holds them against the policy.
 *
 * @throws MigrationError with every problem, exit code 77.
 */
export function checkParameters(
  config: Config,
  named: { readonly from: Named; readonly to: Named; readonly prw: Named | undefined; readonly checkIds: boolean },
): Parameters {
  const problems: string[] = []
  const from = findZone(config, named.from, 'in', problems)
  const to = findZone(config, named.to, 'out', problems)
  const prw = named.prw && findPrw(config, named.prw, problems)
  if (from && to) problems.push(...translationProblems(from, to))
  if (!from || !to || problems.length > 0) throw new MigrationError(EX_NOPERM, problems.join('\n'))
  return { from, to, prw, checkIds: named.checkIds }
}

/** SECCOS becomes SECCOS only: the way out of it and into it is no matter of millions of rows. */
function translationProblems(from: MigrationZone, to: MigrationZone): string[] {
  const verdict = translationVerdict(from.format, to.format)
  const isSeccosRotation = from.format === 'SECCOS' && to.format === 'SECCOS'
  if (verdict === 'permitted' || (verdict === 'seccos-grant' && isSeccosRotation)) return []
  return [`${from.format} may not become ${to.format}`]
}

function findZone(
  config: Config,
  { key: id, version, format }: Named,
  direction: 'in' | 'out',
  problems: string[],
): MigrationZone | undefined {
  const key = version === undefined ? findActive(config, id, problems) : findVersion(config, id, version, problems)
  if (key === undefined) return undefined
  const at = (sentence: string): void =>
    void problems.push(`key ${id}${version === undefined ? '' : ` version ${version}`}: ${sentence}`)
  if (direction === 'out' && key.state !== 'active')
    at(`it is ${key.state}, and PIN blocks go out under the active one`)
  if (key.purpose !== 'zone-pin' && key.purpose !== 'seccos-pin') at('it is not for PIN blocks')
  else {
    if (key.migrate !== true) at('it does not carry migrate: true')
    if (key.direction !== direction && key.direction !== 'both') at(`its direction is not ${direction} or both`)
    if (!key.formats?.some((each) => each === format)) at(`it does not serve ${format}`)
  }
  return { key, format: format as Zone['format'] }
}

function findPrw(config: Config, { key: id, format: profile }: Named, problems: string[]): MigrationPrw | undefined {
  const key = findActive(config, id, problems)
  if (key === undefined) return undefined
  const at = (sentence: string): void => void problems.push(`key ${id}: ${sentence}`)
  if (key.purpose !== 'prw') at('it is not for PRWs')
  else {
    if (!key.use?.includes('generate')) at('it may not generate PRWs')
    if (key.profile !== profile) at(`its profile is not ${profile}`)
  }
  const { inputs, drawsRandomNumber } = prwInputsOf(config, key)
  const cardFields: CardField[] = []
  for (const input of inputs) {
    const field = CARD_FIELDS.get(input)
    if (field !== undefined) cardFields.push(field)
    else if (!OF_EVERY_ROW.includes(input)) at(`its profile takes ${input}, which rows do not have`)
  }
  return { key, profile, cardFields, newNames: drawsRandomNumber ? ['prw', 'randomNumber'] : ['prw'] }
}

/** A version that PIN blocks may be under: whatever is not retired. */
function findVersion({ keys }: Config, id: string, version: number, problems: string[]): KeyEntry | undefined {
  const key = keys.find((each) => each.id === id && each.version === version)
  if (key !== undefined && key.state !== 'retired') return key
  problems.push(`key ${id} version ${version}: ${key === undefined ? 'there is none' : 'it is retired'}`)
  return undefined
}

function findActive({ keys }: Config, id: string, problems: string[]): KeyEntry | undefined {
  const versions = keys.filter((key) => key.id === id)
  const active = versions.find(({ state }) => state === 'active')
  if (active !== undefined) return active
  const state = versions.at(-1)?.state
  problems.push(state === undefined ? `key ${id}: there is none` : `key ${id}: it is ${state} and not active`)
  return undefined
}
