/** Has a process look at a token, and ends it when the module does not answer: a call into a native library cannot be interrupted. */
import type { TokenConfig, ProcessUser } from '../../config/schema.ts'
import { rememberRefusal } from '../../pin-file.ts'
import { onEnd, sendTo, spawnExaminer } from '../../supervisor/spawn.ts'
import { finding, type Finding } from './finding.ts'
import type { Examination, Report } from './messages.ts'

const KILLED_MS = 2000

const HANG_TODO =
  'see that the HSM, its daemon and the network to it are up, then restart the daemon; a slow HSM is given more time with --timeout'
const CRASH_TODO =
  'see that `hsm.module` is built for this machine and its vendor supports it here; a vault would crash in the same way'
const MEMORY_TODO =
  'let the user of the service write into the folder of the PIN file, or a restart of the service tries the PIN again'

/** Collects what the process finds; what it had found is kept when it ends by force. */
export async function examineToken(
  examination: Examination,
  user: ProcessUser | undefined,
  timeoutMs: number,
): Promise<Finding[]> {
  const { token } = examination
  const findings: Finding[] = []
  const child = spawnExaminer('cli/doctor/token-main', token, user)
  let step = 'starting'
  let isHung = false
  let timer: NodeJS.Timeout | undefined
  const end = await new Promise<'done' | 'hung' | 'ended'>((resolve) => {
    const resolveEnd = (): void => {
      resolve(isHung ? 'hung' : 'ended')
    }
    timer = setTimeout(() => {
      isHung = true
      child.kill('SIGKILL')
      // A process that waits for a driver of the kernel outlives even that.
      timer = setTimeout(resolveEnd, KILLED_MS)
    }, timeoutMs)
    child.on('message', (report: Report) => {
      if (report.type === 'step') step = report.step
      else if (report.type === 'finding') findings.push(report.finding)
      else if (report.type === 'refused') findings.push(...refusalFindings(token, report.pinIdentity))
      else resolve('done')
    })
    onEnd(child, () => {
      // What it said last may still be under way.
      if (child.connected) child.once('disconnect', resolveEnd)
      else resolveEnd()
    })
    sendTo(child, examination)
  })
  clearTimeout(timer)
  child.unref()
  child.channel?.unref()
  if (end === 'done') return findings
  if (end === 'hung') {
    const text = `the module did not answer within ${timeoutMs / 1000} s, while ${step}`
    return [...findings, finding('token', 'module', 'wrong', text, HANG_TODO)]
  }
  const text = `the process that looked at the token ended by itself, while ${step}: ${howItEnded(child)}`
  return [...findings, finding('token', 'module', 'wrong', text, CRASH_TODO)]
}

function howItEnded({ signalCode, exitCode }: { signalCode: string | null; exitCode: number | null }): string {
  if (signalCode !== null) return `the module crashed it (${signalCode})`
  return exitCode === null ? 'it could not be started' : `exit code ${exitCode}`
}

function refusalFindings(token: TokenConfig, pinIdentity: string): Finding[] {
  if (rememberRefusal(token, pinIdentity)) return []
  return [
    finding('token', 'login', 'note', 'that the PIN was refused could not be written down beside it', MEMORY_TODO),
  ]
}
