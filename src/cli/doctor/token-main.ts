/**
 * The process that looks at one token for `doctor`, confined as a vault of it is. A module that hangs or crashes takes this
 * process with it and not the command.
 */
import { HsmStartError } from '../../hsm/hsm.ts'
import { finding } from './finding.ts'
import { lookAtToken } from './look-at-token.ts'
import type { Examination, Report } from './messages.ts'

process.on('disconnect', () => process.exit(0))
process.once('message', (examination: Examination) => void examine(examination))

async function examine(examination: Examination): Promise<void> {
  const report = (message: Report): void => void process.send?.(message)
  try {
    await lookAtToken(examination, report)
  } catch (error) {
    // Nothing of a foreign error is told, since its text may hold anything.
    const text = error instanceof HsmStartError ? error.message : 'the examination broke off for a reason of its own'
    const todo = 'run it again; if it stays so, report it as a fault of pinbridge'
    report({ type: 'finding', finding: finding('token', 'token', 'wrong', text, todo) })
  }
  process.send?.({ type: 'done' } satisfies Report, () => process.exit(0))
}
