/**
 * Prints the closing count from the runner's own JSON report, what passed at the second try only and why it failed before, and what
 * was skipped, with the token that cannot do it and why; no test at all is a failure.
 */
import { readFileSync } from 'node:fs'

interface Report {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: readonly {
    readonly name: string
    readonly status: string
    readonly assertionResults: readonly {
      readonly status: string
      readonly fullName: string
      readonly failureMessages: readonly string[]
      readonly meta: { readonly skipped?: string }
    }[]
  }[]
}

const report = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as Report
// A file that could not be loaded or set up has failed, though none of its tests has.
const broken = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
)
const failed = report.numFailedTests + broken.length
const skipped = report.numPendingTests + report.numTodoTests
if (failed > 0 || report.numPassedTests === 0) process.exitCode = 1
const skips = new Map<string, string[]>()
for (const file of report.testResults) {
  for (const { status, fullName, meta } of file.assertionResults) {
    if (status !== 'skipped' && meta.skipped === undefined) continue
    const reason = meta.skipped ?? (broken.includes(file) ? `${file.name} could not be set up` : 'in the short form')
    skips.set(reason, [...(skips.get(reason) ?? []), fullName])
  }
}
for (const { assertionResults } of report.testResults) {
  for (const { status, fullName, failureMessages } of assertionResults) {
    if (status !== 'passed' || failureMessages.length === 0) continue
    process.stdout.write(`\npassed at the second try\n  ${fullName}\n    ${failureMessages[0]!.split('\n', 1)[0]}\n`)
  }
}
for (const [reason, names] of skips) {
  process.stdout.write(`\nskipped, ${reason}\n${names.map((name) => `  ${name}\n`).join('')}`)
}
process.stdout.write(`\n${report.numPassedTests} passed, ${failed} failed, ${skipped} skipped\n`)
