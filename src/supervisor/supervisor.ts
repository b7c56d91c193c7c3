/** Starts gateway and vaults as siblings, watches them and replaces them; it opens no network and no HSM (M-1). */
import type { ChildProcess } from 'node:child_process'
import { rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { gatewayConfig, vaultConfig } from '../config/config.ts'
import { ruleProblems } from '../config/rules.ts'
import { servesRequests, type Config } from '../config/schema.ts'
import type { Logger } from '../log.ts'
import { EX_SOFTWARE } from '../exit-codes.ts'
import { Backoff } from './backoff.ts'
import { makeBridgeFolder } from './bridge-folder.ts'
import { Crew, type TrialResult } from './crew.ts'
import type { GatewayCommand, GatewayReport, RestartCause } from './messages.ts'
import type { Refusal } from './reload.ts'
import { onEnd, sendTo, spawnGateway } from './spawn.ts'

const GATEWAY_START_MS = 30_000
const GRACE_MS = 2_000
/** For vaults to close their sessions when there is nothing more to answer. */
const FAREWELL_MS = 2_000
/** The gateway says every second that it is alive. */
const GATEWAY_SILENCE_MS = 10_000
/** A process that lived this long has started well. */
const STABLE_MS = 10_000

/** What `serve` prints on standard output once every vault is ready. */
export interface ReadyLine {
  readonly event: 'ready'
  readonly url: string
  readonly management: string
  readonly pid: number
  readonly gateway: number
  readonly vaults: readonly number[]
}

/** Whom the supervisor tells what. */
export interface SupervisorEvents {
  readonly onReady: (line: ReadyLine) => void
  /** It cannot go on: the exit code, after everything has been stopped. */
  readonly onEnd: (exitCode: number) => void
}

/** What the launcher ends with when it starts nothing (EX_USAGE, EX_OSERR); node has no such exit codes. */
const LAUNCHER_FAILURES = [64, 71]

export class Supervisor {
  #config: Config
  readonly #log: Logger
  readonly #events: SupervisorEvents
  readonly #bridgeFolder: string
  readonly #crews: readonly Crew[]
  readonly #restarts: Record<RestartCause, number> = {
    ended: 0,
    overdue: 0,
    unhealthy: 0,
    recycled: 0,
    'start-failed': 0,
    'start-timeout': 0,
    'gateway-lost': 0,
  }
  readonly #gatewayBackoff = new Backoff()
  #gateway: ChildProcess | undefined
  #gatewayTimer: NodeJS.Timeout | undefined
  #bridgeSocket = ''
  #ports: { api: number; management: number }
  #listening = false
  /** What the gateway was last told, and who waits for what it made of that and of what it was told before. */
  #told: Config | undefined
  readonly #onReloaded: ((applied: boolean) => void)[] = []
  /** The file that was refused last, unless another was taken over since. */
  #refused: string | undefined
  #nextVault = 1
  #nextSocket = 1
  #announced = false
  #stopping = false

  constructor(config: Config, log: Logger, events: SupervisorEvents) {
    this.#config = config
    this.#log = log
    this.#events = events
    this.#bridgeFolder = makeBridgeFolder()
    const { tokens, vaults } = config.hsm
    this.#crews = tokens.map(
      (token) =>
        new Crew({
          config: () => this.#config,
          token,
          wanted: vaults ?? Math.ceil(availableParallelism() / tokens.length),
          log,
          nextVault: () => this.#nextVault++,
          bridgeSocket: () => (this.#listening ? this.#bridgeSocket : undefined),
          tellGateway: (command) => this.#tellGateway(command),
          onChange: () => this.#onChange(),
          onRestart: (cause) => {
            this.#restarts[cause]++
          },
        }),
    )
    this.#ports = { api: config.listeners.api.port, management: config.listeners.management.port }
  }

  /** Starts the gateway, and the vaults after it. */
  start(): void {
    if (this.#stopping) return
    const started = performance.now()
    this.#bridgeSocket = join(this.#bridgeFolder, `bridge-${this.#nextSocket++}.sock`)
    const start = { config: this.#gatewayConfig(), bridgeSocket: this.#bridgeSocket }
    const gateway = spawnGateway(this.#config, start)
    this.#gateway = gateway
    this.#expectGateway(GATEWAY_START_MS)
    gateway.on('message', (message: GatewayReport) => this.#onGatewayReport(message))
    onEnd(gateway, (code, signal) => {
      clearTimeout(this.#gatewayTimer)
      if (performance.now() - started > STABLE_MS) this.#gatewayBackoff.reset()
      void this.#onGatewayExit(code, signal)
    })
    this.#told = this.#config
  }

  /** The configuration that is in use. */
  get config(): Config {
    return this.#config
  }

  /**
   * Has the running service take a configuration over, which differs from the one in use in what may change live only.
   *
   * Vaults whose part of it has changed are replaced one after the other; no request fails for it. Keys are taken over if the
   * tokens have them, which is tried out before anything changes.
   *
   * @returns why not, if not, and then nothing has changed.
   */
  async adopt(config: Config): Promise<Refusal | undefined> {
    // What takes a restart stays as it was, and what came with it may not go without it.
    const problems = ruleProblems(config)
    if (problems.length > 0) return { by: 'rules', problems }
    if (!haveSameKeys(this.#config, config)) {
      // A version is made pending so that every vault can open what the first one makes under it: one step, then the next.
      await Promise.all(this.#crews.map((crew) => crew.renewed()))
      const trials = await Promise.all(this.#crews.map((crew) => crew.tryOut(config)))
      const refusals = this.#problemsOf(trials)
      if (refusals.length > 0) return { by: 'hsm', problems: refusals }
    }
    // A gateway that is not up yet is told once it is; one that ends meanwhile is followed by one that knows.
    if (this.#listening && !(await this.#reloadGateway(config))) return { by: 'gateway', problems: [] }
    const before = this.#config
    this.#config = config
    this.#refused = undefined
    for (const crew of this.#crews) if (!isSameForVaults(before, config)) crew.renew()
    this.#tellTokens()
    return undefined
  }

  /** A new configuration was not fit: nothing changes but what is said of it. */
  refuse(sha256: string | undefined): void {
    this.#refused = sha256
    this.#tellGateway({ type: 'reload-refused' })
    this.#tellTokens()
  }

  /**
   * Why keys cannot be taken over, if a token lacks them, or none can say that it has them. A token that is out of service has no
   * say: should it come back without them, it stays out.
   */
  #problemsOf(trials: readonly TrialResult[]): string[] {
    const isOne = this.#crews.length === 1
    const objections = trials.flatMap(({ verdict, problems }, i) => {
      const { token, state } = this.#crews[i]!
      const counts = verdict === 'refused' || (verdict === 'unknown' && state === 'serving')
      return counts ? problems.map((problem) => (isOne ? problem : `token ${token}: ${problem}`)) : []
    })
    if (objections.length > 0 || trials.some(({ verdict }) => verdict === 'proved')) return objections
    return ['hsm: no token can say whether it has the keys']
  }

  /** Lets everything that was accepted be answered, then ends every process. */
  stop(exitCode = 0): void {
    if (this.#stopping) return
    this.#stopping = true
    for (const crew of this.#crews) crew.stop()
    this.#log.info('stopping')
    let cutOff = false
    const end = async (): Promise<void> => {
      clearTimeout(impatience)
      // Their channels have ended: vaults close their sessions and go.
      const gone = Promise.all(this.#crews.map((crew) => crew.gone()))
      await Promise.race([gone, pause(FAREWELL_MS)])
      this.#kill('ended')
      rmSync(this.#bridgeFolder, { recursive: true, force: true })
      this.#events.onEnd(cutOff && exitCode === 0 ? 1 : exitCode)
    }
    const impatience = setTimeout(() => {
      cutOff = true
      this.#log.error('not everything was answered in time; ending all the same')
      this.#gateway?.kill('SIGKILL')
    }, this.#config.limits.shutdownMs)
    if (this.#gateway?.pid === undefined || this.#gateway.exitCode !== null || this.#gateway.signalCode !== null) {
      void end()
    } else {
      onEnd(this.#gateway, () => void end())
      // A gateway that is not up yet has accepted nothing.
      if (this.#listening) this.#tellGateway({ type: 'stop' })
      else this.#gateway.kill('SIGKILL')
    }
  }

  /** A restarted gateway takes the ports that the first one was given, so that port 0 stays one address. */
  #gatewayConfig(): ReturnType<typeof gatewayConfig> {
    const { api, management } = this.#config.listeners
    const listeners = {
      api: { ...api, port: this.#ports.api },
      management: { ...management, port: this.#ports.management },
    }
    return { ...gatewayConfig(this.#config), listeners }
  }

  #reloadGateway(config: Config): Promise<boolean> {
    this.#told = config
    const { clients, authentication, keys, setPinTypes, counterOnceKeys, audit } = gatewayConfig(config)
    const live = { clients, authentication, keys, setPinTypes, counterOnceKeys, ...(audit && { audit }) }
    this.#tellGateway({ type: 'reload', config: live })
    return new Promise((resolve) => this.#onReloaded.push(resolve))
  }

  /** Has a gateway that is up now take over what came while it started. */
  async #catchUp(): Promise<void> {
    if (await this.#reloadGateway(this.#config)) return
    this.#log.error('the gateway could not take over what came while it started')
  }

  #kill(cause: RestartCause): void {
    for (const crew of this.#crews) crew.kill(cause)
  }

  #tellGateway(command: GatewayCommand): void {
    sendTo(this.#gateway, command)
  }

  /** A gateway that is not heard of for so long is taken for hung. */
  #expectGateway(withinMs: number): void {
    clearTimeout(this.#gatewayTimer)
    const gateway = this.#gateway
    // This process may have stood still itself: what was said meanwhile is read before anybody is judged.
    this.#gatewayTimer = setTimeout(() => {
      this.#gatewayTimer = setTimeout(() => gateway?.kill('SIGKILL'), GRACE_MS)
    }, withinMs)
  }

  #onGatewayReport(message: GatewayReport): void {
    this.#expectGateway(this.#listening || message.type === 'listening' ? GATEWAY_SILENCE_MS : GATEWAY_START_MS)
    switch (message.type) {
      case 'alive':
        break
      case 'listening':
        this.#listening = true
        this.#ports = { api: message.port, management: message.managementPort }
        this.#log.info({ port: message.port, managementPort: message.managementPort }, 'listening')
        this.#tellTokens()
        if (this.#told !== this.#config) void this.#catchUp()
        for (const crew of this.#crews) crew.fill()
        break
      case 'reloaded':
        this.#onReloaded.shift()?.(message.applied)
        break
      case 'vault-ready':
        for (const crew of this.#crews) crew.onReady(message.vault)
        break
      case 'vault-overdue':
        for (const crew of this.#crews) crew.onOverdue(message.vault)
        break
      case 'failed':
        this.#log.error({ problem: message.problem }, 'the gateway could not start')
        if (!this.#announced) this.stop(EX_SOFTWARE)
        break
    }
  }

  async #onGatewayExit(code: number | null, signal: string | null): Promise<void> {
    this.#listening = false
    for (const resolve of this.#onReloaded.splice(0)) resolve(true)
    if (this.#stopping) return
    // It leads nowhere any more, and a gateway that ends again and again would fill the folder.
    rmSync(this.#bridgeSocket, { force: true })
    if (!this.#announced && code !== null && LAUNCHER_FAILURES.includes(code)) {
      this.#log.error({ problem: 'the launcher did not start it' }, 'the gateway could not start')
      this.stop(EX_SOFTWARE)
      return
    }
    this.#log.error({ code, signal }, 'the gateway ended; starting another')
    // Each vault ends with its channel; one that cannot is not left behind.
    this.#kill('gateway-lost')
    await pause(this.#gatewayBackoff.next())
    this.start()
  }

  /** Tells the gateway how the tokens are, and ends or announces the service once its first starts are over. */
  #onChange(): void {
    this.#tellTokens()
    if (this.#announced || this.#stopping) return
    if (this.#crews.every(({ isLost }) => isLost)) this.stop(EX_SOFTWARE)
    else this.#announce()
  }

  #tellTokens(): void {
    const tokens = this.#crews.map(({ token, state, wanted }) => ({ name: token, state, wanted }))
    const configuration = {
      inUse: this.#config.sha256,
      ...(this.#refused !== undefined && { refused: this.#refused }),
      renewing: this.#crews.reduce((sum, crew) => sum + crew.renewing, 0),
    }
    this.#tellGateway({ type: 'tokens', tokens, configuration, restarts: { ...this.#restarts } })
  }

  /** A service of several tokens is ready although one of them failed: the others serve. */
  #announce(): void {
    const isFull = (crew: Crew): boolean => crew.serving.length >= crew.wanted
    const isSettled = (crew: Crew): boolean => isFull(crew) || !['serving', 'starting'].includes(crew.state)
    if (!this.#crews.some(isFull) || !this.#crews.every(isSettled)) return
    this.#announced = true
    const { api, management } = this.#config.listeners
    this.#events.onReady({
      event: 'ready',
      url: `https://${hostOf(api.host)}:${this.#ports.api}`,
      management: `http://${hostOf(management.host)}:${this.#ports.management}`,
      pid: process.pid,
      gateway: this.#gateway?.pid ?? 0,
      vaults: this.#crews.flatMap(({ serving }) => serving),
    })
  }
}

/** Whether vaults of both would look for the same in their tokens. */
function haveSameKeys(before: Config, config: Config): boolean {
  const lookedFor = ({ keys, profiles }: Config) => [keys.filter(servesRequests), profiles]
  return isDeepStrictEqual(lookedFor(before), lookedFor(config))
}

function isSameForVaults(before: Config, config: Config): boolean {
  return config.hsm.tokens.every((token) => isDeepStrictEqual(vaultConfig(before, token), vaultConfig(config, token)))
}

function hostOf(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
