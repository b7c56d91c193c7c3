/** Where a migration begins: at the start, or where the record says; nothing that is there is overwritten. */
import { createHash, type Hash } from 'node:crypto'
import { lstatSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import { InputError } from '../rows/row-reader.ts'
import { EX_IOERR, EX_USAGE } from '../exit-codes.ts'
import type { Beginning } from './ledger.ts'
import type { ChunkReader } from './chunk-reader.ts'
import { ioError, MigrationError } from './migration-error.ts'
import type { Files } from './options.ts'
import { isThere } from './output-files.ts'
import type { Source } from './source.ts'
import { readRecord, recordPath, type MigrationRecord, type RecordedParameters, type Stretch } from './record.ts'

const READ_BYTES = 256 * 1024

/**
 * Looks whether a migration into these files may begin.
 *
 * @returns the record to go on from; undefined to begin at the start.
 * @throws MigrationError if something is there that would be overwritten, or the record is of another migration.
 */
export async function findRecord(
  { output, rejects }: Files,
  isResumed: boolean,
  parameters: RecordedParameters,
): Promise<MigrationRecord | undefined> {
  const record = isResumed ? await readRecord(output) : undefined
  if (record === undefined) {
    const hint = exists(recordPath(output)) ? '; --resume goes on with a migration that was stopped' : ''
    for (const path of [output, recordPath(output), rejects]) if (exists(path)) throw isThere(path, hint)
    return undefined
  }
  if (!isDeepStrictEqual(record.parameters, parameters)) {
    const names = (Object.keys({ ...record.parameters, ...parameters }) as (keyof RecordedParameters)[]).filter(
      (name) => !isDeepStrictEqual(record.parameters[name], parameters[name]),
    )
    throw new MigrationError(EX_USAGE, `${recordPath(output)}: was begun with another ${names.join(', ')}`)
  }
  return record
}

/**
 * Reads the input again up to where it is done with, and holds it against the record: header and ids are known then.
 *
 * @throws MigrationError if it is not what was read.
 */
export async function replay(
  chunks: ChunkReader,
  { input, lines }: MigrationRecord,
  isStopped: () => boolean,
): Promise<void> {
  if (input.bytes === 0) return
  const chunk = chunks.makeChunk()
  let read = 0
  let isSame: boolean
  try {
    while (chunk.end < input.bytes && !isStopped() && (await chunks.next(chunk))) read += chunk.batch.lines
    isSame = chunk.end === input.bytes && read === lines && chunk.digest.digest('hex') === input.sha256
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    isSame = false
  }
  if (!isSame && !isStopped())
    throw new MigrationError(EX_IOERR, 'the input does not begin with what has been read of it')
}

/**
 * Makes sure that an input of which all was read has not grown.
 *
 * @throws MigrationError if there is more of it.
 */
export async function assertNothingFollows(source: Source): Promise<void> {
  if ((await source.read(Buffer.alloc(1), 0, 1)) > 0) {
    throw new MigrationError(EX_IOERR, 'the migration is complete, and the input has more than was read')
  }
}

/**
 * Reads again what an earlier run wrote, and holds it against the record.
 *
 * @throws MigrationError if any of it is not what was written.
 */
export async function continueFrom(record: MigrationRecord, { output, rejects }: Files): Promise<Beginning> {
  const { lines, input, rowsRead, rowsWritten, rowsRejected, seconds } = record
  return {
    standing: {
      lines,
      input,
      output: record.output,
      rejects: record.rejects,
      rowsRead,
      rowsWritten,
      rowsRejected,
      seconds,
    },
    output: await digestStart(output, record.output),
    rejects: await digestStart(rejects, record.rejects),
  }
}

async function digestStart(path: string, { bytes, sha256 }: Stretch): Promise<Hash> {
  const digest = createHash('sha256')
  // It may not have been made before the run ended.
  if (bytes === 0) return digest
  let read = 0
  try {
    const file = await open(path, 'r')
    try {
      const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
      while (read < bytes) {
        const { bytesRead } = await file.read(buffer, 0, Math.min(READ_BYTES, bytes - read), read)
        if (bytesRead === 0) break
        digest.update(buffer.subarray(0, bytesRead))
        read += bytesRead
      }
    } finally {
      await file.close()
    }
  } catch (error) {
    throw ioError(path, error)
  }
  if (read < bytes || digest.copy().digest('hex') !== sha256) {
    throw new MigrationError(EX_IOERR, `${path}: is not what the migration wrote`)
  }
  return digest
}

/** A link that leads nowhere is there too. */
function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}
