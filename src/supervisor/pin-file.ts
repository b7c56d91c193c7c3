/** Waits for a new HSM PIN: a refused one is never tried again, since a few wrong tries lock many a token. */
import { statSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'

const LOOK_EVERY_MS = 500

/** What tells one state of a file from another without reading it: identity, size and time; empty if it is not there. */
export function identityOf(path: string): string {
  try {
    const { dev, ino, size, mtimeNs } = statSync(path, { bigint: true })
    return `${dev}:${ino}:${size}:${mtimeNs}`
  } catch {
    // Whatever keeps it from being looked at may pass, as a mount that is away does.
    return ''
  }
}

/** Resolves once the file is there, is another than `before`, and is seen twice alike: one half written would cost a try. */
export async function untilChanged(path: string, before: string): Promise<void> {
  for (let last = before; ;) {
    await setTimeout(LOOK_EVERY_MS)
    const now = identityOf(path)
    if (now !== '' && now !== before && now === last) return
    last = now
  }
}
