/**
 * The gateway's side of the bridge: queue, deadlines and credit are kept here, where a hung HSM call cannot stop them (M-24).
 */
import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { isErrorCode, ServiceError, type ErrorCode, type ErrorDetail } from '../errors.ts'
import { itemsOf, requestOf, resolveBundle, type Bundle, type Call, type Lane, type Queue } from './bundle.ts'
import { noteMessage, timingsIn, type CallTrace, type MessageTrace } from './call-trace.ts'
import { Channel } from './channel.ts'
import { loadOf, messagesOf, type Vault } from './connected-vault.ts'
import type {
  AnswerOf,
  Bridge,
  Hello,
  OnGiven,
  Operation,
  PackedBlocks,
  PublicJwk,
  ReplyMessage,
  RequestOf,
  StatusMessage,
  StatusReport,
} from './contract.ts'
import { monotonicMs } from './monotonic-clock.ts'
import { isStatusReport } from './status-check.ts'
import { MessageSizes, VaultPace } from './vault-pace.ts'
import { WaitingCalls } from './waiting-calls.ts'

/** How long a connection may take to say who it is: a vault is connected first, and then opens its token. */
const HELLO_MS = 35_000

/** How many messages of one lane a vault holds: one that it works on and one that is there when it is done. */
const LANE_CREDIT = 2

/** For so long after a refusal the pool counts as overloaded. */
const OVERLOADED_MS = 1_000

/** Where vaults are left, another try may go well at once. */
const RETRY_ELSEWHERE_S = 1

/** The limits of the pool. */
export interface PoolLimits {
  /**
   * How long a request may wait for a vault, and then how long the vault may take. What would wait for more than half of
   * it, by the pace of the vaults, is refused at once, so that what is accepted is answered within it.
   */
  readonly hsmMs: number
  /** How many requests may wait for a vault. */
  readonly queue: number
  /** How many messages a vault holds; more than one request may share one. */
  readonly inFlightPerVault: number
}

/** Whom the pool tells what. */
export interface PoolEvents {
  onReady(vault: number): void
  onOverdue(vault: number): void
  /** A call goes to a vault, after so long in the queue. */
  onGive?(waitedMs: number): void
  /** A vault of this token has reported; `calls` are new since its last report. */
  onStatus?(token: string, report: StatusReport): void
}

/** One vault as operators see it. */
export interface VaultStatus {
  readonly id: number
  /** The name of its token. */
  readonly token: string
  readonly state: 'ready' | 'draining'
  /** How many requests it works on, however few its messages. */
  readonly inFlight: number
  /** Since every key gave its known answer; a vault that is not heard of grows old. */
  readonly selfTestAgeMs: number
  /** Undefined until its first report. */
  readonly sessions: StatusReport['sessions'] | undefined
}

/** All vaults that are connected, and the requests that wait for one. */
export class VaultPool implements Bridge {
  readonly #limits: PoolLimits
  readonly #events: PoolEvents
  readonly #expected = new Map<number, { readonly token: string; readonly secret: Buffer }>()
  readonly #vaults = new Map<number, Vault>()
  readonly #waiting = new WaitingCalls()
  readonly #sizes: MessageSizes
  /** When a vault last answered, and when a call was last refused because they were busy. */
  #answeredMs = -Infinity
  #refusedMs = -Infinity
  #dispatchIsDue = false
  #nextMessage = 1

  constructor(limits: PoolLimits, events: PoolEvents) {
    this.#limits = limits
    this.#events = events
    this.#sizes = new MessageSizes(limits.hsmMs)
  }

  /** Announces a vault of a token that will connect with this secret; the secret opens one connection and no second. */
  admit(vault: number, secret: string, token: string): void {
    this.#expected.set(vault, { token, secret: Buffer.from(secret, 'hex') })
  }

