/** The HSM port with a stopwatch: how long the calls of a vault's operations take, and how many sessions they hold. */
import { HSM_CALL_BOUNDS_S, HSM_CALLS, type HsmCall, type StatusReport } from '../bridge/contract.ts'
import type { KeyEntry } from '../config/schema.ts'
import { ServiceError, type ErrorCode } from '../errors.ts'
import type { CekSource, EncipheredContent, Hsm } from '../hsm/hsm.ts'
import type { MacAlgorithm } from '../pin-change/profile.ts'
import type { SecretScope } from '../secret.ts'

type CallTally = StatusReport['calls'][number]
type Outcome = CallTally['outcome']

/** A call under way. */
interface UnderWay {
  readonly call: HsmCall
  readonly key: KeyEntry | undefined
  readonly calledMs: number
  startedMs: number
}

/** A call that has ended, on the clock of performance.now(): when it was asked for, when a session was free for it, and when it ended. */
export interface EndedCall extends UnderWay {
  readonly endedMs: number
  readonly outcome: Outcome
}

/** What all that looks on counts together. */
interface Counts {
  readonly waiting: UnderWay[]
  underWay: number
  /** The most calls under way at one time since the last report. */
  most: number
  tallies: ReturnType<typeof emptyTallies>
}

/** Any other code is an answer: a JWE whose tag is wrong says nothing about the HSM. */
const HSM_FAILURES: readonly ErrorCode[] = ['ERR_HSM_UNAVAILABLE', 'ERR_HSM_BUSY', 'ERR_INTERNAL']

/**
 * Passes every call on and notes how long it took and how it ended.
 *
 * A call owns one session at a time, and sessions go to those who wait in the order of their coming. So how many are in use is
 * how many calls are under way, and the clock of a call that has to wait starts when another ends: what is counted is the HSM's
 * time. It is near enough where a call takes several sessions one after the other, as a composed CMAC and a confirmed refusal do;
 * health checks are not counted.
 */
export class MeasuredHsm implements Hsm {
  readonly #hsm: Hsm
  readonly #sessions: number
  readonly #counts: Counts
  readonly #onEnd: ((call: EndedCall) => void) | undefined

  constructor(hsm: Hsm, sessions: number, counts?: Counts, onEnd?: (call: EndedCall) => void) {
    this.#hsm = hsm
    this.#sessions = sessions
    this.#counts = counts ?? { waiting: [], underWay: 0, most: 0, tallies: emptyTallies() }
    this.#onEnd = onEnd
  }

  /** The same HSM for one request, counted with all others; each call that has ended is told besides. */
  watched(onEnd: (call: EndedCall) => void): MeasuredHsm {
    return new MeasuredHsm(this.#hsm, this.#sessions, this.#counts, onEnd)
  }

  get sessionObjects(): number {
    return this.#hsm.sessionObjects
  }

  /** What has been seen since this was last asked. */
  takeReport(): Pick<StatusReport, 'sessions' | 'calls'> {
    const total = this.#sessions
    const counts = this.#counts
    const sessions = { total, inUse: Math.min(counts.most, total), waiting: Math.max(0, counts.most - total) }
    const calls = Object.values(counts.tallies)
      .flatMap(({ ok, error }) => [ok, error])
      .filter(({ counts }) => counts.some((count) => count > 0))
    counts.most = counts.underWay
    counts.tallies = emptyTallies()
    return { sessions, calls }
  }

  openContent(key: KeyEntry, source: CekSource, content: EncipheredContent, secrets: SecretScope): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('openContent', startedMs, this.#hsm.openContent(key, source, content, secrets), key)
  }

  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('decipherBlocks', startedMs, this.#hsm.decipherBlocks(key, blocks, secrets), key)
  }

  encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('encipherBlocks', startedMs, this.#hsm.encipherBlocks(key, clearBlocks), key)
  }

  generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('generateMac', startedMs, this.#hsm.generateMac(key, algorithm, message), key)
  }

  verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean> {
    const startedMs = performance.now()
    return this.#watch('verifyMac', startedMs, this.#hsm.verifyMac(key, algorithm, message, mac), key)
  }

  sign(key: KeyEntry, message: Uint8Array): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('sign', startedMs, this.#hsm.sign(key, message), key)
  }

  /** Not measured: no vault is given a key that wraps. */
  wrapKnownKey(key: KeyEntry): Promise<Buffer> {
    return this.#hsm.wrapKnownKey(key)
  }

  fillRandom(target: Buffer): Promise<void> {
    const startedMs = performance.now()
    return this.#watch('fillRandom', startedMs, this.#hsm.fillRandom(target))
  }

  /** Looks on beside the caller, who gets the HSM's own promise and waits no longer for being watched. */
  #watch<T>(call: HsmCall, startedMs: number, result: Promise<T>, key?: KeyEntry): Promise<T> {
    const underWay = { call, key, calledMs: startedMs, startedMs }
    const counts = this.#counts
    if (++counts.underWay > counts.most) counts.most = counts.underWay
    if (counts.underWay > this.#sessions) counts.waiting.push(underWay)
    result.then(
      () => this.#end(underWay, 'ok'),
      (error: unknown) => {
        const answered = error instanceof ServiceError && !HSM_FAILURES.includes(error.code)
        this.#end(underWay, answered ? 'ok' : 'error')
      },
    )
    return result
  }

  #end(underWay: UnderWay, outcome: Outcome): void {
    const { call, startedMs } = underWay
    const nowMs = performance.now()
    const counts = this.#counts
    counts.underWay--
    const next = counts.waiting.shift()
    if (next) next.startedMs = nowMs
    // It may be the next one itself: then it has not waited.
    this.#onEnd?.({ ...underWay, startedMs, endedMs: nowMs, outcome })
    const tally = counts.tallies[call][outcome]
    const seconds = (nowMs - startedMs) / 1000
    let place = 0
    while (place < HSM_CALL_BOUNDS_S.length && seconds > HSM_CALL_BOUNDS_S[place]!) place++
    tally.counts[place]!++
    tally.seconds += seconds
  }
}

function emptyTallies(): Record<HsmCall, Record<Outcome, CallTally>> {
  const empty = (call: HsmCall, outcome: Outcome): CallTally => ({
    call,
    outcome,
    counts: new Array<number>(HSM_CALL_BOUNDS_S.length + 1).fill(0),
    seconds: 0,
  })
  const of = (call: HsmCall) => [call, { ok: empty(call, 'ok'), error: empty(call, 'error') }] as const
  return Object.fromEntries(HSM_CALLS.map(of)) as Record<HsmCall, Record<Outcome, CallTally>>
}
