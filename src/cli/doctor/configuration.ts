/** What `doctor` says of the configuration itself. */
import type { ExaminedConfig } from '../../config/config.ts'
import { finding, type Finding } from './finding.ts'

/** What to do, by how a problem is worded (config/files.ts, config/form.ts, the rules). */
const ADVICE: readonly (readonly [problem: RegExp, todo: string])[] = [
  [/must be closed to group and others/, '`chmod go-rwx` what this member names'],
  [/must not be writable by group or others/, '`chmod go-w` what this member names'],
  [/must belong to/, '`chown` what this member names'],
  [
    /does not exist/,
    'correct the path, or put there what it names; relative paths start at the folder of the configuration',
  ],
  [
    /cannot be (?:read|looked at) by this user/,
    'run this as the user of the service, or give that user the right to read it',
  ],
  [/has expired/, 'have a new certificate issued for the same key, and put it there'],
  [/is not a known member/, 'correct its name or take it out; the README lists every member'],
  [/is missing/, 'add it; the README says what it is for, and what it may be'],
]
const ANY = 'correct it; the README says what this member may be'

/** One line for each problem. */
export function problemFindings(problems: readonly string[]): Finding[] {
  return problems.map((problem) => {
    const todo = ADVICE.find(([pattern]) => pattern.test(problem))?.[1] ?? ANY
    return finding('configuration', 'configuration', 'wrong', problem, todo)
  })
}

/** What is wrong with it, or that nothing is. */
export function configurationFindings({ config, problems }: ExaminedConfig): Finding[] {
  const findings = problemFindings(problems)
  if (problems.length === 0) {
    const { keys, clients, hsm } = config
    const text = `${keys.length} keys, ${clients.length} clients, HSM tokens: ${hsm.tokens.length}`
    findings.push(finding('configuration', 'configuration', 'ok', text))
  }
  if (config.environment === 'development') {
    const todo = 'for a service that real PINs go to, `pinbridge init` sets up production'
    findings.push(
      finding(
        'configuration',
        'environment',
        'note',
        'development: its keys are known, never give it a real PIN',
        todo,
      ),
    )
  }
  return findings
}
