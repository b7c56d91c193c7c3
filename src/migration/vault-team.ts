/**
 * The vaults of a migration: started one after the other, as the supervisor does it, and replaced when they end. What a lost
 * vault held is done again by another, because a translation changes nothing but its answer.
 */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AnswerOf, RequestOf } from '../bridge/contract.ts'
import { VaultPool } from '../bridge/vault-pool.ts'
import { migrationVaultConfig } from '../config/config.ts'
import type { Config, KeyEntry, TokenConfig } from '../config/schema.ts'
import { ServiceError, type ErrorCode } from '../errors.ts'
import type { HsmStartFailure } from '../hsm/hsm.ts'
import type { Logger } from '../log.ts'
import { isRefused, REFUSED_BEFORE, rememberRefusal } from '../pin-file.ts'
import { Backoff } from '../supervisor/backoff.ts'
import { makeBridgeFolder } from '../supervisor/bridge-folder.ts'
import type { VaultReport } from '../supervisor/messages.ts'
import { onEnd, spawnVault, VAULT_START_MS } from '../supervisor/spawn.ts'
import { EX_NOPERM, EX_UNAVAILABLE } from '../exit-codes.ts'
import { MigrationError } from './migration-error.ts'

/** How many chunks a vault holds: one that it works on and one that is there when it is done. */
export const CHUNKS_PER_VAULT = 2

/** For so long nothing may come back while something is asked for. */
const PATIENCE_MS = 60_000
/** A vault that lived this long has started well. */
const STABLE_MS = 10_000
/** A vault that refuses at once must not be asked in a loop. */
const REDO_AFTER_MS = 200
/** For the vaults to end by themselves when all is done. */
const FAREWELL_MS = 2_000

const FATAL_AT_START: readonly HsmStartFailure[] = ['module-unusable', 'keys-unusable', 'self-test-failed']
/** Never tried again: a few wrong tries lock many a token. */
const PIN_FAILURES: readonly HsmStartFailure[] = ['pin-refused', 'pin-tries-low']
/** What says that the HSM or the vault failed, and nothing about the request. */
const REDONE: readonly ErrorCode[] = ['ERR_HSM_UNAVAILABLE', 'ERR_HSM_BUSY', 'ERR_INTERNAL']
const FORBIDDEN: readonly ErrorCode[] = ['ERR_KEY_USE_FORBIDDEN', 'ERR_TRANSLATION_FORBIDDEN']

type Request = RequestOf<'translatePinBlocks'>
type Answer = AnswerOf<'translatePinBlocks'>

