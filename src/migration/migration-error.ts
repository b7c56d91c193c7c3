/** Why a migration cannot go on: a sentence for its operator, and an exit code of sysexits.h. */
import { EX_IOERR } from '../exit-codes.ts'

export class MigrationError extends Error {
  readonly exitCode: number

  constructor(exitCode: number, sentence: string) {
    super(sentence)
    this.name = 'MigrationError'
    this.exitCode = exitCode
  }
}

/** What reading or writing a file failed with, as the operating system calls it. */
export function ioError(what: string, error: unknown): MigrationError {
  if (error instanceof MigrationError) return error
  const { code } = error as NodeJS.ErrnoException
  const reason = code === 'ENOSPC' ? 'no space is left (ENOSPC)' : code === 'EFBIG' ? 'it is too large (EFBIG)' : code
  return new MigrationError(EX_IOERR, `${what}: ${reason ?? 'an error without a code'}`)
}
