/** One request that is traced: where it belongs, and the calls to vaults that were made for it. */
import { randomBytes } from 'node:crypto'
import type { CallTrace } from '../../bridge/call-trace.ts'
import type { Operation } from '../../bridge/contract.ts'
import { monotonicMs } from '../../bridge/monotonic-clock.ts'
import { ServiceError, type ErrorCode } from '../../errors.ts'
import { traceparentOf } from '../correlation.ts'

/** A call to the vaults, from the queue to its answer. */
export interface BridgeCall extends CallTrace {
  readonly operation: Operation
  readonly startedMs: number
  endedMs?: number
  code?: ErrorCode
  /** The PKCS#11 return value's name. */
  ckr?: string | undefined
}

/** A request's place in its trace, and its calls. */
export class RequestTrace {
  readonly traceId: string
  readonly spanId = newSpanId()
  /** The span of the caller's; undefined where the trace begins here. */
  readonly parentSpanId: string | undefined
  readonly startedMs: number
  readonly calls: BridgeCall[] = []
  #underWay = 0
  #onSettled: (() => void) | undefined

  /**
   * @param parent - the caller's traceparent; without it the trace begins here.
   * @param startedAtMs - when the request came, on the clock of performance.now().
   */
  constructor(parent: string | undefined, startedAtMs: number) {
    this.startedMs = monotonicMs(startedAtMs)
    const { traceId, spanId } = (parent === undefined ? undefined : traceparentOf(parent)) ?? {}
    this.traceId = traceId ?? randomBytes(16).toString('hex')
    this.parentSpanId = spanId
  }

  /** Notes a call that `ask` makes, and how it ends. */
  async follow<T>(operation: Operation, ask: (call: CallTrace) => Promise<T>): Promise<T> {
    const { traceId } = this
    const startedMs = monotonicMs()
    const call: BridgeCall = { operation, traceId, spanId: newSpanId(), startedMs, messages: [], messagesMissing: 0 }
    this.calls.push(call)
    this.#underWay++
    try {
      return await ask(call)
    } catch (error) {
      const { code, detail } = error instanceof ServiceError ? error : new ServiceError('ERR_INTERNAL')
      call.code = code
      call.ckr = detail?.ckr
      throw error
    } finally {
      call.endedMs = monotonicMs()
      this.#underWay--
      if (this.#underWay === 0) this.#onSettled?.()
    }
  }

  /** Calls `handle` once no call is under way: a client may leave before its vault has answered. */
  whenSettled(handle: () => void): void {
    if (this.#underWay === 0) handle()
    else this.#onSettled = handle
  }
}

/** An id that no other span has. */
export function newSpanId(): string {
  return randomBytes(8).toString('hex')
}
