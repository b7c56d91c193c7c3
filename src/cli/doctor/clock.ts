/** What `doctor` says of this machine's clock: certificates, tokens of callers and the audit record go by it. */
import { execFile } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { promisify } from 'node:util'
import { finding, type Finding } from './finding.ts'

const SYNCHRONISED = '/run/systemd/timesync/synchronized'
const AHEAD_MS = 60_000
const CHRONY_MS = 3000
const TODO = 'have the machine’s clock set by NTP (systemd-timesyncd or chrony)'

/** Says what can be told without asking anybody outside. */
export async function clockFindings(paths: readonly string[], nowMs: number): Promise<Finding[]> {
  const now = new Date(nowMs).toISOString()
  const ahead = paths.filter((path) => timeOf(path) > nowMs + AHEAD_MS)
  if (ahead.length > 0) {
    const text = `this machine says ${now}, and ${ahead.join(', ')} was changed later than that`
    return [finding('clock', 'clock', 'wrong', text, TODO)]
  }
  const state = existsSync(SYNCHRONISED) ? 'set by systemd-timesyncd' : await chronyState()
  return [
    state === undefined
      ? finding('clock', 'clock', 'note', `${now}; whether anything keeps it right cannot be told from here`, TODO)
      : finding('clock', 'clock', 'ok', `${now}, ${state}`),
  ]
}

function timeOf(path: string): number {
  try {
    return statSync(path).mtimeMs
  } catch {
    return 0
  }
}

/** What chrony says of itself, in its own form for programs: the last field is the leap status. */
async function chronyState(): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('chronyc', ['-c', 'tracking'], { timeout: CHRONY_MS })
    const fields = stdout.trim().split(',')
    return fields.at(-1) === 'Normal' ? `set by chrony (${Number(fields[4]).toFixed(6)} s off)` : undefined
  } catch {
    return undefined
  }
}
