/**
 * The gateway's side of the bridge: queue, deadlines and credit are kept here, where a hung HSM call cannot stop them.
 */
import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { isErrorCode, ServiceError } from '../errors.ts'
import {
  addCall,
  hasRoom,
  laneOf,
  rejectBundle,
  removeCall,
  requestOf,
  resolveBundle,
  type Bundle,
  type Call,
} from './bundle.ts'
import { Channel } from './channel.ts'
import type {
  AnswerOf,
  Bridge,
  Hello,
  Operation,
  PackedBlocks,
  PublicJwk,
  ReplyMessage,
  RequestOf,
} from './contract.ts'

/** How long a connection may take to say who it is. */
const HELLO_MS = 5_000

/** How many messages of one lane a vault holds: one that it works on and one that is there when it is done. */
const LANE_CREDIT = 2

/** The limits of the pool. */
export interface PoolLimits {
  /** How long a request may wait for a vault, and then how long the vault may take. */
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
}

/** One vault as operators see it. */
export interface VaultStatus {
  readonly id: number
  readonly state: 'ready' | 'draining'
  /** How many requests it works on, however few its messages. */
  readonly inFlight: number
}

/** A message under way at a vault. */
interface Flight {
  readonly bundle: Bundle
  readonly deadline: NodeJS.Timeout
}

interface Vault {
  readonly id: number
  readonly channel: Channel
  readonly publicKeys: readonly PublicJwk[]
  readonly inFlight: Map<number, Flight>
  draining: boolean
}

/** All vaults that are connected, and the requests that wait for one. */
export class VaultPool implements Bridge {
  readonly #limits: PoolLimits
  readonly #events: PoolEvents
  readonly #expected = new Map<number, Buffer>()
  readonly #vaults = new Map<number, Vault>()
  readonly #waiting = new Set<Bundle>()
  /** Of each lane the waiting bundle that takes more calls. */
  readonly #open = new Map<string, Bundle>()
  #queued = 0
  #dispatchIsDue = false
  #nextCall = 1

  constructor(limits: PoolLimits, events: PoolEvents) {
    this.#limits = limits
    this.#events = events
  }

  /** Announces a vault that will connect with this secret; the secret opens one connection and no second. */
  admit(vault: number, secret: string): void {
    this.#expected.set(vault, Buffer.from(secret, 'hex'))
  }

  /** Takes a new connection: the first message must be the hello of an announced vault. */
  connect(socket: Socket): void {
    const impatience = setTimeout(() => socket.destroy(), HELLO_MS)
    let vault: Vault | undefined
    const channel = new Channel(socket, (message, packed) => {
      if (vault !== undefined) {
        this.#settle(vault, message as ReplyMessage, packed)
        return
      }
      const hello = this.#checkHello(message)
      if (hello === undefined) {
        channel.destroy()
        return
      }
      clearTimeout(impatience)
      vault = { id: hello.vault, channel, publicKeys: hello.publicKeys, inFlight: new Map(), draining: false }
      this.#vaults.set(vault.id, vault)
      this.#events.onReady(vault.id)
      this.#dispatchSoon()
    })
    socket.on('close', () => {
      clearTimeout(impatience)
      if (vault !== undefined) this.#lose(vault)
    })
  }

