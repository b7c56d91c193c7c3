/** Waits for a new HSM PIN: a refused one is never tried again, since a few wrong tries lock many a token. */
import { unwatchFile, watchFile } from 'node:fs'

const LOOK_EVERY_MS = 500

/** Resolves when the file's time, size or identity changes; its content is not read here. */
export function untilChanged(path: string): Promise<void> {
  return new Promise((resolve) => {
    watchFile(path, { interval: LOOK_EVERY_MS }, (now, before) => {
      if (now.mtimeMs === before.mtimeMs && now.size === before.size && now.ino === before.ino) return
      unwatchFile(path)
      resolve()
    })
  })
}