interface Vault {
  readonly token: TokenConfig
  readonly process: ChildProcess
  impatience: NodeJS.Timeout
  isReady: boolean
  isTired: boolean
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class VaultTeam {
  /** How many vaults there are to be. */
  readonly size: number
  readonly #perToken: number
  /** The tokens that can be used, as far as is known. */
  readonly #tokens: Set<TokenConfig>
  readonly #config: Config
  readonly #keys: readonly KeyEntry[]
  readonly #log: Logger
  readonly #pool: VaultPool
  readonly #folder = makeBridgeFolder()
  readonly #socket = join(this.#folder, 'bridge.sock')
  readonly #server: Server
  readonly #vaults = new Map<number, Vault>()
  readonly #backoff = new Backoff()
  readonly #waiters = new Set<Waiter>()
  readonly #watch: NodeJS.Timeout
  #nextVault = 1
  #filling = false
  #hasStarted = false
  #isEnough = false
  #ended: MigrationError | undefined
  /** How much is asked for, and since when nothing has come back. */
  #asked = 0
  #waitingSince = 0

  constructor(config: Config, keys: readonly KeyEntry[], log: Logger) {
    const { tokens, vaults } = config.hsm
    this.#tokens = new Set(tokens)
    this.#perToken = vaults ?? Math.ceil(availableParallelism() / tokens.length)
    this.size = this.#perToken * tokens.length
    this.#config = config
    this.#keys = keys
    this.#log = log
    const limits = { hsmMs: config.limits.hsmMs, queue: Infinity, inFlightPerVault: CHUNKS_PER_VAULT }
    this.#pool = new VaultPool(limits, {
      onReady: (id) => this.#onReady(id),
      onOverdue: (id) => this.#vaults.get(id)?.process.kill('SIGKILL'),
    })
    this.#server = createServer((socket) => this.#pool.connect(socket))
    this.#watch = setInterval(() => this.#losePatience(), 1_000)
  }

  /** Starts the vaults; whether they can use the HSM shows when something is asked of them. */
  async open(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#socket, resolve)
    })
    void this.#fill()
  }

  /**
   * Has a chunk translated, and again if a vault is lost with it.
   *
   * @throws MigrationError if there is no HSM for a minute, or the vault may not do it.
   */
  translate(request: Request): Promise<Answer> {
    return this.#ask(async () => {
      for (;;) {
        await this.#untilReady()
        try {
          return await this.#pool.call('translatePinBlocks', request)
        } catch (error) {
          if (!(error instanceof ServiceError)) throw error
          if (this.#ended) throw this.#ended
          const { code } = error
          if (FORBIDDEN.includes(code)) throw new MigrationError(EX_NOPERM, `the vault may not do this: ${code}`)
          if (!REDONE.includes(code)) throw new MigrationError(EX_UNAVAILABLE, `the vault answered ${code}`)
          this.#log.warn({ code }, 'a chunk is done again')
          await sleep(REDO_AFTER_MS)
        }
      }
    })
  }

  /** Nothing more will be asked than has been: no further vault is started while there is one. */
  noMoreChunks(): void {
    this.#isEnough = true
  }

  /** Ends every vault; once nothing is asked any more they end by themselves, and otherwise at once. */
  async close(): Promise<void> {
    const isIdle = this.#asked === 0
    this.#end(new MigrationError(EX_UNAVAILABLE, 'the migration was ended'))
    const ends = [...this.#vaults].map(
      ([id, { process, isReady }]) =>
        new Promise<void>((resolve) => {
          if (process.exitCode !== null || process.signalCode !== null) return resolve()
          onEnd(process, () => resolve())
          if (isIdle && isReady) this.#pool.drain(id)
          else process.kill('SIGKILL')
          setTimeout(() => process.kill('SIGKILL'), FAREWELL_MS).unref()
        }),
    )
    await Promise.all(ends)
    this.#server.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Whoever waits gets this error, and nothing is begun any more. */
  #end(error: MigrationError): void {
    if (this.#ended) return
    this.#ended = error
    clearInterval(this.#watch)
    for (const { reject } of this.#waiters) reject(error)
    this.#waiters.clear()
  }

  /** Counts what is asked for, so that patience is lost only while something is. */
  async #ask<T>(work: () => Promise<T>): Promise<T> {
    if (this.#asked++ === 0) this.#waitingSince = performance.now()
    try {
      const result = await work()
      this.#waitingSince = performance.now()
      return result
    } finally {
      this.#asked--
    }
  }

  #losePatience(): void {
    if (this.#asked === 0 || performance.now() - this.#waitingSince < PATIENCE_MS) return
    this.#fail('no HSM could be used for a minute')
  }

  #fail(sentence: string): void {
    this.#end(new MigrationError(EX_UNAVAILABLE, sentence))
    for (const { process } of this.#vaults.values()) process.kill('SIGKILL')
  }

  async #untilReady(): Promise<void> {
    if (this.#ended) throw this.#ended
    if (this.#pool.ready) return
    await new Promise<void>((resolve, reject) => this.#waiters.add({ resolve, reject }))
  }

  #onReady(id: number): void {
    const vault = this.#vaults.get(id)
    if (vault) {
      vault.isReady = true
      clearTimeout(vault.impatience)
    }
    this.#hasStarted = true
    for (const { resolve } of this.#waiters) resolve()
    this.#waiters.clear()
  }

  /** The token that wants a vault most; undefined if none does. */
  #neediest(): TokenConfig | undefined {
    const working = [...this.#vaults.values()].filter(({ isTired }) => !isTired)
    const has = (token: TokenConfig): number => working.filter((vault) => vault.token === token).length
    if (this.#isEnough && working.length > 0) return undefined
    const neediest = [...this.#tokens].sort((a, b) => has(a) - has(b))[0]
    return neediest && has(neediest) < this.#perToken ? neediest : undefined
  }

  /** Starts vaults, one after the other: some tokens lose themselves when several processes log in at once. */
  async #fill(): Promise<void> {
    if (this.#filling) return
    this.#filling = true
    for (let token = this.#neediest(); token && !this.#ended; token = this.#neediest()) {
      const failed = await this.#tryVault(token)
      if (failed === undefined) continue
      const { reason, problems } = failed
      if (!PIN_FAILURES.includes(reason) && (!FATAL_AT_START.includes(reason) || this.#hasStarted)) {
        await sleep(this.#backoff.next())
        continue
      }
      this.#tokens.delete(token)
      if (this.#tokens.size > 0) this.#log.error({ token: token.name, reason, problems }, 'going on without a token')
      else this.#fail(`the HSM cannot be used:\n${problems.map((problem) => `  ${problem}`).join('\n')}`)
    }
    this.#filling = false
  }

  /** Starts a vault, unless the token is known to refuse its PIN; a refusal is remembered. */
  async #tryVault(token: TokenConfig): Promise<Failure | undefined> {
    if (isRefused(token)) return { reason: 'pin-refused', problems: [REFUSED_BEFORE], pinIdentity: '' }
    const failed = await this.#startVault(token)
    if (failed?.reason === 'pin-refused') rememberRefusal(token, failed.pinIdentity)
    return failed
  }

  /** Starts one vault and waits until its HSM is open; returns why not, if not. */
  #startVault(token: TokenConfig): Promise<Failure | undefined> {
    const id = this.#nextVault++
    const secret = randomBytes(32).toString('hex')
    const started = performance.now()
    this.#pool.admit(id, secret, token.name)
    const config = migrationVaultConfig(this.#config, token, this.#keys)
    const start = { vault: id, config, secret, bridgeSocket: this.#socket }
    const child = spawnVault(start, this.#config.processes.users?.vault)
    const vault: Vault = {
      token,
      process: child,
      impatience: setTimeout(() => child.kill('SIGKILL'), VAULT_START_MS),
      isReady: false,
      isTired: false,
    }
    this.#vaults.set(id, vault)
    return new Promise((resolve) => {
      let failure: Failure = { reason: 'token-absent', problems: ['the vault ended without a word'], pinIdentity: '' }
      let isOpen = false
      child.on('message', (message: VaultReport) => {
        if (message.type === 'failed') failure = message
        else if (message.type === 'tired') {
          vault.isTired = true
          this.#pool.drain(id)
          void this.#fill()
        } else {
          isOpen = true
          resolve(undefined)
        }
      })
      onEnd(child, (code, signal) => {
        clearTimeout(vault.impatience)
        this.#vaults.delete(id)
        this.#pool.drain(id)
        if (!this.#ended && !vault.isTired) this.#log.warn({ vault: id, code, signal }, 'a vault ended')
        if (isOpen) void this.#refill(performance.now() - started)
        else resolve(failure)
      })
    })
  }

  /** A vault that ended young counts as a failed start, so that none spins. */
  async #refill(livedMs: number): Promise<void> {
    if (livedMs > STABLE_MS) this.#backoff.reset()
    await sleep(this.#backoff.next())
    await this.#fill()
  }
}

type Failure = Omit<Extract<VaultReport, { type: 'failed' }>, 'type'>
