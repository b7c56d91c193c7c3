/**
 * The record of a migration, `OUT.migration.json`: how far it got and under which parameters, so that it can be resumed
 * after whatever stopped it, and what it did once it is complete. It holds no PAN.
 */
import { open, readFile, rename, rm } from 'node:fs/promises'
import { relative, dirname } from 'node:path'
import type { KeyEntry } from '../config/schema.ts'
import { EX_IOERR } from '../exit-codes.ts'
import { ioError, MigrationError } from './migration-error.ts'
import type { Parameters } from './parameters.ts'
import type { RejectCounts } from './rejects.ts'

/** The record's parameters: what they were must be what they are when it is resumed. */
export interface RecordedParameters {
  readonly from: RecordedKey
  readonly to: RecordedKey
  readonly prw?: RecordedKey
  readonly checkIds: boolean
  /** The reject file, seen from the folder of the output. */
  readonly rejects: string
}

/** A key, and its format or profile. */
export interface RecordedKey {
  readonly key: string
  readonly version: number
  readonly kcv: string
  readonly format?: string
  readonly profile?: string
}

/** A file up to a place in it. */
export interface Stretch {
  readonly bytes: number
  /** SHA-256, hex. */
  readonly sha256: string
}

/** How far a migration got. */
export interface Standing {
  /** The lines that are done with. */
  readonly lines: number
  readonly input: Stretch
  readonly output: Stretch
  readonly rejects: Stretch
  readonly rowsRead: number
  readonly rowsWritten: number
  readonly rowsRejected: RejectCounts
  /** All runs together, in seconds. */
  readonly seconds: number
}

/** What stands in the file. */
export interface MigrationRecord extends Standing {
  readonly state: 'running' | 'complete'
  readonly parameters: RecordedParameters
  /** The input's size when it was first opened; null for standard input. */
  readonly inputSize: number | null
  /** Whether the input was another at the end than at the start. */
  readonly inputChanged: boolean
  readonly pid: number
}

/** The names that a migration writes beside its output. */
export function recordPath(output: string): string {
  return `${output}.migration.json`
}

/** The record is written under this name and then renamed. */
export function temporaryRecordPath(output: string): string {
  return `${recordPath(output)}.new`
}

/** The parameters as the record holds them. */
export function recordedParameters(
  { from, to, prw, checkIds }: Parameters,
  { output, rejects }: { readonly output: string; readonly rejects: string },
): RecordedParameters {
  return {
    from: { ...recordedKey(from.key), format: from.format },
    to: { ...recordedKey(to.key), format: to.format },
    ...(prw && { prw: { ...recordedKey(prw.key), profile: prw.profile } }),
    checkIds,
    rejects: relative(dirname(output), rejects),
  }
}

function recordedKey({ id, version, kcv }: KeyEntry): RecordedKey {
  return { key: id, version, kcv: kcv.toUpperCase() }
}

/** Reads the record of an output; undefined if there is none. */
export async function readRecord(output: string): Promise<MigrationRecord | undefined> {
  const path = recordPath(output)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw ioError(path, error)
  }
  try {
    const record = JSON.parse(text) as MigrationRecord
    if (isRecord(record)) return record
  } catch {
    // What is no JSON is no record either.
  }
  throw new MigrationError(EX_IOERR, `${path}: is not the record of a migration`)
}

function isRecord({ state, input, output, rejects, parameters, rowsRejected, ...counts }: MigrationRecord): boolean {
  return (
    ['running', 'complete'].includes(state) &&
    [input, output, rejects].every(
      ({ bytes, sha256 }) => Number.isSafeInteger(bytes) && /^[0-9a-f]{64}$/.test(sha256),
    ) &&
    [counts.lines, counts.rowsRead, counts.rowsWritten].every(Number.isSafeInteger) &&
    typeof counts.seconds === 'number' &&
    [parameters, rowsRejected].every((member: unknown) => typeof member === 'object' && member !== null)
  )
}

/** Puts a record in the place of the one before, so that at any moment the one or the other is there as a whole. */
export async function writeRecord(output: string, record: MigrationRecord): Promise<void> {
  const path = temporaryRecordPath(output)
  try {
    await rm(path, { force: true })
    const file = await open(path, 'wx', 0o600)
    try {
      await file.writeFile(`${JSON.stringify(record, undefined, 2)}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(path, recordPath(output))
    await syncFolder(output)
  } catch (error) {
    throw ioError(path, error)
  }
}

/** Makes sure that a name stands in its folder. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
