/**
 * A record of the audit trail: one line of JSON in one spelling, of listed members only.
 *
 * Layout: `{"seq":…,"time":…,"kind":…, …,"prev":…}` and a line feed. `prev` is the SHA-256 of the line before without its line
 * feed, so that no line can be changed, taken out, put in or moved without the next one showing it; the first line of all has
 * 64 zeros. `seq` counts the lines from 1, over all files.
 */
import { hash } from 'node:crypto'
import { Ajv } from 'ajv'
import { Type } from 'typebox'
import type { KeyRef } from '../bridge/contract.ts'

/**
 * What a line says: that an operation is about to be done, and how a request ended; that a process began or ended; from where
 * a seal reaches, and the seal.
 */
export const RECORD_KINDS = ['start', 'intent', 'outcome', 'mark', 'seal', 'stop'] as const
export type RecordKind = (typeof RECORD_KINDS)[number]

/** What a request is recorded by; nothing of it that is secret, and of the card a keyed hash. */
export interface RequestMembers {
  readonly requestId: string
  readonly correlationId?: string | undefined
  readonly client: string
  readonly operation: string
  /** Those that it names, and those that a vault says it used besides. */
  readonly keys: readonly KeyRef[]
  readonly translation?: { readonly from?: string | undefined; readonly to?: string | undefined } | undefined
  readonly recipient?: string | undefined
  readonly card?: string | undefined
  /** Of a batch. */
  readonly items?: number | undefined
}

/** How a request ended. */
export interface OutcomeMembers extends RequestMembers {
  readonly rejected?: number | undefined
  readonly limited?: number | undefined
  readonly verified?: boolean | undefined
  readonly code: string
  /** Those that it was given to. */
  readonly vaults?: readonly { readonly token: string; readonly vault: number }[] | undefined
}

/** Bytes behind the last whole line of a file, left by a write that was cut off; they stay where they are. */
export interface TornLine {
  readonly file: string
  readonly bytes: number
  readonly hash: string
}

/** Where a record stands in the chain. */
export interface Place {
  readonly seq: number
  /** SHA-256 of its line. */
  readonly hash: string
  readonly file: string
}

/** What a process begins with: the last whole record before it, and what was torn behind that. */
export interface StartMembers {
  readonly reason: 'process' | 'writable-again'
  readonly after?: Place | undefined
  readonly torn?: readonly TornLine[] | undefined
  /** Records that could not be written meanwhile, where the setting is to go on. */
  readonly lost?: number | undefined
}

/** A seal: the MAC over the chain up to a mark, with the clock of the vault that made it. */
export interface SealMembers {
  readonly file: string
  readonly from: number
  readonly to: number
  readonly hash: string
  readonly mac: string
  readonly sealedAtMs: number
  readonly key: KeyRef
}

/** What is appended; the chain adds the rest. */
export type NewRecord =
  | ({ readonly kind: 'start' } & StartMembers)
  | ({ readonly kind: 'intent' } & RequestMembers)
  | ({ readonly kind: 'outcome' } & OutcomeMembers)
  | ({ readonly kind: 'seal' } & SealMembers)
  | { readonly kind: 'mark' | 'stop' }

/** A record as it is read back. */
export type AuditRecord = NewRecord & { readonly seq: number; readonly time: string; readonly prev: string }

const strict = { additionalProperties: false } as const
const text = Type.String()
const count = Type.Integer({ minimum: 0 })
const sha256Hex = Type.String({ pattern: '^[0-9A-F]{64}$' })
const keyRef = Type.Object({ id: text, version: count, kcv: text }, strict)
const optional = Type.Optional

/** Every member of a record, in the order in which they are written; another one is not written, and not read. */
const MEMBERS = {
  seq: Type.Integer({ minimum: 1 }),
  time: Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$' }),
  kind: Type.Enum([...RECORD_KINDS], { type: 'string' }),
  requestId: optional(text),
  correlationId: optional(text),
  client: optional(text),
  operation: optional(text),
  keys: optional(Type.Array(keyRef)),
  translation: optional(Type.Object({ from: optional(text), to: optional(text) }, strict)),
  recipient: optional(text),
  card: optional(text),
  items: optional(count),
  rejected: optional(count),
  limited: optional(count),
  verified: optional(Type.Boolean()),
  code: optional(text),
  vaults: optional(Type.Array(Type.Object({ token: text, vault: count }, strict))),
  reason: optional(text),
  after: optional(Type.Object({ seq: count, hash: sha256Hex, file: text }, strict)),
  torn: optional(Type.Array(Type.Object({ file: text, bytes: count, hash: sha256Hex }, strict))),
  lost: optional(count),
  from: optional(count),
  to: optional(count),
  file: optional(text),
  hash: optional(sha256Hex),
  mac: optional(text),
  sealedAtMs: optional(count),
  key: optional(keyRef),
  prev: sha256Hex,
}
const NAMES = Object.keys(MEMBERS)

/** What a kind cannot be without. */
const NEEDED: Readonly<Partial<Record<RecordKind, readonly string[]>>> = {
  intent: ['requestId'],
  outcome: ['requestId', 'code'],
  seal: ['from', 'to', 'file', 'hash', 'mac', 'sealedAtMs', 'key'],
}

const hasForm = new Ajv({ strict: true }).compile<AuditRecord>(Type.Object(MEMBERS, strict))

/** The `prev` of the first record of all. */
export const NO_RECORD = '0'.repeat(64)

/** SHA-256 in hex, upper case. */
export function sha256(data: string | Uint8Array): string {
  return hash('sha256', data, 'hex').toUpperCase()
}

/**
 * The line of a record, without its line feed.
 *
 * @param record - with its members in the order in which they are written: sorting them for every request would cost more than all else.
 */
export function recordLine({ kind, ...members }: NewRecord, seq: number, time: string, prev: string): string {
  return JSON.stringify({ seq, time, kind, ...members, prev })
}

/** The record of a line; undefined if it is none, or is spelled in another way than records are written. */
export function parseRecord(line: string): AuditRecord | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (!hasForm(value)) return undefined
  const isWhole = NEEDED[value.kind]?.every((name) => name in value) ?? true
  return isWhole && spelled(value) === line ? value : undefined
}

function spelled(record: AuditRecord): string {
  const members = record as unknown as Record<string, unknown>
  const ordered: Record<string, unknown> = {}
  for (const name of NAMES) if (members[name] !== undefined) ordered[name] = members[name]
  return JSON.stringify(ordered)
}

/** The digest that a seal is made over: SHA-256 of file, first seq, last seq and the hash of the last record's line. */
export function sealDigest({ file, from, to, hash }: Pick<SealMembers, 'file' | 'from' | 'to' | 'hash'>): string {
  return sha256(`${file}\n${from}\n${to}\n${hash}\n`)
}
