/** `pinbridge ceremony import`: two or three custodians type their components, which become a key in the HSM. */
import { EX_DATAERR, EX_INTERRUPTED } from '../../exit-codes.ts'
import { areSameComponents, combineComponents, evenParityPlaces, isZeroComponent } from '../../key-block/components.ts'
import { isWeakTdeaKey } from '../../key-block/tdea-key.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { askComponent, isKcvOf, kcvProblem, kcvsOf, kcvText, type ValueForm } from './component-entry.ts'
import { Custodians, type Custodian } from './custodians.ts'
import type { Ceremony } from './run-ceremony.ts'

/** How components are taken. */
export interface EntryRules {
  readonly components: number
  /** TDEA: whether each byte of a component must have an odd number of ones. */
  readonly componentParity: 'odd' | 'any'
  /** Whether custodians type the KCV of their sheet, instead of comparing it with the one that is shown. */
  readonly typeKcv?: boolean
  /** The KCV that the key must have. */
  readonly expectKcv?: string
}

/**
 * Has the custodians type their components and makes the key of them.
 *
 * @param secrets - takes the components and the key.
 * @returns the key, which everybody has confirmed.
 * @throws CommandError if it is given up, or the key must not be used.
 */
export async function collectKey(
  ceremony: Ceremony,
  form: ValueForm,
  rules: EntryRules,
  secrets: SecretScope,
): Promise<Buffer> {
  const { terminal, transcript } = ceremony
  const components: Buffer[] = []
  for await (const custodian of new Custodians(terminal, transcript, rules.components)) {
    components.push(await takeComponent(ceremony, custodian, { form, rules, secrets, earlier: components }))
  }
  const key = combineComponents(form.algorithm, components, secrets)
  for (const component of components) component.fill(0)
  transcript.note(`${rules.components} components were combined by exclusive or.`)
  if (form.algorithm === 'TDEA') transcript.note('The key was given odd parity.')
  expectStrong(form, key)
  await confirmKey(ceremony, form, key, rules.expectKcv)
  return key
}

interface Entry {
  readonly form: ValueForm
  readonly rules: EntryRules
  readonly secrets: SecretScope
  readonly earlier: readonly Buffer[]
}

async function takeComponent(
  { terminal, transcript }: Ceremony,
  { number, name }: Custodian,
  entry: Entry,
): Promise<Buffer> {
  const { form, rules, secrets } = entry
  terminal.say(`\nType the component from the sheet: ${2 * form.bytes} hex digits, shown as asterisks.`)
  terminal.say('Spaces and hyphens do not count; Ctrl-U begins anew; Ctrl-C gives the ceremony up.')
  for (;;) {
    const component = await askComponent(terminal, `Component ${number}`, form, secrets)
    const kcvs = kcvsOf(form, component)
    const problem = problemOf(component, entry)
    if (problem !== undefined) {
      transcript.note(`Component ${number} was refused: ${problem}.`)
      terminal.say(`  It is refused: ${problem}.`)
    } else if (await isSheetsKcv(terminal, kcvText(kcvs), kcvs, rules)) {
      transcript.note(`Component ${number} has the KCV ${kcvs.kcv}; ${name} confirmed that it is the one on the sheet.`)
      return component
    } else transcript.note(`Component ${number} was typed with the KCV ${kcvs.kcv}, which is not the one on the sheet.`)
    component.fill(0)
    if (!(await terminal.confirm('Type the component again? (n gives the ceremony up)'))) {
      throw new CommandError(EX_INTERRUPTED, `component ${number} could not be confirmed: the ceremony was given up`)
    }
  }
}

/** What is wrong with a component, in words that tell none of its digits; undefined if nothing is. */
function problemOf(component: Buffer, { form: { algorithm }, rules, earlier }: Entry): string | undefined {
  if (isZeroComponent(algorithm, component)) return 'it is all zeros, and adds nothing to the key'
  const same = earlier.findIndex((each) => areSameComponents(algorithm, each, component))
  if (same >= 0) return `it is the same as component ${same + 1}, and both together add nothing to the key`
  if (algorithm !== 'TDEA' || rules.componentParity === 'any') return undefined
  const places = evenParityPlaces(component)
  if (places.length === 0) return undefined
  const pairs = places.map((place) => `${2 * place - 1} and ${2 * place}`).join(', ')
  return `its parity is not odd at digits ${pairs}; one of them was mistyped, or the sheet needs --component-parity any`
}

async function isSheetsKcv(
  terminal: Terminal,
  text: string,
  kcvs: ReturnType<typeof kcvsOf>,
  { typeKcv }: EntryRules,
): Promise<boolean> {
  if (!typeKcv) {
    terminal.say(`  KCV of what was typed: ${text}`)
    return terminal.confirm('Is that the KCV on the sheet?')
  }
  const typed = await terminal.ask('KCV on the sheet', { problemOf: kcvProblem })
  const isSame = isKcvOf(typed, kcvs)
  terminal.say(isSame ? `  It is the KCV of the component: ${text}` : `  The component has another KCV: ${text}`)
  return isSame
}

function expectStrong({ algorithm }: ValueForm, key: Buffer): void {
  const isWeak = algorithm === 'TDEA' ? isWeakTdeaKey(key) : isZeroComponent(algorithm, key)
  if (!isWeak) return
  throw new CommandError(
    EX_DATAERR,
    'the components make a weak key, or one of two equal parts, which must not be used: have at least one component made anew',
  )
}

async function confirmKey(
  { terminal, transcript, operator }: Ceremony,
  form: ValueForm,
  key: Buffer,
  expected: string | undefined,
): Promise<void> {
  const kcvs = kcvsOf(form, key)
  terminal.say(`All components are typed. They make a key with the KCV ${kcvText(kcvs)}\n`)
  transcript.note(`The key has the KCV ${kcvs.kcv}.`)
  const problem = (text: string): string | undefined => (text === '' ? undefined : kcvProblem(text))
  const question = 'KCV that the key must have, from the sheet (Enter if the sheet has none)'
  const given = expected ?? (await terminal.ask(question, { fallback: '', problemOf: problem }))
  if (given !== '' && !isKcvOf(given, kcvs)) {
    throw new CommandError(
      EX_DATAERR,
      `the components make a key with the KCV ${kcvs.kcv}, and ${given.toUpperCase()} was expected: one of them belongs to another key`,
    )
  }
  if (given !== '') transcript.note(`It is the KCV that was expected.`)
  if (!(await terminal.confirm('Store this key?'))) {
    throw new CommandError(EX_INTERRUPTED, 'the key was not confirmed: the ceremony was given up')
  }
  transcript.note(`${operator} confirmed the key.`)
}
