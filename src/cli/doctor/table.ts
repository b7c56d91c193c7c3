/** The findings as a table for a person: grouped by topic, what to do on a line of its own, and a last line that counts. */
import { styleText } from 'node:util'
import { countsOf, TOPICS, type Finding, type Verdict } from './finding.ts'

const COLOURS = { ok: 'green', note: 'yellow', wrong: 'red' } as const
const VERDICT_WIDTH = 'wrong'.length + 1
const MOST_SUBJECT_WIDTH = 28

/** Lays the findings out. */
export function tableOf(findings: readonly Finding[]): string {
  const width = Math.min(MOST_SUBJECT_WIDTH, Math.max(...findings.map(({ subject }) => subject.length))) + 2
  const topics = TOPICS.map((topic) => findings.filter((finding) => finding.topic === topic))
  const groups = topics.filter((group) => group.length > 0).map((group) => groupOf(group, width))
  return `${groups.join('\n')}\n${lastLine(findings)}\n`
}

function groupOf(findings: readonly Finding[], width: number): string {
  const [{ topic }] = findings as [Finding, ...Finding[]]
  const heading = styleText('bold', topic.toUpperCase(), { stream: process.stdout })
  return `${heading}\n${findings.map((each) => lineOf(each, width)).join('')}`
}

function lineOf({ verdict, subject, text, todo }: Finding, width: number): string {
  const line = `${coloured(verdict, verdict.padEnd(VERDICT_WIDTH))}${`${subject}  `.padEnd(width)}${text}\n`
  return todo === undefined ? line : `${line}${' '.repeat(VERDICT_WIDTH + 2)}→ ${todo}\n`
}

function lastLine(findings: readonly Finding[]): string {
  const { ok, note, wrong } = countsOf(findings)
  const counts = `${wrong} wrong, ${note} to know, ${ok} right`
  if (wrong === 0) return coloured('ok', `Nothing is wrong: ${counts}.`)
  return coloured('wrong', `Something is wrong: ${counts}. What to do stands behind each →.`)
}

function coloured(verdict: Verdict, text: string): string {
  return styleText(COLOURS[verdict], text, { stream: process.stdout })
}
