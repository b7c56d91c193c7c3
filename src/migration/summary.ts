/** What a migration came to, for its operator and for programs; nothing of a row stands in it. */
import { filesOf, type MigrateOptions } from './options.ts'
import { recordPath, type Standing, type Stretch } from './record.ts'
import { rejectedRows, type RejectCounts } from './rejects.ts'

/** How a migration ended. */
export type Outcome = 'complete' | 'interrupted' | 'failed'

/** A file that was read or written. */
export interface FileSummary extends Stretch {
  readonly file: string
}

/** What is printed at the end; `--json` prints it as it is. */
export interface Summary {
  readonly outcome: Outcome
  readonly dryRun: boolean
  readonly rowsRead: number
  readonly rowsWritten: number
  readonly rowsRejected: RejectCounts
  readonly seconds: number
  readonly rowsPerSecond: number
  readonly input: FileSummary
  readonly inputChanged: boolean
  readonly output: FileSummary | null
  /** Null if there is none. */
  readonly rejects: FileSummary | null
  readonly record: string | null
}

/** Makes the summary of a standing. */
export function summaryOf(
  outcome: Outcome,
  standing: Standing,
  options: MigrateOptions,
  inputChanged: boolean,
): Summary {
  const { rowsRead, rowsWritten, rowsRejected, input, output, rejects } = standing
  const { isDryRun } = options
  const files = filesOf(options)
  const rejectFile = isDryRun ? undefined : (files?.rejects ?? options.rejects)
  const seconds = Math.round(standing.seconds * 1000) / 1000
  return {
    outcome,
    dryRun: isDryRun,
    rowsRead,
    rowsWritten,
    rowsRejected,
    seconds,
    rowsPerSecond: seconds === 0 ? 0 : Math.round(rowsRead / seconds),
    input: { file: options.input ?? '-', ...input },
    inputChanged,
    output: isDryRun ? null : { file: options.output ?? '-', ...output },
    rejects: rejectFile === undefined || rejects.bytes === 0 ? null : { file: rejectFile, ...rejects },
    record: files ? recordPath(files.output) : null,
  }
}

const OUTCOMES: Readonly<Record<Outcome, string>> = {
  complete: 'complete',
  interrupted: 'NOT COMPLETE: interrupted',
  failed: 'NOT COMPLETE: failed',
}

/** The summary as a table. */
export function summaryText(summary: Summary): string {
  const { rowsRead, rowsWritten, rowsRejected, seconds, rowsPerSecond, output, rejects, record } = summary
  const lines: [string, string][] = [
    ['outcome', OUTCOMES[summary.outcome]],
    ['rows read', String(rowsRead)],
    summary.dryRun ? ['rows written', 'none: dry run'] : ['rows written', String(rowsWritten)],
    ['rows rejected', String(rejectedRows(rowsRejected))],
    ...Object.entries(rowsRejected).map(([code, count]): [string, string] => [`  ${code}`, String(count)]),
    ['seconds', `${seconds}, ${rowsPerSecond} rows/s`],
  ]
  if (output) lines.push(['output', output.file], ['its SHA-256', output.sha256])
  if (rejects) lines.push(['rejects', rejects.file])
  if (record !== null) lines.push(['record', record])
  const width = Math.max(...lines.map(([name]) => name.length))
  return lines.map(([name, value]) => `${name.padEnd(width + 2)}${value}\n`).join('')
}
