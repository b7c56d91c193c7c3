/** What `pinbridge ceremony import` and `generate` do. */
import { expectEditable } from '../../config/edit.ts'
import { loadConfig } from '../../config/config.ts'
import { profilesOf } from '../../config/profile-rules.ts'
import type { Config, KeyEntry } from '../../config/schema.ts'
import { EX_INTERRUPTED, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from '../../exit-codes.ts'
import { isKeyPair } from '../../hsm/key-pairs.ts'
import { KeyCatalogue } from '../../hsm/key-catalogue.ts'
import { unwrapExportableKey } from '../../hsm/pkcs11/unwrap-key.ts'
import { combineComponents, isZeroComponent, splitKey } from '../../key-block/components.ts'
import { isWeakTdeaKey, setOddParity } from '../../key-block/tdea-key.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import type { KeyOptions } from '../keys/key-options.ts'
import { plannedKeyOf, type PlannedKey } from '../keys/planned-key.ts'
import { expectFree, storeSymmetricKey } from '../keys/store-key.ts'
import type { OpenedToken } from '../open-token.ts'
import { withProgress } from '../terminal/progress.ts'
import { kcvsOf, kcvText, valueFormOf, type ValueForm } from './component-entry.ts'
import { giveComponents } from './give-components.ts'
import { collectKey } from './import-components.ts'
import {
  runCeremony,
  type Ceremony,
  type CeremonyOptions,
  type CeremonyPlan,
  type CeremonyResult,
} from './run-ceremony.ts'

const DESTROY_SHEETS = 'Components that were given out must be destroyed.'

interface CountOption {
  readonly components: '2' | '3'
}

/** Options of `pinbridge ceremony generate`. */
export type GenerateOptions = CeremonyOptions & KeyOptions & CountOption

/** Options of `pinbridge ceremony import`. */
export type ImportOptions = GenerateOptions & {
  readonly componentParity: 'odd' | 'any'
  readonly expectKcv?: string
  readonly typeKcv?: boolean
}

/** Options of `pinbridge ceremony export`. */
export type ExportOptions = CeremonyOptions & CountOption & { readonly keyVersion?: number }

/** `pinbridge ceremony import`. */
export async function importAsComponents(options: ImportOptions): Promise<void> {
  const { plan, planned, form } = planOf(options, `import of a key in ${options.components} components`, [
    `${options.components} custodians type their components, one after the other. The key that they make`,
    'is stored, and nothing else of it is kept. Nobody sees the component of another.',
  ])
  const rules = { ...options, components: Number(options.components) }
  await runCeremony(plan, async (ceremony) => {
    using secrets = new SecretScope()
    const key = await collectKey(ceremony, form, rules, secrets)
    return await store(ceremony, plan, planned, key)
  })
}

/** `pinbridge ceremony generate`. */
export async function generateAsComponents(options: GenerateOptions): Promise<void> {
  const count = Number(options.components)
  const { plan, planned, form } = planOf(options, `generation of a key, given out in ${count} components`, [
    `${count} custodians are each shown one component of a new key, one after the other, and write it on`,
    'a sheet. Then the key is stored. Nobody sees the component of another.',
  ])
  await runCeremony({ ...plan, afterAbort: DESTROY_SHEETS }, async (ceremony) => {
    using secrets = new SecretScope()
    const { key, components } = await newKey(ceremony, form, count, secrets)
    const kcvs = kcvsOf(form, key)
    ceremony.transcript.note(
      `${count} components were made of random numbers of the HSM; the key has the KCV ${kcvs.kcv}.`,
    )
    await giveComponents(ceremony, form, components, kcvText(kcvs))
    if (!(await ceremony.terminal.confirm(`All components are given out. Store the key with the KCV ${kcvs.kcv}?`))) {
      throw new CommandError(EX_INTERRUPTED, 'the key was not confirmed: the ceremony was given up')
    }
    ceremony.transcript.note(`${ceremony.operator} confirmed the key.`)
    return await store(ceremony, plan, planned, key)
  })
}

/** `pinbridge ceremony export`. */
export async function exportAsComponents(id: string, options: ExportOptions): Promise<void> {
  const count = Number(options.components)
  const config = loadConfig(options.config, {}, 'keys')
  const entry = exportableKey(config, id, options.keyVersion)
  const form = valueFormOf(entry.algorithm)
  const what = `export of a key in ${count} components`
  const plan: CeremonyPlan = {
    ...{ options, config, what },
    facts: [['Key', keyText(entry)]],
    explanation: [
      `This is the ${what}.`,
      `Key: ${keyText(entry)}, KCV ${entry.kcv}`,
      '',
      `${count} custodians are each shown one component of the key, one after the other, and write it on`,
      'a sheet. The key stays in the token as it is. Nobody sees the component of another.',
    ].join('\n'),
    afterAbort: DESTROY_SHEETS,
    precheck: () => undefined,
  }
  await runCeremony(plan, async (ceremony) => {
    using secrets = new SecretScope()
    const key = unwrapExportableKey(ceremony.tokens[0]!, entry, secrets)
    const random = await randomValues(ceremony, form, count - 1, secrets)
    const components = splitKey(form.algorithm, key, random, secrets)
    key.fill(0)
    ceremony.transcript.note(
      `The key was split into ${count} components, of random numbers of the HSM; its KCV is ${entry.kcv}.`,
    )
    await giveComponents(ceremony, form, components, entry.kcv)
    ceremony.transcript.note('All components are given out.')
    const { version, kcv } = entry
    return {
      result: { key: { id, version, kcv } },
      sentence: `Key ${id} version ${version} was given out in ${count} components; its KCV is ${kcv}.`,
    }
  })
}

function exportableKey({ keys }: Config, id: string, version: number | undefined): KeyEntry {
  const versions = keys.filter((key) => key.id === id)
  const entry = versions.find((key) => (version === undefined ? key.state === 'active' : key.version === version))
  if (!entry) {
    throw new CommandError(
      EX_USAGE,
      version === undefined && versions.length > 0
        ? `key ${id} has no active version: say which one with --key-version`
        : `the configuration has no such key: "pinbridge keys list" shows those that it has`,
    )
  }
  if (entry.exportable && !isKeyPair(entry)) return entry
  throw new CommandError(
    EX_NOPERM,
    `key ${id} version ${entry.version} is not exportable: its value never leaves the token`,
  )
}

/** Random components and the key that they make; none that is weak, which chance hardly ever makes. */
async function newKey(
  ceremony: Ceremony,
  form: ValueForm,
  count: number,
  secrets: SecretScope,
): Promise<{ key: Buffer; components: Buffer[] }> {
  const { algorithm } = form
  for (;;) {
    const components = await randomValues(ceremony, form, count, secrets)
    if (algorithm === 'TDEA') for (const component of components) setOddParity(component)
    const key = combineComponents(algorithm, components, secrets)
    if (!(algorithm === 'TDEA' ? isWeakTdeaKey(key) : isZeroComponent(algorithm, key))) return { key, components }
  }
}

async function randomValues(
  { hsm }: Ceremony,
  { bytes }: ValueForm,
  count: number,
  secrets: SecretScope,
): Promise<Buffer[]> {
  const values = Array.from({ length: count }, () => secrets.take(bytes))
  for (const value of values) await hsm.fillRandom(value)
  return values
}

function planOf(
  options: GenerateOptions,
  what: string,
  explanation: readonly string[],
): { plan: CeremonyPlan; planned: PlannedKey; form: ValueForm } {
  const config = loadConfig(options.config, {}, 'keys')
  const planned = plannedKeyOf(options, config, 'imported')
  if (isKeyPair(planned)) {
    throw new CommandError(
      EX_USAGE,
      `a key for ${planned.purpose} is a key pair and has no components: use "pinbridge keys generate"`,
    )
  }
  const plan: CeremonyPlan = {
    ...{ options, config, what },
    facts: [['Key', keyText(planned)]],
    explanation: [`This is the ${what}.`, `Key: ${keyText(planned)}`, '', ...explanation].join('\n'),
    precheck: (tokens) => {
      expectEditable(options.config)
      expectFit(tokens, config, planned)
    },
  }
  return { plan, planned, form: valueFormOf(planned.algorithm) }
}

/** A token that cannot hold the key is better found out before the custodians have typed. */
function expectFit(tokens: readonly OpenedToken[], config: Config, planned: PlannedKey): void {
  const entry: KeyEntry = { ...planned, kcv: '', origin: 'imported' }
  expectFree(tokens, entry)
  const form = new KeyCatalogue([entry], profilesOf(config)).macFormOf(entry)
  for (const { maker, settings } of tokens) {
    const reason = maker.whyUnavailable(entry, form)
    if (reason !== undefined) {
      throw new CommandError(EX_UNAVAILABLE, `token ${settings.name} cannot serve such a key: ${reason}`)
    }
  }
}

async function store(
  { tokens, transcript }: Ceremony,
  { options }: CeremonyPlan,
  planned: PlannedKey,
  key: Buffer,
): Promise<CeremonyResult> {
  const stored = await withProgress('storing the key', () =>
    storeSymmetricKey(tokens, options.config, planned, key, { writesEntry: false }),
  )
  const names = tokens.map(({ settings }) => settings.name).join(', ')
  transcript.note(
    `The key was stored in ${tokens.length > 1 ? 'the tokens' : 'the token'} ${names} and proven by its KCV and a known answer.`,
  )
  const { id, version, state, kcv } = stored
  return {
    stored,
    result: { key: { id, version, state, kcv } },
    sentence: `Key ${id} version ${version} is stored and ${state}; its KCV is ${kcv}.`,
  }
}

/** A key in words, for the people and the transcript. */
function keyText({ id, version, purpose, algorithm, direction, use, formats, profile }: PlannedKey): string {
  const kind = [purpose, direction, use?.join(' and '), formats?.join(' '), profile && `profile ${profile}`]
  return `${id} version ${version}: ${algorithm}, ${kind.filter((part) => part !== undefined).join(', ')}`
}