  /** Takes a new connection: the first message must be the hello of an announced vault. */
  connect(socket: Socket): void {
    const impatience = setTimeout(() => socket.destroy(), HELLO_MS)
    let vault: Vault | undefined
    const channel = new Channel(socket, (message, packed) => {
      if (vault !== undefined) {
        const reply = message as ReplyMessage | StatusMessage
        if ('status' in reply) this.#hear(vault, reply.status)
        else this.#settle(vault, reply, packed)
        return
      }
      const hello = this.#checkHello(message)
      if (hello === undefined) {
        channel.destroy()
        return
      }
      clearTimeout(impatience)
      const { token, publicKeys } = hello
      vault = {
        id: hello.vault,
        token,
        channel,
        publicKeys,
        inFlight: new Map(),
        pace: new VaultPace(),
        draining: false,
        givenLast: 0,
        selfTestPassedMs: performance.now(),
        sessions: undefined,
      }
      this.#vaults.set(vault.id, vault)
      this.#events.onReady(vault.id)
      this.#dispatchSoon()
    })
    socket.on('close', () => {
      clearTimeout(impatience)
      if (vault !== undefined) this.#lose(vault)
    })
  }

  call<O extends Operation>(
    operation: O,
    body: RequestOf<O>,
    onGiven?: OnGiven,
    trace?: CallTrace,
  ): Promise<AnswerOf<O>> {
    if (!this.ready) return Promise.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    // What can go goes before anybody is refused.
    if (this.#isFull()) this.#dispatch()
    if (this.#isFull()) return Promise.reject(this.#busy())
    return new Promise<AnswerOf<O>>((resolve, reject) => {
      const queuedMs = performance.now()
      const call: Call = {
        operation,
        body,
        resolve: resolve as Call['resolve'],
        reject,
        onGiven,
        trace,
        items: itemsOf({ operation, body }),
        queuedMs,
        waitingSinceMs: queuedMs,
        given: 0,
        queue: undefined,
        deadline: undefined,
        again: () => this.#again(call),
      }
      this.#wait(call)
    })
  }

  /** Gives a vault nothing more; when it has answered what it holds, its channel ends, and it with it. */
  drain(id: number): void {
    this.#expected.delete(id)
    const vault = this.#vaults.get(id)
    if (vault === undefined) return
    vault.draining = true
    if (vault.inFlight.size === 0) vault.channel.end()
  }

  /** Takes a vault for hung: it is lost, and overdue. */
  giveUp(id: number): void {
    const vault = this.#vaults.get(id)
    if (vault === undefined) return
    this.#lose(vault)
    this.#events.onOverdue(id)
  }

  /** Whether any vault takes requests. */
  get ready(): boolean {
    for (const vault of this.#vaults.values()) if (!vault.draining) return true
    return false
  }

  /** How many requests wait for a vault. */
  get queued(): number {
    return this.#waiting.calls
  }

  /** How long a call that came now would wait for a vault, by the pace of the vaults; no less than the next one has waited. */
  get expectedWaitMs(): number {
    const { waitingSinceMs } = this.#waiting
    if (waitingSinceMs === undefined) return 0
    const nowMs = performance.now()
    let messagesPerMs = 0
    for (const vault of this.#vaults.values()) {
      if (vault.draining) continue
      if (this.#hasCredit(vault)) return 0
      messagesPerMs += vault.pace.messagesPerMs(nowMs)
    }
    return Math.max(this.#waiting.queues.size / messagesPerMs, nowMs - waitingSinceMs)
  }

  /** Whether calls are being refused because the vaults are busy. */
  get overloaded(): boolean {
    return performance.now() - this.#refusedMs < OVERLOADED_MS
  }

  /** Every connected vault. */
  get vaults(): VaultStatus[] {
    const nowMs = performance.now()
    return [...this.#vaults.values()].map(({ id, token, draining, inFlight, selfTestPassedMs, sessions }) => ({
      id,
      token,
      state: draining ? 'draining' : 'ready',
      inFlight: [...inFlight.values()].reduce((requests, { bundle }) => requests + bundle.parts.length, 0),
      selfTestAgeMs: nowMs - selfTestPassedMs,
      sessions,
    }))
  }

  /** The public keys that the newest vault found in the token. */
  get publicKeys(): readonly PublicJwk[] {
    return [...this.#vaults.values()].at(-1)?.publicKeys ?? []
  }

  #checkHello(message: unknown): (Hello & { readonly token: string }) | undefined {
    const hello = message as Partial<Hello> | null
    if (typeof hello?.vault !== 'number' || typeof hello.secret !== 'string' || !Array.isArray(hello.publicKeys)) {
      return undefined
    }
    const expected = this.#expected.get(hello.vault)
    const given = Buffer.from(hello.secret, 'hex')
    if (expected?.secret.length !== given.length || !timingSafeEqual(expected.secret, given)) return undefined
    this.#expected.delete(hello.vault)
    return { ...(hello as Hello), token: expected.token }
  }

  #isFull(): boolean {
    return this.#waiting.calls >= this.#limits.queue || this.expectedWaitMs > this.#limits.hsmMs / 2
  }

  /** Tells a caller to come back when what waits now will have gone. */
  #busy(): ServiceError {
    this.#refusedMs = performance.now()
    const retryAfterS = Math.ceil(Math.min(this.expectedWaitMs, this.#limits.hsmMs) / 1000)
    return new ServiceError('ERR_HSM_BUSY', undefined, Math.max(1, retryAfterS))
  }

  #wait(call: Call): void {
    call.deadline = setTimeout(() => this.#expire(call), this.#limits.hsmMs)
    this.#waiting.add(call)
    this.#dispatchSoon()
  }

  /**
   * Gives a translation once more from its first item, to the newest vault alone: that one knows the newest versions. It may be
   * done twice, as nothing is changed by it; and no caller is told what came of it before.
   */
  #again(call: Call): void {
    if (!this.ready) {
      this.#refuse(call, 'ERR_HSM_UNAVAILABLE')
      return
    }
    call.given = 0
    call.parts = undefined
    call.isAgain = true
    call.waitingSinceMs = performance.now()
    this.#wait(call)
  }

  /** A call has waited too long: for vaults that are busy, or for ones that have said nothing since it came. */
  #expire(call: Call): void {
    if (this.#answeredMs < call.waitingSinceMs) this.#refuse(call, 'ERR_HSM_UNAVAILABLE')
    else {
      this.#waiting.remove(call)
      call.reject(this.#busy())
    }
  }

  #refuse(call: Call, code: ErrorCode, detail?: ErrorDetail, retryAfterS?: number): void {
    this.#waiting.remove(call)
    call.reject(new ServiceError(code, detail, retryAfterS))
  }

  /** At the end of this turn of the event loop, when every request and every reply that has arrived was read. */
  #dispatchSoon(): void {
    if (this.#dispatchIsDue) return
    this.#dispatchIsDue = true
    setImmediate(() => {
      this.#dispatchIsDue = false
      this.#dispatch()
    })
  }

  /** Gives what waits to the vaults that have the least before them. */
  #dispatch(): void {
    for (const queue of this.#waiting.queues) {
      const serving = [...this.#vaults.values()].filter(({ draining }) => !draining)
      const free = serving.filter((vault) => this.#hasCredit(vault))
      if (free.length === 0) return
      const vault = this.#freest(queue.isAgain ? free.filter((each) => each === serving.at(-1)) : free, queue.lane)
      if (vault === undefined) continue
      this.#give(vault, queue)
    }
  }

  #hasCredit({ draining, inFlight }: Vault): boolean {
    return !draining && inFlight.size < this.#limits.inFlightPerVault
  }

  /** Of these vaults the one that has the least before it; between equals, the one whose turn was longest ago. */
  #freest(vaults: readonly Vault[], lane: Lane | undefined): Vault | undefined {
    const nowMs = performance.now()
    let freest: Vault | undefined
    let least = Infinity
    for (const vault of vaults) {
      if (lane !== undefined && messagesOf(vault, lane) >= LANE_CREDIT) continue
      const load = loadOf(vault, nowMs)
      if (freest !== undefined && (load > least || (load === least && vault.givenLast >= freest.givenLast))) continue
      freest = vault
      least = load
    }
    return freest
  }

  /** From here on the clock is the vault's: time in the queue must not make a healthy vault look hung. */
  #give(vault: Vault, queue: Queue): void {
    const givenMs = performance.now()
    const bundle = this.#waiting.take(queue, this.#sizes.of(queue.lane), givenMs)
    for (const { call, start } of bundle.parts) {
      if (start === 0) this.#events.onGive?.(givenMs - call.queuedMs)
      call.onGiven?.({ token: vault.token, vault: vault.id })
    }
    const deadline = setTimeout(() => {
      this.#sizes.giveUp(bundle.lane, bundle.items)
      this.giveUp(vault.id)
    }, this.#limits.hsmMs)
    const id = this.#nextMessage++
    const trace = traceOf(vault, bundle, givenMs)
    vault.inFlight.set(id, { bundle, givenMs, deadline, trace })
    vault.pace.give(givenMs)
    vault.givenLast = id
    const { operation, body } = requestOf(bundle)
    const { packed, ...json } = body as Partial<PackedBlocks>
    vault.channel.send({ id, operation, body: json, ...(trace && { trace: true }) }, packed)
  }

  #settle(vault: Vault, reply: ReplyMessage, packed: Buffer): void {
    const flight = vault.inFlight.get(reply.id)
    // The caller of an unknown id was answered when its deadline passed.
    if (flight === undefined) return
    const { bundle, givenMs, deadline, trace } = flight
    if (trace) endTrace(trace, 'code' in reply ? reply.code : undefined, reply.trace)
    // What cannot be read ends the channel: until it has been read, the flight is one that a lost vault holds.
    if (!('answer' in reply))
      this.#refuseAll(bundle, isErrorCode(reply.code) ? reply.code : 'ERR_INTERNAL', reply.detail)
    else if (!resolveBundle(bundle, reply.answer, packed)) this.#refuseAll(bundle, 'ERR_INTERNAL')
    vault.inFlight.delete(reply.id)
    clearTimeout(deadline)
    this.#answeredMs = performance.now()
    vault.pace.answer(givenMs, this.#answeredMs)
    this.#sizes.learn(bundle.lane, bundle.items, this.#answeredMs - givenMs)
    if (vault.draining && vault.inFlight.size === 0) vault.channel.end()
    this.#dispatchSoon()
  }

  #refuseAll({ parts }: Bundle, code: ErrorCode, detail?: ErrorDetail, retryAfterS?: number): void {
    for (const { call } of parts) this.#refuse(call, code, detail, retryAfterS)
  }

