/** The files that `audit` is told to read. */
import { fileProblem } from '../config/files.ts'
import { EX_NOINPUT } from '../exit-codes.ts'
import { CommandError } from './command-error.ts'

/** @throws CommandError that names the first one that cannot be read. */
export function expectFiles(paths: readonly string[]): void {
  for (const path of paths) {
    const problem = fileProblem(path)
    if (problem) throw new CommandError(EX_NOINPUT, `${path} ${problem}`)
  }
}
