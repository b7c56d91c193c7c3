/**
 * The vaults of one token: started one at a time, because some tokens lose themselves when several processes log in at
 * once; watched, and replaced when they end, hang or grow old.
 */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { vaultConfig } from '../config/config.ts'
import type { Config, TokenConfig } from '../config/schema.ts'
import type { HsmStartFailure } from '../hsm/hsm.ts'
import type { Logger } from '../log.ts'
import { identityOf, isRefused, REFUSED_BEFORE, rememberRefusal, untilChanged } from '../pin-file.ts'
import { Backoff } from './backoff.ts'
import type { GatewayCommand, RestartCause, TokenState, VaultReport } from './messages.ts'
import { onEnd, spawnVault, VAULT_START_MS } from './spawn.ts'
import { tryConfig, type StartFailure } from './trial.ts'

/** A process that lived this long has started well. */
const STABLE_MS = 10_000

/** What no waiting mends: wrong keys or module at the first start end a service that has no other token. */
const LASTING: readonly HsmStartFailure[] = ['module-unusable', 'keys-unusable', 'self-test-failed']
/** A token that was not there may be there at the next look: so often a trial of it is made. */
const MOST_TRIALS = 3
const LOOK_EVERY_MS = 100

interface Vault {
  readonly id: number
  readonly process: ChildProcess
  /** Ends a vault that does not get ready, or that does not go when it is told to. */
  impatience: NodeJS.Timeout
  /** It has opened its token. */
  opened: boolean
  /** The gateway has admitted it. */
  ready: boolean
  replaced: boolean
  /** It began with another configuration than the one in use. */
  isOutdated: boolean
  draining: boolean
  /** Why it ended, where more is known than that it did. */
  cause: RestartCause | undefined
}

/** What a token says of a configuration: its keys are there; they are not; or it cannot be asked. */
export interface TrialResult {
  readonly verdict: 'proved' | 'refused' | 'unknown'
  /** Why not, in sentences. */
  readonly problems: readonly string[]
}

/** What a crew needs of the supervisor. */
export interface CrewDeps {
  /** As it is now: a vault that is started later is given what was taken over meanwhile. */
  readonly config: () => Config
  readonly token: TokenConfig
  /** How many vaults there are to be. */
  readonly wanted: number
  readonly log: Logger
  /** A number that no vault of any crew has had. */
  readonly nextVault: () => number
  /** The socket of a gateway that listens; undefined while there is none. */
  readonly bridgeSocket: () => string | undefined
  readonly tellGateway: (command: GatewayCommand) => void
  /** The state has changed, or a vault got ready. */
  readonly onChange: () => void
  readonly onRestart: (cause: RestartCause) => void
}

export class Crew {
  readonly token: string
  readonly wanted: number
  readonly #deps: CrewDeps
  readonly #log: Logger
  readonly #vaults = new Map<number, Vault>()
  readonly #backoff = new Backoff()
  readonly #whenGone: (() => void)[] = []
  /** The last start that was begun: each waits for the one before. */
  #lastStart: Promise<unknown> = Promise.resolve()
  #filling = false
  #stopped = false
  #failure: HsmStartFailure | undefined
  /** The identity of a PIN file whose refusal could not be written down. */
  #refusedIdentity: string | undefined

  constructor(deps: CrewDeps) {
    this.#deps = deps
    this.token = deps.token.name
    this.wanted = deps.wanted
    this.#log = deps.log.child({ token: deps.token.name })
  }

  /** The process numbers of the vaults that serve. */
  get serving(): number[] {
    return this.#serving().map(({ process }) => process.pid ?? 0)
  }

