/** What the command line asks for; every path is absolute. */
import { fstatSync, statSync } from 'node:fs'
import { EX_USAGE } from '../exit-codes.ts'
import { MigrationError } from './migration-error.ts'
import type { Named } from './parameters.ts'
import { recordPath, temporaryRecordPath } from './record.ts'
import type { Source } from './source.ts'

export interface MigrateOptions {
  readonly from: Named
  readonly to: Named
  readonly prw: Named | undefined
  /** A path; undefined for standard input. */
  readonly input: string | undefined
  /** A path; undefined for standard output. A dry run looks at neither. */
  readonly output: string | undefined
  /** A path; undefined for standard error. */
  readonly rejects: string | undefined
  readonly isResumed: boolean
  readonly isDryRun: boolean
  readonly checkIds: boolean
}

/** The files of a migration that has an output file: such a migration is put on record and can be resumed. */
export interface Files {
  readonly output: string
  readonly rejects: string
}

/** The files, if the output is one. */
export function filesOf({ output, rejects, isDryRun }: MigrateOptions): Files | undefined {
  if (isDryRun || output === undefined) return undefined
  return { output, rejects: rejects ?? `${output}.rejects` }
}

/**
 * Makes sure that the files are different ones, whatever paths they go by.
 *
 * @throws MigrationError, exit code 64
 */
export function assertDistinct(options: MigrateOptions): void {
  const { input } = options
  const files = filesOf(options)
  const named: [string, string | undefined][] = [
    ['--in', input],
    ['--out', files?.output],
    ['--rejects', files?.rejects ?? (options.isDryRun ? undefined : options.rejects)],
    ['the record', files && recordPath(files.output)],
    ['the record', files && temporaryRecordPath(files.output)],
  ]
  named.forEach(([name, path], i) => {
    const twin = named.find(([, other], j) => j < i && path !== undefined && other !== undefined && isSame(path, other))
    if (twin) throw new MigrationError(EX_USAGE, `${name} is the same file as ${twin[0]}`)
  })
}

/**
 * Makes sure that standard output was not led to the input: what comes out would be read again without end.
 *
 * @throws MigrationError, exit code 64
 */
export function assertOutputIsOther({ output, isDryRun }: MigrateOptions, { identity }: Source): void {
  if (output !== undefined || isDryRun || identity === undefined) return
  const { dev, ino } = fstatSync(1, { bigint: true })
  if (`${dev}:${ino}` === identity) throw new MigrationError(EX_USAGE, 'standard output is the same file as --in')
}

function isSame(a: string, b: string): boolean {
  if (a === b) return true
  const [first, second] = [a, b].map((path) => statSync(path, { bigint: true, throwIfNoEntry: false }))
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino
}
