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
  startedMs: number
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
  readonly #waiting: UnderWay[] = []
  #underWay = 0
  /** The most calls under way at one time since the last report. */
  #most = 0
  #tallies = emptyTallies()

  constructor(hsm: Hsm, sessions: number) {
    this.#hsm = hsm
    this.#sessions = sessions
  }

  get sessionObjects(): number {
    return this.#hsm.sessionObjects
  }

  /** What has been seen since this was last asked. */
  takeReport(): Pick<StatusReport, 'sessions' | 'calls'> {
    const total = this.#sessions
    const sessions = { total, inUse: Math.min(this.#most, total), waiting: Math.max(0, this.#most - total) }
    const calls = Object.values(this.#tallies)
      .flatMap(({ ok, error }) => [ok, error])
      .filter(({ counts }) => counts.some((count) => count > 0))
    this.#most = this.#underWay
    this.#tallies = emptyTallies()
    return { sessions, calls }
  }

  openContent(key: KeyEntry, source: CekSource, content: EncipheredContent, secrets: SecretScope): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('openContent', startedMs, this.#hsm.openContent(key, source, content, secrets))
  }

  decipherBlocks(key: KeyEntry, blocks: Buffer, secrets: SecretScope): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('decipherBlocks', startedMs, this.#hsm.decipherBlocks(key, blocks, secrets))
  }

  encipherBlocks(key: KeyEntry, clearBlocks: Buffer): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('encipherBlocks', startedMs, this.#hsm.encipherBlocks(key, clearBlocks))
  }

  generateMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer): Promise<Buffer> {
    const startedMs = performance.now()
    return this.#watch('generateMac', startedMs, this.#hsm.generateMac(key, algorithm, message))
  }

  verifyMac(key: KeyEntry, algorithm: MacAlgorithm, message: Buffer, mac: Buffer): Promise<boolean> {
    const startedMs = performance.now()
    return this.#watch('verifyMac', startedMs, this.#hsm.verifyMac(key, algorithm, message, mac))
  }

  /** Not measured: no operation of a vault signs, and no vault is given a key that does. */
  sign(key: KeyEntry, message: Uint8Array): Promise<Buffer> {
    return this.#hsm.sign(key, message)
  }

  fillRandom(target: Buffer): Promise<void> {
    const startedMs = performance.now()
    return this.#watch('fillRandom', startedMs, this.#hsm.fillRandom(target))
  }

  /** Looks on beside the caller, who gets the HSM's own promise and waits no longer for being watched. */
  #watch<T>(call: HsmCall, startedMs: number, result: Promise<T>): Promise<T> {
    const underWay = { call, startedMs }
    if (++this.#underWay > this.#most) this.#most = this.#underWay
    if (this.#underWay > this.#sessions) this.#waiting.push(underWay)
    result.then(
      () => this.#end(underWay, 'ok'),
      (error: unknown) => {
        const answered = error instanceof ServiceError && !HSM_FAILURES.includes(error.code)
        this.#end(underWay, answered ? 'ok' : 'error')
      },
    )
    return result
  }

  #end({ call, startedMs }: UnderWay, outcome: Outcome): void {
    const nowMs = performance.now()
    this.#underWay--
    const next = this.#waiting.shift()
    if (next) next.startedMs = nowMs
    const tally = this.#tallies[call][outcome]
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
