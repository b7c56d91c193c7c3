/**
 * The gateway's part of the audit record: before a vault is asked, what is about to be done; before an answer is released, how it
 * ended. Requests of a known client that were refused are recorded by their outcome alone.
 */
import type { AuditTrail } from '../audit/trail.ts'
import type { RequestMembers } from '../audit/record.ts'
import { UnwritableError } from '../audit/writer.ts'
import type { CallTrace } from '../bridge/call-trace.ts'
import type { AnswerOf, Bridge, KeyRef, Operation, RequestOf } from '../bridge/contract.ts'
import type { GrantableOperation } from '../config/schema.ts'
import { ServiceError, type ErrorCode } from '../errors.ts'
import type { HashSource } from './hash-source.ts'
import type { LiveKeys } from './live-keys.ts'
import { contextOf, findContext, type HasRawRequest, type RequestContext } from './request-context.ts'

/** Asks a vault on behalf of a request. */
export type Ask = <O extends Operation>(
  request: HasRawRequest,
  operation: O,
  body: RequestOf<O>,
  /** Where the body has it packed. */
  pan?: string,
) => Promise<AnswerOf<O>>

/** Records how a request ended, before its answer is released. */
export type RecordOutcome = (request: HasRawRequest & { readonly body?: unknown }) => Promise<void>

/** What is not recorded: it touches no PIN, PRW or MAC. */
const UNRECORDED: readonly string[] = ['jwks', 'keys'] satisfies GrantableOperation[]

/** Refusals that say something of whoever asks; a malformed request, or a busy HSM, does not. */
const RECORDED_REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'ERR_KEY_USE_FORBIDDEN',
  'ERR_TRANSLATION_FORBIDDEN',
  'ERR_COUNTER_REPLAYED',
  'ERR_RATE_LIMITED',
])

/** Makes both; without a trail a vault is asked and nothing is recorded. */
export function createAudited(deps: {
  readonly bridge: Bridge
  readonly trail: AuditTrail | undefined
  readonly keys: LiveKeys
  readonly hash: HashSource
}): { readonly ask: Ask; readonly recordOutcome: RecordOutcome } {
  const { bridge, trail, hash } = deps
  const append = async (record: Parameters<AuditTrail['append']>[0]): Promise<void> => {
    try {
      await trail?.append(record)
    } catch (error) {
      if (!(error instanceof UnwritableError)) throw error
      throw new ServiceError('ERR_HSM_UNAVAILABLE', { reason: 'audit-unwritable' })
    }
  }
  const membersOf = async (context: RequestContext, body: Described, pan?: string): Promise<RequestMembers> => {
    const { requestId, correlationId, client, operation, keys } = context
    const { from, to, card, recipient, items } = body
    const cardPan = pan ?? card?.pan
    return {
      requestId,
      correlationId,
      client: client?.id ?? '',
      operation: operation ?? '',
      // A name that the catalogue does not know is the caller's text.
      keys: (keys ?? []).flatMap((named) => deps.keys.now.refOf(named) ?? []),
      translation: from || to ? { from: from?.format, to: to?.format } : undefined,
      recipient,
      card: cardPan === undefined ? undefined : (await hash()).card(cardPan),
      items: cardPan === undefined ? items : undefined,
    }
  }

  return {
    ask: async (request, operation, body, pan) => {
      const context = contextOf(request)
      if (trail !== undefined) {
        const members = await membersOf(context, body as Described, pan)
        await append({ kind: 'intent', ...members })
        context.audit = { members, vaults: [], usedKeys: [] }
      }
      const { audit, trace } = context
      const call = (traced?: CallTrace) => bridge.call(operation, body, (vault) => audit?.vaults.push(vault), traced)
      const answer = await (trace ? trace.follow(operation, call) : call())
      if (audit && 'verified' in answer && typeof answer.verified === 'boolean') audit.verified = answer.verified
      audit?.usedKeys.push(...usedKeysOf(answer))
      if (!('usedKeys' in answer)) return answer
      // For the record alone: no answer names them.
      const { usedKeys: _usedKeys, ...rest } = answer
      return rest as typeof answer
    },

    recordOutcome: async (request) => {
      const context = findContext(request)
      if (trail === undefined || context?.client === undefined) return
      const { audit, batch, outcome, operation } = context
      if (audit === undefined && !isRecordedRefusal(operation, outcome?.code)) return
      const members = audit?.members ?? (await membersOf(context, describedOf(request.body)))
      await append({
        kind: 'outcome',
        ...members,
        keys: audit === undefined ? members.keys : withUsed(members.keys, audit.usedKeys),
        rejected: batch?.rejected,
        limited: batch?.limited,
        verified: audit?.verified,
        code: outcome?.code ?? 'OK',
        vaults: audit && withoutRepeats(audit.vaults),
      })
    },
  }
}

/** What of a request, and of what a vault is asked for it, says what it is about. */
interface Described {
  readonly from?: { readonly format: string }
  readonly to?: { readonly format: string }
  readonly card?: { readonly pan: string }
  readonly recipient?: string
  readonly items?: number
}

/** Of a request that was refused: its body met the schema, or was not read. A recipient that nobody granted is the caller's text. */
function describedOf(body: unknown): Described {
  const { from, to, card } = (body ?? {}) as Described
  return { ...(from && { from }), ...(to && { to }), ...(card && { card }) }
}

/** What is noted of a request between its intent and its outcome. */
export interface AuditNotes {
  readonly members: RequestMembers
  readonly vaults: { token: string; vault: number }[]
  readonly usedKeys: KeyRef[]
  verified?: boolean
}

function isRecordedRefusal(operation: string | undefined, code: ErrorCode | undefined): boolean {
  if (operation === undefined || UNRECORDED.includes(operation)) return false
  return code !== undefined && RECORDED_REFUSALS.has(code)
}

/** The keys that an answer says it was made with. */
function usedKeysOf(answer: object): KeyRef[] {
  const { usedKeys = [], key, prw, mac } = answer as WithKeys
  // In a pin/set, PRW and MAC stand beside the block, each with its key; elsewhere they are text.
  return [...usedKeys, key, ...[prw, mac].map((made) => (typeof made === 'object' ? made.key : undefined))].filter(
    (ref) => ref !== undefined,
  )
}

interface WithKeys {
  readonly usedKeys?: readonly KeyRef[]
  readonly key?: KeyRef
  readonly prw?: string | { readonly key: KeyRef }
  readonly mac?: string | { readonly key: KeyRef }
}

/** The keys that a request names, in the versions that a vault says it used, and those that it used besides. */
export function withUsed(named: readonly KeyRef[], used: readonly KeyRef[]): KeyRef[] {
  const refs = new Map<string, KeyRef>()
  const usedOf = (ref: KeyRef): readonly KeyRef[] => used.filter(({ id }) => id === ref.id)
  for (const ref of [...named.flatMap((ref) => (usedOf(ref).length > 0 ? usedOf(ref) : [ref])), ...used]) {
    refs.set(`${ref.id} ${ref.version}`, ref)
  }
  return [...refs.values()]
}

/** A long batch goes to a vault many times. */
function withoutRepeats(vaults: AuditNotes['vaults']): AuditNotes['vaults'] {
  return [...new Map(vaults.map((each) => [each.vault, each])).values()]
}
