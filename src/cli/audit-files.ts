/** The files that `audit` is told to read. */
import { fileProblem } from '../config/files.ts'
import { CommandError } from './command-error.ts'

const EX_NOINPUT = 66

/** @throws CommandError that names the first one that cannot be read. */
export function expectFiles(paths: readonly string[]): void {
  for (const path of paths) {
    const problem = fileProblem(path)
    if (problem) throw new CommandError(EX_NOINPUT, `${path} ${problem}`)
  }
}
