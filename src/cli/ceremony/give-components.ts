/** Gives a key out as components, as `pinbridge ceremony generate` and `export` do: each custodian sees one, once. */
import { encodeHexBytes, equalConstantTime } from '../../bytes.ts'
import { EX_INTERRUPTED } from '../../exit-codes.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import type { Terminal } from '../terminal/terminal.ts'
import { askComponent, kcvsOf, kcvText, type ValueForm } from './component-entry.ts'
import { Custodians, type Custodian } from './custodians.ts'
import type { Ceremony } from './run-ceremony.ts'

const GROUP_DIGITS = 4
const SPACE = 0x20

/**
 * Shows each custodian a component, and has it typed back from the sheet.
 *
 * @param components - wiped here, each once its custodian has it.
 * @param keyKcv - of the whole key, for the sheets.
 * @throws CommandError if it is given up.
 */
export async function giveComponents(
  ceremony: Ceremony,
  form: ValueForm,
  components: readonly Buffer[],
  keyKcv: string,
): Promise<void> {
  const { terminal, transcript } = ceremony
  for await (const custodian of new Custodians(terminal, transcript, components.length)) {
    const component = components[custodian.number - 1]!
    const { kcv } = kcvsOf(form, component)
    terminal.say('\nThe component is shown once. Have the sheet ready, and write digits, KCV and number on it.')
    await pressEnter(terminal, 'Press Enter to see it')
    transcript.note(`Component ${custodian.number}, KCV ${kcv}, was shown to ${custodian.name}.`)
    await terminal.onOtherScreen(async () => {
      terminal.say(`Component ${custodian.number} of ${components.length}\n`)
      showGroups(terminal, component)
      terminal.say(`\nKCV of the component: ${kcvText(kcvsOf(form, component))}\nKCV of the key:       ${keyKcv}\n`)
      await pressEnter(terminal, 'Press Enter when it is written down')
    })
    await haveTypedBack(ceremony, custodian, form, component)
    component.fill(0)
  }
}

/** What was written down wrong would be a key that is lost: it is found out now, and not when the key is needed. */
async function haveTypedBack(
  { terminal, transcript }: Ceremony,
  { number, name }: Custodian,
  form: ValueForm,
  component: Buffer,
): Promise<void> {
  terminal.say('\nNow type it back from the sheet, so that a slip of the pen is found today.')
  for (;;) {
    using secrets = new SecretScope()
    const typed = await askComponent(terminal, `Component ${number}`, form, secrets)
    if (equalConstantTime(typed, component)) {
      transcript.note(`${name} typed component ${number} back from the sheet without a mistake.`)
      return
    }
    transcript.note(`Component ${number} was typed back with a mistake.`)
    terminal.say('  That is another value: it was mistyped now, or written down wrong.')
    if (!(await terminal.confirm('Type it again? (n gives the ceremony up, since no component is shown twice)'))) {
      throw new CommandError(EX_INTERRUPTED, `component ${number} was not typed back: the ceremony was given up`)
    }
  }
}

/** Shows hex digits in groups, four groups a line, so that an eye finds its place again. */
function showGroups(terminal: Terminal, component: Buffer): void {
  using secrets = new SecretScope()
  const digits = secrets.take(2 * component.length)
  encodeHexBytes(component, digits, 'upper')
  const lineDigits = 4 * GROUP_DIGITS
  for (let from = 0; from < digits.length; from += lineDigits) {
    const line = secrets.take(lineDigits + lineDigits / GROUP_DIGITS + 1).fill(SPACE)
    for (let i = 0; i < lineDigits && from + i < digits.length; i++) {
      line[2 + i + Math.trunc(i / GROUP_DIGITS)] = digits[from + i]!
    }
    terminal.showSecret(line)
  }
}

async function pressEnter(terminal: Terminal, question: string): Promise<void> {
  await terminal.ask(question, { fallback: '' })
}
