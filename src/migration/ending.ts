/** How a migration ended: exit code, summary, and what its operator must know besides. */
import { EX_DATAERR, EX_IOERR } from '../exit-codes.ts'
import type { Ledger } from './ledger.ts'
import type { MigrationError } from './migration-error.ts'
import { filesOf, type MigrateOptions } from './options.ts'
import type { Standing } from './record.ts'
import { rejectedRows } from './rejects.ts'
import { summaryOf, type Summary } from './summary.ts'

export interface Ending {
  readonly exitCode: number
  /** What it came to, as far as it got; undefined if it did not begin. */
  readonly summary: Summary | undefined
  readonly sentences: readonly string[]
}

/** The signals that end a migration, and the exit codes that say so. */
export const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143 } as const

const CHANGED = 'the input changed while it was read: what came out belongs to neither state of it for certain'

/** A migration that got to the end of its input. */
export function completed(standing: Standing, options: MigrateOptions, inputChanged: boolean): Ending {
  const summary = summaryOf('complete', standing, options, inputChanged)
  if (inputChanged) return { exitCode: EX_IOERR, summary, sentences: [CHANGED] }
  return { exitCode: rejectedRows(standing.rowsRejected) > 0 ? EX_DATAERR : 0, summary, sentences: [] }
}

/** A migration that was interrupted or failed; what is done is put on record once more, if that can be. */
export async function brokenOff(
  reason: keyof typeof SIGNAL_CODES | MigrationError,
  ledger: Ledger | undefined,
  options: MigrateOptions,
  isResumed: boolean,
): Promise<Ending> {
  const isSignal = typeof reason === 'string'
  await ledger?.rescue()
  const exitCode = isSignal ? SIGNAL_CODES[reason] : reason.exitCode
  const sentences = [isSignal ? `ended by ${reason}` : reason.message]
  const standing = ledger?.hasBegun === true ? ledger.standing : undefined
  const summary = standing && summaryOf(isSignal ? 'interrupted' : 'failed', standing, options, false)
  if (options.isDryRun) return { exitCode, summary, sentences }
  if (!ledger?.hasBegun) sentences.push(isResumed ? 'what was done before is as it was' : 'nothing was written')
  else {
    const done = `${ledger.standing.lines} lines of the input are done with, and ${ledger.standing.rowsWritten} rows written`
    sentences.push(
      done,
      filesOf(options) ? resumeSentence(options) : 'standard output cannot be taken back: it has to be begun again',
    )
  }
  return { exitCode, summary, sentences }
}

function resumeSentence({ input }: MigrateOptions): string {
  if (input !== undefined) return 'the same command with --resume goes on from there'
  return 'with the same rows in a file, --in FILE --resume goes on from there'
}
