/** What `doctor` says: each finding is one thing that is right, worth knowing, or wrong, and what to do about it. */

/** What findings are grouped by, in the order in which they are shown. */
export const TOPICS = [
  'configuration',
  'token',
  'keys',
  'mechanisms',
  'profiles and routes',
  'certificates',
  'files',
  'processes',
  'clock',
  'service',
] as const
export type Topic = (typeof TOPICS)[number]

export const VERDICTS = ['ok', 'note', 'wrong'] as const
export type Verdict = (typeof VERDICTS)[number]

/** One line of the table; no secret in it, and no value of a configuration that may be a secret in the wrong place. */
export interface Finding {
  readonly topic: Topic
  readonly subject: string
  readonly verdict: Verdict
  readonly text: string
  /** What to do, in a sentence that names the command or the setting. */
  readonly todo?: string
}

/** A finding of one topic; `todo` may be left out. */
export function finding(topic: Topic, subject: string, verdict: Verdict, text: string, todo?: string): Finding {
  return { topic, subject, verdict, text, ...(todo !== undefined && { todo }) }
}

/** How many findings there are of each verdict. */
export function countsOf(findings: readonly Finding[]): Record<Verdict, number> {
  const counts = { ok: 0, note: 0, wrong: 0 }
  for (const { verdict } of findings) counts[verdict]++
  return counts
}
