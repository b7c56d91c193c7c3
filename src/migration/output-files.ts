/** Opens what a migration writes: the output, the rejects and the record. */
import { lstatSync } from 'node:fs'
import { EX_CANTCREAT } from '../exit-codes.ts'
import { MigrationError } from './migration-error.ts'
import type { Files, MigrateOptions } from './options.ts'
import { syncFolder, writeRecord, type MigrationRecord, type RecordedParameters, type Standing } from './record.ts'
import { RejectFile, RejectLines, type RejectSink } from './reject-sinks.ts'
import { FileSink, StreamSink, type Sink } from './sink.ts'

/** Puts a standing on record. */
export type WriteRecord = (state: MigrationRecord['state'], standing: Standing) => Promise<void>

/** What a ledger writes to. */
export interface Outputs {
  /** Undefined for a dry run. */
  readonly out: Sink | undefined
  readonly rejects: RejectSink
  readonly writeRecord: WriteRecord | undefined
}

/** How many rejects a dry run says. */
const SHOWN_REJECTS = 20

/** What the outputs are told of the migration. */
export interface OutputSettings {
  readonly rejectHeader: () => string
  readonly say: (text: string) => void
  readonly inputSize: number | undefined
  readonly isInputUnchanged: () => Promise<boolean>
}

/** Opens the outputs of a migration that is not put on record. */
export function openStreams({ isDryRun, rejects }: MigrateOptions, settings: OutputSettings): Outputs {
  const { rejectHeader, say } = settings
  if (isDryRun) return { out: undefined, rejects: new RejectLines(say, SHOWN_REJECTS), writeRecord: undefined }
  const out = new StreamSink('standard output', process.stdout)
  if (rejects === undefined) return { out, rejects: new RejectLines(say), writeRecord: undefined }
  if (lstatSync(rejects, { throwIfNoEntry: false }) !== undefined) throw isThere(rejects)
  return { out, rejects: new RejectFile(rejects, rejectHeader), writeRecord: undefined }
}

/** Opens the files of a migration, new or where the record says; the record comes first. */
export async function openFiles(
  { output, rejects }: Files,
  standing: Standing,
  parameters: RecordedParameters,
  record: MigrationRecord | undefined,
  settings: OutputSettings,
): Promise<Outputs> {
  const { rejectHeader, inputSize, isInputUnchanged } = settings
  const write: WriteRecord = async (state, now) => {
    const inputChanged = !(await isInputUnchanged())
    const size = record ? record.inputSize : (inputSize ?? null)
    await writeRecord(output, { state, parameters, ...now, inputSize: size, inputChanged, pid: process.pid })
  }
  await write('running', standing)
  if (record === undefined) {
    const out = await FileSink.create(output)
    await syncFolder(output)
    return { out, rejects: new RejectFile(rejects, rejectHeader), writeRecord: write }
  }
  const out = await FileSink.reopen(output, standing.output.bytes)
  const isThereBefore = lstatSync(rejects, { throwIfNoEntry: false }) !== undefined
  const file = isThereBefore ? await FileSink.reopen(rejects, standing.rejects.bytes) : undefined
  const rejectFile = new RejectFile(rejects, rejectHeader, file, standing.rejects.bytes === 0)
  return { out, rejects: rejectFile, writeRecord: write }
}

/** What stands in the way of a new file. */
export function isThere(path: string, hint = ''): MigrationError {
  return new MigrationError(EX_CANTCREAT, `${path}: is there already and is not overwritten${hint}`)
}
