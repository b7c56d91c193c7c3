/** Remembers a refused HSM PIN and waits for a new one: it is never tried again, since a few wrong tries lock many a token. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
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

/** What is said instead of a login that would be a second try. */
export const REFUSED_BEFORE =
  'hsm.pinFile: the token refused this PIN before, and it is not tried again until the file changes'

/** Where a refusal is written down, so that a restart does not try the PIN again; remove the file to have it tried once more. */
export function refusalPath(pinFile: string): string {
  return `${pinFile}.refused`
}

/** Whether the token has refused the PIN that stands in the file now. */
export function isRefused(pinFile: string): boolean {
  try {
    return readFileSync(refusalPath(pinFile), 'utf8') === identityOf(pinFile)
  } catch {
    return false
  }
}

/** Writes down that the token has refused the PIN of a file of this identity; false if it cannot be written. */
export function rememberRefusal(pinFile: string, identity: string): boolean {
  try {
    writeFileSync(refusalPath(pinFile), identity, { mode: 0o600 })
    return true
  } catch {
    return false
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
