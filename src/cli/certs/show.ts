/** What `certs show` does: a table of what expires when, and an exit code by the nearest. */
import { styleText } from 'node:util'
import { loadConfig } from '../../config/config.ts'
import type { ShowOptions } from './certs.ts'
import { expiriesOf, type Expiry } from './expiries.ts'

/** Something expires soon, has expired, or cannot be read. */
const EXPIRING = 1

/** Prints the table, and sets the exit code. */
export function showCommand(files: readonly string[], { config, within, json }: ShowOptions): void {
  const expiries = expiriesOf(loadConfig(config, {}, 'keys'), new Date(), files)
  const isDue = ({ daysLeft }: Expiry): boolean => daysLeft === undefined || daysLeft < within
  process.stdout.write(json ? `${JSON.stringify({ expiries })}\n` : table(expiries, isDue))
  if (expiries.some(isDue)) process.exitCode = EXPIRING
}

function table(expiries: readonly Expiry[], isDue: (expiry: Expiry) => boolean): string {
  if (expiries.length === 0) return 'Nothing that is configured says when it expires.\n'
  const rows = expiries.map((expiry) => [dayOf(expiry), leftOf(expiry), expiry.what, nameOf(expiry)])
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)))
  return rows
    .map((row, i) => {
      const line = row.map((text, column) => text.padEnd(widths[column] ?? 0)).join('  ')
      return `${isDue(expiries[i]!) ? red(line) : line}\n`
    })
    .join('')
}

function dayOf({ expires }: Expiry): string {
  return expires?.toISOString().slice(0, 10) ?? 'unknown'
}

function leftOf({ daysLeft }: Expiry): string {
  if (daysLeft === undefined) return 'cannot be read'
  if (daysLeft < 0) return 'expired'
  return daysLeft === 1 ? '1 day left' : `${daysLeft} days left`
}

function nameOf({ name, file, problem }: Expiry): string {
  if (problem !== undefined) return `${file} ${problem}`
  return file === undefined ? name : `${name} (${file})`
}

function red(text: string): string {
  return styleText('red', text, { stream: process.stdout, validateStream: true })
}
