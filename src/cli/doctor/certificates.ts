/** What `doctor` says of certificates, and of the keys of callers' tokens: until when each may be used. */
import type { ExaminedConfig } from '../../config/config.ts'
import { expiriesOf, type Expiry } from '../certs/expiries.ts'
import { finding, type Finding } from './finding.ts'

const SOON_DAYS = 30
const TODO = 'have it renewed, put it into the same file, and have the service reload: `pinbridge certs --help`'

/** One line for each that expires; a file that cannot be read has been told as a problem of the configuration. */
export function certificateFindings({ config, isWellFormed }: ExaminedConfig, now: Date): Finding[] {
  if (!(['listeners', 'limits', 'authentication'] as const).every((section) => isWellFormed([section]))) return []
  // What is said of a key's last day stands beside the key.
  return expiriesOf({ ...config, keys: [] }, now).flatMap(validity)
}

function validity({ what, name, expires, daysLeft }: Expiry): Finding[] {
  if (expires === undefined || daysLeft === undefined) return []
  const day = expires.toISOString().slice(0, 10)
  const shown = name === '' ? 'it' : name
  if (daysLeft < 0) return [finding('certificates', what, 'wrong', `${shown} expired on ${day}`, TODO)]
  const text = `${shown} expires on ${day}, in ${daysLeft} days`
  return [
    daysLeft <= SOON_DAYS
      ? finding('certificates', what, 'note', text, TODO)
      : finding('certificates', what, 'ok', text),
  ]
}
