/**
 * The gateway's side of the bridge: queue, deadlines and credit are kept here, where a hung HSM call cannot stop them.
 */
import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import { isErrorCode, ServiceError } from '../errors.ts'
import { Channel } from './channel.ts'
import type { AnswerOf, Bridge, Hello, Operation, PublicJwk, ReplyMessage, RequestOf } from './contract.ts'

/** How long a connection may take to say who it is. */
const HELLO_MS = 5_000

/** The limits of the pool. */
export interface PoolLimits {
  /** How long a request may wait for a vault, and then how long the vault may take. */
  readonly hsmMs: number
  /** How many requests may wait for a vault. */
  readonly queue: number
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
  readonly inFlight: number
}

interface Call {
  readonly message: { readonly operation: Operation; readonly body: unknown }
  readonly resolve: (answer: AnswerOf<Operation>) => void
  readonly reject: (error: ServiceError) => void
  deadline: NodeJS.Timeout
}

interface Vault {
  readonly id: number
  readonly channel: Channel
  readonly publicKeys: readonly PublicJwk[]
  readonly inFlight: Map<number, Call>
  draining: boolean
}

/** All vaults that are connected, and the requests that wait for one. */
export class VaultPool implements Bridge {
  readonly #limits: PoolLimits
  readonly #events: PoolEvents
  readonly #expected = new Map<number, Buffer>()
  readonly #vaults = new Map<number, Vault>()
  readonly #waiting = new Set<Call>()
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
    const channel = new Channel(socket, (message) => {
      if (vault !== undefined) {
        this.#settle(vault, message as ReplyMessage)
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
      this.#dispatch()
    })
    socket.on('close', () => {
      clearTimeout(impatience)
      if (vault !== undefined) this.#lose(vault)
    })
  }

  call<O extends Operation>(operation: O, body: RequestOf<O>): Promise<AnswerOf<O>> {
    if (!this.ready) return Promise.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    if (this.#waiting.size >= this.#limits.queue) return Promise.reject(new ServiceError('ERR_HSM_BUSY'))
    return new Promise<AnswerOf<O>>((resolve, reject) => {
      const call: Call = {
        message: { operation, body },
        resolve: resolve as Call['resolve'],
        reject,
        deadline: setTimeout(() => {
          this.#waiting.delete(call)
          reject(new ServiceError('ERR_HSM_BUSY'))
        }, this.#limits.hsmMs),
      }
      this.#waiting.add(call)
      this.#dispatch()
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
    return this.#waiting.size
  }

  /** Every connected vault. */
  get vaults(): VaultStatus[] {
    return [...this.#vaults.values()].map(({ id, draining, inFlight }) => ({
      id,
      state: draining ? 'draining' : 'ready',
      inFlight: inFlight.size,
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

  /** Gives waiting requests to the vaults with the most credit left. */
  #dispatch(): void {
    for (const call of this.#waiting) {
      let freest: Vault | undefined
      for (const vault of this.#vaults.values()) {
        if (vault.draining || vault.inFlight.size >= this.#limits.inFlightPerVault) continue
        if (freest === undefined || vault.inFlight.size < freest.inFlight.size) freest = vault
      }
      if (freest === undefined) return
      this.#waiting.delete(call)
      this.#give(freest, call)
    }
  }

  /** From here on the clock is the vault's: time in the queue must not make a healthy vault look hung. */
  #give(vault: Vault, call: Call): void {
    clearTimeout(call.deadline)
    call.deadline = setTimeout(() => {
      this.#lose(vault)
      this.#events.onOverdue(vault.id)
    }, this.#limits.hsmMs)
    const id = this.#nextCall++
    vault.inFlight.set(id, call)
    vault.channel.send({ id, ...call.message })
  }

  #settle(vault: Vault, reply: ReplyMessage): void {
    const call = vault.inFlight.get(reply.id)
    // The caller of an unknown id was answered when its deadline passed.
    if (call === undefined) return
    vault.inFlight.delete(reply.id)
    clearTimeout(call.deadline)
    if ('answer' in reply) call.resolve(reply.answer)
    else call.reject(new ServiceError(isErrorCode(reply.code) ? reply.code : 'ERR_INTERNAL', reply.detail))
    if (vault.draining && vault.inFlight.size === 0) vault.channel.end()
    this.#dispatch()
  }

  /** Everything that a lost vault held is answered 503: whether it was done is not known, so it is not done again. */
  #lose(vault: Vault): void {
    if (this.#vaults.get(vault.id) === vault) this.#vaults.delete(vault.id)
    vault.channel.destroy()
    for (const call of vault.inFlight.values()) {
      clearTimeout(call.deadline)
      call.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    }
    vault.inFlight.clear()
    if (this.ready) return
    for (const call of this.#waiting) {
      clearTimeout(call.deadline)
      call.reject(new ServiceError('ERR_HSM_UNAVAILABLE'))
    }
    this.#waiting.clear()
  }
}
