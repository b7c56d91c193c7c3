/** Which records `audit show` shows. */
import type { AuditRecord, OutcomeMembers } from './record.ts'

/** What is looked for; each member narrows it. */
export interface Filter {
  readonly client?: string | undefined
  readonly operation?: string | undefined
  readonly card?: string | undefined
  readonly code?: string | undefined
  readonly correlationId?: string | undefined
  readonly sinceMs?: number | undefined
  readonly untilMs?: number | undefined
}

const COMPARED = ['client', 'operation', 'card', 'code', 'correlationId'] as const

/** Whether a record is one of those. */
export function matches(record: AuditRecord, filter: Filter): boolean {
  const members = record as Partial<OutcomeMembers>
  if (COMPARED.some((name) => filter[name] !== undefined && members[name] !== filter[name])) return false
  const timeMs = Date.parse(record.time)
  return timeMs >= (filter.sinceMs ?? -Infinity) && timeMs <= (filter.untilMs ?? Infinity)
}

/** A record as one line for people. */
export function textOf(record: AuditRecord): string {
  const { seq, time, kind } = record
  const { client, operation, code, keys, translation, card, correlationId, verified, rejected, items } =
    record as Partial<OutcomeMembers>
  const parts = [
    String(seq).padStart(8),
    time,
    kind.padEnd(7),
    client,
    operation,
    code,
    verified === undefined ? undefined : `verified=${verified}`,
    items === undefined ? undefined : `items=${items}`,
    rejected === undefined ? undefined : `rejected=${rejected}`,
    translation && `${translation.from ?? ''}>${translation.to ?? ''}`,
    keys?.map(({ id, version }) => `${id}.v${version}`).join(','),
    card && `card=${card}`,
    correlationId && `correlation-id=${correlationId}`,
    record.kind === 'seal' ? `up to ${record.to}` : undefined,
    record.kind === 'start' ? record.reason : undefined,
  ]
  const line = parts.filter((part) => part !== undefined && part !== '').join(' ')
  // A file that was tampered with may hold what steers a terminal.
  return line.replace(/\p{C}/gu, '?')
}
