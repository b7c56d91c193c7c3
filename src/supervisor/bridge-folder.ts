/** The folder of the bridge sockets: nobody but the user of this process may enter it, and root. */
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const NAME = /^pinbridge-(\d+)-[A-Za-z0-9]{6}$/

/**
 * Makes a folder for this process, with mode 0700, and removes those of this user's processes that were killed and left theirs.
 *
 * Nobody is given it, where gateway and vaults are other users: the launcher opens the sockets before it becomes them.
 */
export function makeBridgeFolder(): string {
  for (const name of readdirSync(tmpdir())) {
    const pid = NAME.exec(name)?.[1]
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue
    const folder = join(tmpdir(), name)
    const stats = lstatSync(folder, { throwIfNoEntry: false })
    if (stats?.isDirectory() && stats.uid === process.getuid?.()) rmSync(folder, { recursive: true, force: true })
  }
  return mkdtempSync(join(tmpdir(), `pinbridge-${process.pid}-`))
}
