/**
 * What is noted of a call that is traced, while the pool has it and a vault works on it: names, counts and times, nothing of its
 * body. Times are on the machine's monotonic clock.
 */
import { Ajv } from 'ajv'
import type { ErrorCode } from '../errors.ts'
import { VaultTimings } from './contract.ts'

/** The most messages that are noted of one call; of a longer batch the others are counted. */
const MOST_MESSAGES = 16

/** A call and what became of it; `traceId` and `spanId` are those of the span that stands for it. */
export interface CallTrace {
  readonly traceId: string
  readonly spanId: string
  /** How long it waited until the first of it went to a vault. */
  queueWaitMs?: number
  readonly messages: MessageTrace[]
  messagesMissing: number
}

/** A message that went to a vault; it may carry several calls, or a part of one. */
export interface MessageTrace {
  readonly vault: number
  readonly token: string
  readonly givenMs: number
  /** How many calls it carries, and how many items of theirs. */
  readonly requests: number
  readonly items: number
  /** The calls among them that are traced. */
  readonly calls: readonly CallTrace[]
  /** When it was answered, or given up; undefined until then. */
  endedMs?: number
  /** Why it was refused; undefined if it was not. */
  code?: ErrorCode
  /** What the vault measured; undefined if it ended before it could say. */
  timings?: VaultTimings
}

/** Notes a message of a call; past the bound it is only counted. */
export function noteMessage(call: CallTrace, message: MessageTrace): void {
  if (call.messages.length < MOST_MESSAGES) call.messages.push(message)
  else call.messagesMissing++
}

const hasForm = new Ajv({ strict: true }).compile<VaultTimings>(VaultTimings)

/** What a vault measured, if it has the form of the contract; a measurement is worth no refused answer, so another form is none. */
export function timingsIn(trace: unknown): VaultTimings | undefined {
  return hasForm(trace) ? trace : undefined
}
