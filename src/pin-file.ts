/**
 * The file of an HSM PIN, and the memory of its refusal: a PIN that the token refused is never tried again, over restarts too,
 * since a few wrong tries lock many a token (M-18).
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  type BigIntStats,
} from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import type { TokenConfig } from './config/schema.ts'

const LOOK_EVERY_MS = 500

/** Whose PIN it is, and the file it stands in; several tokens may share a file, and each refuses for itself. */
type PinOwner = Pick<TokenConfig, 'name' | 'pinFile'>

/** What is said instead of a login that would be a second try. */
export const REFUSED_BEFORE =
  'hsm.pinFile: the token refused this PIN before, and it is not tried again until the file changes'

/** What tells one state of a file from another without reading it: identity, size and time; empty if it is not there. */
export function identityOf(path: string): string {
  try {
    return identityIn(statSync(path, { bigint: true }))
  } catch {
    // Whatever keeps it from being looked at may pass, as a mount that is away does.
    return ''
  }
}

/** Reads the PIN, and the identity of the very file it was read from: it may be replaced meanwhile. */
export function readPin(path: string): { readonly pin: string; readonly identity: string } {
  const file = openSync(path, 'r')
  try {
    const identity = identityIn(fstatSync(file, { bigint: true }))
    return { pin: readFileSync(file, 'utf8').trimEnd(), identity }
  } finally {
    closeSync(file)
  }
}

/** Where a refusal is written down; who removes the file has the PIN tried once more. */
export function refusalPath({ name, pinFile }: PinOwner): string {
  return `${pinFile}.${name}.refused`
}

/** Whether the token has refused the PIN that stands in the file now. */
export function isRefused(owner: PinOwner): boolean {
  try {
    return readFileSync(refusalPath(owner), 'utf8') === identityOf(owner.pinFile)
  } catch {
    return false
  }
}

/** Writes down that the token has refused the PIN of a file of this identity; false if it cannot be written. */
export function rememberRefusal(owner: PinOwner, identity: string): boolean {
  try {
    writeFileSync(refusalPath(owner), identity, { mode: 0o600 })
    return true
  } catch {
    return false
  }
}

/**
 * Resolves once the file is there, is another than `before`, and is seen twice alike, because one half written would cost a
 * try; or once the refusal was written down and has been removed.
 */
export async function untilChanged(owner: PinOwner, before: string): Promise<void> {
  const wasWritten = existsSync(refusalPath(owner))
  for (let last = before; ;) {
    await setTimeout(LOOK_EVERY_MS)
    if (wasWritten && !existsSync(refusalPath(owner))) return
    const now = identityOf(owner.pinFile)
    if (now !== '' && now !== before && now === last) return
    last = now
  }
}

function identityIn({ dev, ino, size, mtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}`
}
