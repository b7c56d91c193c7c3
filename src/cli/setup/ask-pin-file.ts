/** Asks for the file of the HSM PIN, and makes it if it is not there: the PIN is typed, and there is no default. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { equalConstantTime } from '../../bytes.ts'
import { secretFileProblems } from '../../config/files.ts'
import type { TokenConfig } from '../../config/schema.ts'
import { EX_USAGE } from '../../exit-codes.ts'
import { refusalPath } from '../../pin-file.ts'
import { SecretScope } from '../../secret.ts'
import { CommandError } from '../command-error.ts'
import type { Terminal } from '../terminal/terminal.ts'
import type { NewFolder } from './new-folder.ts'
import type { Questions } from './questions.ts'

/** PKCS#11 gives no limit; this is what tokens take at the most. */
const MOST_PIN_BYTES = 255

/** Returns the path of the file; a file that is made here is gone again unless the set-up is kept. */
export async function askPinFile(
  questions: Questions,
  folder: NewFolder,
  { tokenLabel, name }: Omit<TokenConfig, 'pinFile'>,
): Promise<string> {
  const answer = await questions.ask({
    name: 'pinFile',
    text: 'File with the HSM PIN',
    help: `The service reads the user PIN of token ${tokenLabel} from a file that only its own user can read (mode 0600).
If the file is not there, it is made: you type the PIN and nobody sees it. The PIN stands nowhere else.`,
    fallback: join(folder.path, 'hsm-pin'),
    problemOf: (answer) => {
      const path = resolve(answer)
      if (!existsSync(path)) return undefined
      const problems = secretFileProblems(path)
      return problems.length === 0 ? undefined : `this file ${problems.join(', ')}`
    },
  })
  const path = resolve(answer)
  if (existsSync(path)) return path
  if (!questions.terminal.isInteractive) {
    throw new CommandError(
      EX_USAGE,
      `--answers: pinFile: ${path} is not there. Make it first, mode 0600: without a terminal nobody can type the PIN`,
    )
  }
  using secrets = new SecretScope()
  const pin = await typePin(questions.terminal, secrets)
  folder.make()
  folder.write(path, pin)
  folder.adopt(refusalPath({ name, pinFile: path }))
  return path
}

/** Twice, because a slip costs a try. */
async function typePin(terminal: Terminal, secrets: SecretScope): Promise<Buffer> {
  for (;;) {
    const pin = await terminal.askHidden('User PIN of the token', secrets, MOST_PIN_BYTES)
    if (pin.length === 0) {
      terminal.say('  a PIN is needed; there is no default')
      continue
    }
    const again = await terminal.askHidden('The same PIN again', secrets, MOST_PIN_BYTES)
    if (equalConstantTime(pin, again)) return pin
    terminal.say('  the two are not the same: begin again')
  }
}
