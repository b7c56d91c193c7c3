/** What `doctor` says of the age of a key and of the day until which it should be used. */
import type { KeyEntry } from '../../config/schema.ts'
import { finding, type Finding } from './finding.ts'

const DAY_MS = 86_400_000
const SOON_DAYS = 30

/** When the key was made, to stand behind what is said of it; empty if nobody wrote it down. */
export function ageText({ created }: Pick<KeyEntry, 'created'>, nowMs: number): string {
  return created === undefined ? '' : `, made on ${created} (${agoText(created, nowMs)})`
}

/** How long ago a day was. */
export function agoText(day: string, nowMs: number): string {
  const days = Math.floor((nowMs - Date.parse(day)) / DAY_MS)
  if (days < 0) return 'in the future'
  if (days === 0) return 'today'
  return days === 1 ? '1 day ago' : `${days} days ago`
}

/** Says that the last day of a key is past, or comes soon; nothing while it is far. */
export function expiryFindings(key: KeyEntry, nowMs: number): Finding[] {
  const { id, version, expires } = key
  if (expires === undefined) return []
  const today = new Date(nowMs).toISOString().slice(0, 10)
  // It may be used on its last day.
  const daysLeft = (Date.parse(expires) - Date.parse(today)) / DAY_MS
  if (daysLeft > SOON_DAYS) return []
  const todo = `replace it: \`pinbridge rotate ${id}\`; the other party of a shared key has to take part`
  const [verdict, text] =
    daysLeft < 0
      ? (['wrong', `it expired on ${expires}, and is used all the same`] as const)
      : (['note', `it expires on ${expires}, in ${daysLeft} days`] as const)
  return [finding('keys', `key ${id} v${version}`, verdict, text, todo)]
}
