/**
 * Keeps two migrations off one output.
 *
 * The lock is a name in the abstract namespace of Unix sockets: the kernel gives it to one process and takes it back when
 * that ends, by SIGKILL too, so that no lock is left behind and none is mistaken for one. It holds among the processes of
 * one machine, or of one container.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:net'
import { statSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { EX_CANTCREAT } from '../exit-codes.ts'
import { ioError, MigrationError } from './migration-error.ts'

/**
 * Takes the lock of an output until the process ends.
 *
 * @throws MigrationError, exit code 73, if another process has it.
 */
export async function lockOutput(output: string): Promise<void> {
  let folder: { dev: bigint; ino: bigint }
  try {
    // The folder and not the file, which need not be there; by number, because it may have several paths.
    folder = statSync(dirname(output), { bigint: true })
  } catch (error) {
    throw ioError(dirname(output), error)
  }
  const name = createHash('sha256')
    .update(`${folder.dev}:${folder.ino}:${basename(output)}`)
    .digest('hex')
  // Nobody has to be let in: the name is all that is wanted.
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', () => {
      reject(new MigrationError(EX_CANTCREAT, `${output}: another migration is writing it`))
    })
    server.listen(`\0pinbridge-migrate-${name}`, resolve)
  })
  server.unref()
}