  /** What a vault says of itself; one that says it in another form is not to be believed in anything. */
  #hear(vault: Vault, report: unknown): void {
    if (!isStatusReport(report)) {
      vault.channel.destroy()
      return
    }
    vault.selfTestPassedMs = performance.now() - report.selfTestAgeMs
    vault.sessions = report.sessions
    this.#events.onStatus?.(vault.token, report)
  }

  /** Everything that a lost vault held is answered 503: whether it was done is not known, so it is not done again. */
  #lose(vault: Vault): void {
    if (this.#vaults.get(vault.id) === vault) this.#vaults.delete(vault.id)
    vault.channel.destroy()
    const retryAfterS = this.ready ? RETRY_ELSEWHERE_S : undefined
    for (const { bundle, deadline, trace } of vault.inFlight.values()) {
      clearTimeout(deadline)
      if (trace) endTrace(trace, 'ERR_HSM_UNAVAILABLE')
      this.#refuseAll(bundle, 'ERR_HSM_UNAVAILABLE', undefined, retryAfterS)
    }
    vault.inFlight.clear()
    if (this.ready) return
    for (const { calls } of this.#waiting.queues) for (const call of calls) this.#refuse(call, 'ERR_HSM_UNAVAILABLE')
  }
}

/** Notes a message with every call in it that is traced; undefined if none is. */
function traceOf({ id, token }: Vault, { parts, items }: Bundle, nowMs: number): MessageTrace | undefined {
  const calls = parts.flatMap(({ call }) => call.trace ?? [])
  if (calls.length === 0) return undefined
  const message = { vault: id, token, givenMs: monotonicMs(nowMs), requests: parts.length, items, calls }
  for (const { call, start } of parts) {
    if (call.trace === undefined) continue
    if (start === 0) call.trace.queueWaitMs ??= nowMs - call.queuedMs
    noteMessage(call.trace, message)
  }
  return message
}

/** What a vault says is looked at, as everything that it says; what it was given without asking for times has none. */
function endTrace(trace: MessageTrace, code: unknown, timings?: unknown): void {
  trace.endedMs = monotonicMs()
  if (code !== undefined) trace.code = isErrorCode(code) ? code : 'ERR_INTERNAL'
  const measured = timingsIn(timings)
  if (measured) trace.timings = measured
}