  call<O extends Operation>(operation: O, body: RequestOf<O>): Promise<AnswerOf<O>> {
    if (!this.ready) return Promise.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    // What can go goes before anybody is refused.
    if (this.#queued >= this.#limits.queue) this.#dispatch()
    if (this.#queued >= this.#limits.queue) return Promise.reject(new ServiceError('ERR_HSM_BUSY'))
    return new Promise<AnswerOf<O>>((resolve, reject) => {
      const call: Call = {
        operation,
        body,
        resolve: resolve as Call['resolve'],
        reject,
        deadline: setTimeout(() => {
          this.#withdraw(bundle, call)
          reject(new ServiceError('ERR_HSM_BUSY'))
        }, this.#limits.hsmMs),
      }
      const bundle = this.#enqueue(call)
      this.#dispatchSoon()
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

  /** Whether any vault takes requests. */
  get ready(): boolean {
    for (const vault of this.#vaults.values()) if (!vault.draining) return true
    return false
  }

  /** How many requests wait for a vault. */
  get queued(): number {
    return this.#queued
  }

  /** Every connected vault. */
  get vaults(): VaultStatus[] {
    return [...this.#vaults.values()].map(({ id, draining, inFlight }) => ({
      id,
      state: draining ? 'draining' : 'ready',
      inFlight: [...inFlight.values()].reduce((requests, { bundle }) => requests + bundle.calls.size, 0),
    }))
  }

  /** The public keys that the newest vault found in the token. */
  get publicKeys(): readonly PublicJwk[] {
    return [...this.#vaults.values()].at(-1)?.publicKeys ?? []
  }

  #checkHello(message: unknown): Hello | undefined {
    const hello = message as Partial<Hello> | null
    if (typeof hello?.vault !== 'number' || typeof hello.secret !== 'string' || !Array.isArray(hello.publicKeys)) {
      return undefined
    }
    const expected = this.#expected.get(hello.vault)
    const given = Buffer.from(hello.secret, 'hex')
    if (expected?.length !== given.length || !timingSafeEqual(expected, given)) return undefined
    this.#expected.delete(hello.vault)
    return hello as Hello
  }

  #enqueue(call: Call): Bundle {
    const lane = laneOf(call)
    let bundle = lane === undefined ? undefined : this.#open.get(lane)
    if (bundle === undefined || !hasRoom(bundle, call)) {
      bundle = { lane, calls: new Set(), items: 0 }
      this.#waiting.add(bundle)
      if (lane !== undefined) this.#open.set(lane, bundle)
    }
    addCall(bundle, call)
    this.#queued++
    return bundle
  }

  /** Takes a call whose time is up out of the queue. */
  #withdraw(bundle: Bundle, call: Call): void {
    removeCall(bundle, call)
    this.#queued--
    if (bundle.calls.size === 0) this.#leaveQueue(bundle)
  }

  #leaveQueue(bundle: Bundle): void {
    this.#waiting.delete(bundle)
    if (bundle.lane !== undefined && this.#open.get(bundle.lane) === bundle) this.#open.delete(bundle.lane)
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

  /** Gives waiting bundles to the vaults with the most credit left. */
  #dispatch(): void {
    for (const bundle of this.#waiting) {
      let freest: Vault | undefined
      let anyCredit = false
      for (const vault of this.#vaults.values()) {
        if (vault.draining || vault.inFlight.size >= this.#limits.inFlightPerVault) continue
        anyCredit = true
        if (bundle.lane !== undefined && laneLoad(vault, bundle.lane) >= LANE_CREDIT) continue
        if (freest === undefined || loadOf(vault) < loadOf(freest)) freest = vault
      }
      if (!anyCredit) return
      if (freest === undefined) continue
      this.#leaveQueue(bundle)
      this.#queued -= bundle.calls.size
      this.#give(freest, bundle)
    }
  }

  /** From here on the clock is the vault's: time in the queue must not make a healthy vault look hung. */
  #give(vault: Vault, bundle: Bundle): void {
    for (const call of bundle.calls) clearTimeout(call.deadline)
    const deadline = setTimeout(() => {
      this.#lose(vault)
      this.#events.onOverdue(vault.id)
    }, this.#limits.hsmMs)
    const id = this.#nextCall++
    vault.inFlight.set(id, { bundle, deadline })
    const { operation, body } = requestOf(bundle)
    const { packed, ...json } = body as Partial<PackedBlocks>
    vault.channel.send({ id, operation, body: json }, packed)
  }

  #settle(vault: Vault, reply: ReplyMessage, packed: Buffer): void {
    const flight = vault.inFlight.get(reply.id)
    // The caller of an unknown id was answered when its deadline passed.
    if (flight === undefined) return
    // What cannot be read ends the channel: until it has been read, the flight is one that a lost vault holds.
    if ('answer' in reply) resolveBundle(flight.bundle, reply.answer, packed)
    else rejectBundle(flight.bundle, isErrorCode(reply.code) ? reply.code : 'ERR_INTERNAL', reply.detail)
    vault.inFlight.delete(reply.id)
    clearTimeout(flight.deadline)
    if (vault.draining && vault.inFlight.size === 0) vault.channel.end()
    this.#dispatchSoon()
  }

  /** Everything that a lost vault held is answered 503: whether it was done is not known, so it is not done again. */
  #lose(vault: Vault): void {
    if (this.#vaults.get(vault.id) === vault) this.#vaults.delete(vault.id)
    vault.channel.destroy()
    for (const { bundle, deadline } of vault.inFlight.values()) {
      clearTimeout(deadline)
      rejectBundle(bundle, 'ERR_HSM_UNAVAILABLE')
    }
    vault.inFlight.clear()
    if (this.ready) return
    for (const bundle of this.#waiting) rejectBundle(bundle, 'ERR_HSM_UNAVAILABLE')
    this.#waiting.clear()
    this.#open.clear()
    this.#queued = 0
  }
}

/** What a vault has before it: a message of ten thousand blocks is more than one of a single block. */
function loadOf({ inFlight }: Vault): number {
  let items = 0
  for (const { bundle } of inFlight.values()) items += bundle.items
  return items
}

function laneLoad({ inFlight }: Vault, lane: string): number {
  let load = 0
  for (const { bundle } of inFlight.values()) if (bundle.lane === lane) load++
  return load
}
