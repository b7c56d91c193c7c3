/** What the log says of a migration at its start and at its end: keys, files and counts, and nothing of a row. */
import type { KeyEntry } from '../config/schema.ts'
import type { Ending } from './ending.ts'
import type { MigrateOptions } from './options.ts'
import type { Parameters } from './parameters.ts'
import type { MigrationRecord } from './record.ts'

/** The members of the record `migration-started`. */
export function startRecord(
  { from, to, prw, checkIds }: Parameters,
  { input, output, isDryRun }: MigrateOptions,
  inputBytes: number | undefined,
  record: MigrationRecord | undefined,
): object {
  return {
    from: { ...keyOf(from.key), format: from.format },
    to: { ...keyOf(to.key), format: to.format },
    ...(prw && { prw: { ...keyOf(prw.key), profile: prw.profile } }),
    checkIds,
    dryRun: isDryRun,
    input: { file: input ?? '-', ...(inputBytes !== undefined && { bytes: inputBytes }) },
    ...(!isDryRun && { output: output ?? '-' }),
    ...(record && { resumedAtLine: record.lines + 1 }),
  }
}

/** The members of the record `migration-ended`. */
export function endRecord({ exitCode, summary }: Ending): object {
  if (summary === undefined) return { outcome: 'failed', exitCode }
  const { outcome, rowsRead, rowsWritten, rowsRejected, input, output, rejects, inputChanged, seconds } = summary
  return { outcome, exitCode, rowsRead, rowsWritten, rowsRejected, input, output, rejects, inputChanged, seconds }
}

function keyOf({ id, version, kcv }: KeyEntry): object {
  return { key: id, version, kcv: kcv.toUpperCase() }
}
