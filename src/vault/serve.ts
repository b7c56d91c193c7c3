/** Answers the bridge: each request is checked against the contract's schema, then done, then answered or refused by code (M-2). */
import { Ajv, type ValidateFunction } from 'ajv'
import {
  REQUESTS,
  type Answers,
  type Operation,
  type PackedBlocks,
  type ReplyMessage,
  type RequestMessage,
  type RequestOf,
} from '../bridge/contract.ts'
import { ServiceError } from '../errors.ts'
import { CallNotes } from './call-notes.ts'
import type { VaultContext } from './context.ts'
import type { MeasuredHsm } from './measured-hsm.ts'
import { deriveHashKey } from './operations/derive-hash-key.ts'
import { generateMac } from './operations/generate-mac.ts'
import { generatePrw } from './operations/generate-prw.ts'
import { makeD1Assertion } from './operations/make-d1-assertion.ts'
import { openData } from './operations/open-data.ts'
import { openSetPin } from './operations/open-set-pin.ts'
import { sealAudit } from './operations/seal-audit.ts'
import { sealData } from './operations/seal-data.ts'
import { sealGetPin } from './operations/seal-get-pin.ts'
import { translatePinBlocks } from './operations/translate-pin-blocks.ts'
import { verifyMac } from './operations/verify-mac.ts'
import { verifyPrw } from './operations/verify-prw.ts'

const OPERATIONS: { [O in Operation]: (context: VaultContext, request: RequestOf<O>) => Promise<Answers[O]> } = {
  openSetPin,
  sealGetPin,
  translatePinBlocks,
  generatePrw,
  verifyPrw,
  generateMac,
  verifyMac,
  makeD1Assertion,
  sealData,
  openData,
  sealAudit,
  deriveHashKey,
}

/** Answers one message of the gateway; undefined if it is no request at all, which ends the connection. */
export type Answerer = (message: unknown, packed: Buffer) => Promise<Reply | undefined>

/** What goes back: JSON, and the packed blocks behind it if the operation has any. */
export interface Reply {
  readonly message: ReplyMessage
  readonly packed?: Buffer | undefined
}

const ALL_OPERATIONS = Object.keys(REQUESTS) as Operation[]

/**
 * Makes the answerer of a vault; it trusts nothing that the gateway has checked.
 *
 * @param operations - those that it answers. Their checks are compiled here, since nothing is compiled once it has started.
 * @param measured - the context's HSM, for requests that ask how long they took; without it none is told.
 */
export function createAnswerer(
  context: VaultContext,
  operations: readonly Operation[] = ALL_OPERATIONS,
  measured?: Pick<MeasuredHsm, 'watched'>,
): Answerer {
  const ajv = new Ajv({ strict: true, allErrors: false })
  const checks = new Map<string, ValidateFunction>(operations.map((name) => [name, ajv.compile(REQUESTS[name])]))

  return async (message, packed) => {
    const { id, operation, body, trace } = (message ?? {}) as Partial<Record<keyof RequestMessage, unknown>>
    if (typeof id !== 'number' || typeof operation !== 'string') return undefined
    const notes = trace === true && measured ? new CallNotes() : undefined
    const ownContext = notes && measured ? { ...context, hsm: measured.watched(notes.add) } : context
    const check = checks.get(operation)
    try {
      const hasStrayBytes = packed.length > 0 && operation !== 'translatePinBlocks'
      if (check?.(body) !== true || hasStrayBytes) throw new ServiceError('ERR_REQUEST_INVALID')
      const run = OPERATIONS[operation as Operation] as (
        context: VaultContext,
        body: unknown,
      ) => Promise<Answers[Operation]>
      const { packed: packedAnswer, ...json } = (await run(ownContext, {
        ...(body as object),
        packed,
      })) as Partial<PackedBlocks>
      return { message: { id, answer: json, ...notes?.taken() }, packed: packedAnswer }
    } catch (error) {
      // A foreign error's text may hold anything: only the class of it goes on.
      const { code, detail } = error instanceof ServiceError ? error : new ServiceError('ERR_INTERNAL')
      return { message: { id, code, detail, ...notes?.taken() } }
    }
  }
}