  get state(): TokenState {
    if (this.#serving().length > 0) return 'serving'
    if (this.#failure === undefined) return 'starting'
    if (this.#failure === 'token-absent') return 'absent'
    return LASTING.includes(this.#failure) ? 'refused' : 'pin-refused'
  }

  /** Whether the first vault failed for a reason that only somebody who looks can mend. */
  get isLost(): boolean {
    return this.state === 'refused'
  }

  /** How many vaults still run by an earlier configuration. */
  get renewing(): number {
    return [...this.#vaults.values()].filter(({ isOutdated }) => isOutdated).length
  }

  /** Starts vaults, one after the other, until there are as many as are wanted. */
  fill(): void {
    if (!this.#filling) void this.#startMissing()
  }

  /**
   * Waits until no vault runs by an earlier configuration, or until it shows that they cannot be replaced: a vault could not be
   * started, or they have taken longer than they may.
   */
  async renewed(): Promise<void> {
    const untilMs = performance.now() + this.wanted * VAULT_START_MS
    const isUnderWay = () => this.renewing > 0 && this.#failure === undefined && !this.#stopped
    while (isUnderWay() && performance.now() < untilMs) await pause(LOOK_EVERY_MS)
  }

  /** Whether a vault could open the token by a configuration; the ones that serve go on meanwhile. */
  async tryOut(config: Config): Promise<TrialResult> {
    const backoff = new Backoff()
    for (let trials = 1; ; trials++) {
      const failure = await this.#inTurn(() => this.#tryConfig(config))
      if (failure === undefined) return { verdict: 'proved', problems: [] }
      const { reason, problems } = failure
      if (LASTING.includes(reason)) return { verdict: 'refused', problems }
      if (reason !== 'token-absent' || trials === MOST_TRIALS || this.#stopped) return { verdict: 'unknown', problems }
      await pause(backoff.next())
    }
  }

  /**
   * Replaces every vault, each once another serves in its place: what it began with is not what is configured now. One that is
   * not admitted yet never is, so that the newest vault is always one that knows.
   */
  renew(): void {
    this.#log.info('replacing the vaults: their part of the configuration has changed')
    for (const vault of this.#vaults.values()) {
      vault.replaced = true
      vault.isOutdated = true
      if (vault.ready) continue
      vault.draining = true
      this.#deps.tellGateway({ type: 'drain', vault: vault.id })
    }
    this.fill()
  }

  /** The gateway has admitted a vault of this number, which may be another crew's. */
  onReady(id: number): void {
    const vault = this.#vaults.get(id)
    // One that is to go without having been of use is as impatiently waited for as before.
    if (vault === undefined || vault.draining) return
    vault.ready = true
    this.#failure = undefined
    clearTimeout(vault.impatience)
    this.#retireReplaced()
    this.#deps.onChange()
  }

  /** The vault did not answer within the deadline: a process with a hung native call cannot end itself. */
  onOverdue(id: number): void {
    const vault = this.#vaults.get(id)
    if (vault === undefined) return
    vault.cause ??= 'overdue'
    vault.process.kill('SIGKILL')
  }

  /**
   * Ends the vaults at once; what they held has been answered, or the gateway that asked is gone.
   *
   * One that is still opening its token is left to find no gateway and end by itself: SoftHSM writes the token anew at a
   * login, and whoever is killed in that moment leaves it empty.
   */
  kill(cause: RestartCause): void {
    for (const vault of this.#vaults.values()) {
      vault.cause ??= cause
      if (vault.opened) vault.process.kill('SIGKILL')
    }
  }

  /** Starts nothing any more. */
  stop(): void {
    this.#stopped = true
  }

  /** Resolves once no vault is left. */
  async gone(): Promise<void> {
    await this.#lastStart
    if (this.#vaults.size > 0) await new Promise<void>((resolve) => this.#whenGone.push(resolve))
  }

  async #startMissing(): Promise<void> {
    this.#filling = true
    const { token } = this.#deps
    while (this.#isWanting()) {
      const failure = await this.#inTurn(async () => (this.#isWanting() ? await this.#startUnlessRefused() : undefined))
      if (failure === undefined) continue
      this.#failure = failure.reason
      this.#deps.onChange()
      if (failure.reason !== 'pin-refused') {
        await pause(this.#backoff.next())
        continue
      }
      const { pinIdentity } = failure
      this.#rememberRefusal(pinIdentity)
      this.#log.error('no vault is started until the HSM PIN file changes')
      await untilChanged(token, pinIdentity)
    }
    this.#filling = false
  }

  /** Waits until the start before has ended, well or not. */
  #inTurn<T>(start: () => Promise<T>): Promise<T> {
    const turn = this.#lastStart.then(start)
    this.#lastStart = turn.catch(() => {})
    return turn
  }

  #rememberRefusal(pinIdentity: string): void {
    const { token } = this.#deps
    if (isRefused(token) || rememberRefusal(token, pinIdentity)) return
    this.#refusedIdentity = pinIdentity
    this.#log.error('the refusal cannot be written beside the PIN file: a restart would try this PIN again')
  }

  #isWanting(): boolean {
    return !this.#stopped && this.#deps.bridgeSocket() !== undefined && this.#missing() > 0
  }

  #missing(): number {
    return this.wanted - [...this.#vaults.values()].filter((vault) => !vault.replaced).length
  }

  async #startUnlessRefused(): Promise<StartFailure | undefined> {
    return this.#refusal() ?? (await this.#startVault())
  }

  async #tryConfig(config: Config): Promise<StartFailure | undefined> {
    // Whoever ends does not wait for long, and a login must not be cut off.
    if (this.#stopped) return { reason: 'token-absent', problems: [], pinIdentity: '' }
    const refusal = this.#refusal()
    if (refusal) return refusal
    const failure = await tryConfig(vaultConfig(config, this.#deps.token), config.processes.users?.vault)
    if (failure?.reason === 'pin-refused') this.#rememberRefusal(failure.pinIdentity)
    return failure
  }

  /** The HSM PIN has been refused, and nobody tries it again. */
  #refusal(): StartFailure | undefined {
    const { token } = this.#deps
    const pinIdentity = identityOf(token.pinFile)
    if (!isRefused(token) && pinIdentity !== this.#refusedIdentity) return undefined
    return { reason: 'pin-refused', problems: [REFUSED_BEFORE], pinIdentity }
  }

  /** Starts one vault and waits until its HSM is open; returns why not, if not. */
  #startVault(): Promise<StartFailure | undefined> {
    const { token, tellGateway } = this.#deps
    const config = this.#deps.config()
    const id = this.#deps.nextVault()
    const secret = randomBytes(32).toString('hex')
    tellGateway({ type: 'admit', vault: id, token: token.name, secret })
    const bridgeSocket = this.#deps.bridgeSocket() ?? ''
    const child = spawnVault(
      { vault: id, config: vaultConfig(config, token), secret, bridgeSocket },
      config.processes.users?.vault,
    )
    const vault: Vault = {
      id,
      process: child,
      impatience: setTimeout(() => {
        vault.cause ??= 'start-timeout'
        child.kill('SIGKILL')
      }, VAULT_START_MS),
      opened: false,
      ready: false,
      replaced: false,
      isOutdated: false,
      draining: false,
      cause: undefined,
    }
    this.#vaults.set(id, vault)
    return new Promise((resolve) => {
      let failure: StartFailure = { reason: 'token-absent', problems: [], pinIdentity: '' }
      const started = performance.now()
      child.on('message', (message: VaultReport) => {
        if (message.type === 'failed') {
          failure = message
          vault.cause ??= 'start-failed'
        } else if (message.type === 'unhealthy') vault.cause ??= 'unhealthy'
        else if (message.type === 'tired') this.#replace(vault)
        else {
          vault.opened = true
          resolve(undefined)
        }
      })
      onEnd(child, (code, signal) => {
        clearTimeout(vault.impatience)
        this.#vaults.delete(id)
        if (this.#vaults.size === 0) for (const gone of this.#whenGone.splice(0)) gone()
        // Its secret, if it never used it, opens nothing any more.
        tellGateway({ type: 'drain', vault: id })
        if (this.#stopped) return resolve(failure)
        const cause = vault.replaced ? 'recycled' : (vault.cause ?? 'ended')
        if (!vault.replaced) this.#log.warn({ vault: id, code, signal, cause }, 'a vault ended')
        this.#deps.onRestart(cause)
        if (!vault.opened) resolve(failure)
        else if (vault.replaced) this.fill()
        else void this.#refill(performance.now() - started)
        this.#deps.onChange()
      })
    })
  }

  /** A vault that ended is replaced at once; one that ended young counts as a failed start, so that none spins. */
  async #refill(livedMs: number): Promise<void> {
    if (livedMs > STABLE_MS) this.#backoff.reset()
    await pause(this.#backoff.next())
    this.fill()
  }

  /** A tired vault works on until another has taken its place. */
  #replace(vault: Vault): void {
    vault.replaced = true
    this.#log.info({ vault: vault.id }, 'replacing a vault')
    this.fill()
  }

  /**
   * Lets replaced vaults go as soon as enough serve without them; if they waited for the last of their successors, vaults
   * that tire faster than that would pile up without end.
   */
  #retireReplaced(): void {
    const serving = this.#serving()
    const replaced = serving.filter((vault) => vault.replaced)
    for (const vault of replaced.slice(0, Math.max(0, serving.length - this.wanted))) {
      vault.draining = true
      vault.impatience = setTimeout(() => vault.process.kill('SIGKILL'), 2 * this.#deps.config().limits.hsmMs)
      this.#deps.tellGateway({ type: 'drain', vault: vault.id })
    }
  }

  #serving(): Vault[] {
    return [...this.#vaults.values()].filter((vault) => vault.ready && !vault.draining)
  }
}
