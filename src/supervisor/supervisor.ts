/**
 * Starts gateway and vaults as siblings, watches them and replaces them; it opens no network and no HSM.
 *
 * Vaults initialise their HSM one at a time, because some tokens lose themselves when several processes log in at once.
 */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { gatewayConfig, vaultConfig } from '../config/config.ts'
import type { Config } from '../config/schema.ts'
import type { HsmStartFailure } from '../hsm/hsm.ts'
import type { Logger } from '../log.ts'
import { Backoff } from './backoff.ts'
import type { GatewayCommand, GatewayReport, VaultCommand, VaultReport } from './messages.ts'
import { identityOf, untilChanged } from './pin-file.ts'
import { onEnd, sendTo, spawnGateway, spawnVault } from './spawn.ts'

/** A vault that neither gets ready nor says why not is taken for hung. */
const VAULT_START_MS = 30_000
const GATEWAY_START_MS = 30_000
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

/** A failure that no waiting mends: wrong keys or module at the first start end the service, so that somebody looks. */
const FATAL_AT_START: readonly HsmStartFailure[] = ['module-unusable', 'keys-unusable', 'self-test-failed']
const PIN_FAILURES: readonly HsmStartFailure[] = ['pin-refused', 'pin-tries-low']
const EX_SOFTWARE = 70

interface Vault {
  readonly id: number
  readonly process: ChildProcess
  /** Ends a vault that does not get ready, or that does not go when it is told to. */
  impatience: NodeJS.Timeout
  ready: boolean
  replaced: boolean
  draining: boolean
}

export class Supervisor {
  readonly #config: Config
  readonly #log: Logger
  readonly #events: SupervisorEvents
  readonly #wanted: number
  readonly #bridgeFolder = mkdtempSync(join(tmpdir(), 'pinbridge-'))
  readonly #vaults = new Map<number, Vault>()
  readonly #vaultBackoff = new Backoff()
  readonly #gatewayBackoff = new Backoff()
  #gateway: ChildProcess | undefined
  #gatewayTimer: NodeJS.Timeout | undefined
  #bridgeSocket = ''
  #ports: { api: number; management: number }
  #listening = false
  #nextVault = 1
  #nextSocket = 1
  #filling = false
  #announced = false
  #stopping = false

  constructor(config: Config, log: Logger, events: SupervisorEvents) {
    this.#config = config
    this.#log = log
    this.#events = events
    this.#wanted = config.hsm.vaults ?? availableParallelism()
    this.#ports = { api: config.listeners.api.port, management: config.listeners.management.port }
  }

  /** Starts the gateway, and the vaults after it. */
  start(): void {
    if (this.#stopping) return
    const started = performance.now()
    const gateway = spawnGateway(this.#config)
    this.#gateway = gateway
    this.#expectGateway(GATEWAY_START_MS)
    this.#bridgeSocket = join(this.#bridgeFolder, `bridge-${this.#nextSocket++}.sock`)
    gateway.on('message', (message: GatewayReport) => this.#onGatewayReport(message))
    onEnd(gateway, (code, signal) => {
      clearTimeout(this.#gatewayTimer)
      if (performance.now() - started > STABLE_MS) this.#gatewayBackoff.reset()
      void this.#onGatewayExit(code, signal)
    })
    this.#tellGateway({ type: 'start', config: this.#gatewayConfig(), bridgeSocket: this.#bridgeSocket })
  }

  /** Lets everything that was accepted be answered, then ends every process. */
  stop(exitCode = 0): void {
    if (this.#stopping) return
    this.#stopping = true
    this.#log.info('stopping')
    let cutOff = false
    const end = (): void => {
      clearTimeout(impatience)
      for (const { process } of this.#vaults.values()) process.kill('SIGKILL')
      rmSync(this.#bridgeFolder, { recursive: true, force: true })
      this.#events.onEnd(cutOff && exitCode === 0 ? 1 : exitCode)
    }
    const impatience = setTimeout(() => {
      cutOff = true
      this.#log.error('not everything was answered in time; ending all the same')
      this.#gateway?.kill('SIGKILL')
    }, this.#config.limits.shutdownMs)
    if (this.#gateway?.pid === undefined || this.#gateway.exitCode !== null || this.#gateway.signalCode !== null) end()
    else {
      onEnd(this.#gateway, end)
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

  #tellGateway(command: GatewayCommand): void {
    sendTo(this.#gateway, command)
  }

  /** A gateway that is not heard of for so long is taken for hung. */
  #expectGateway(withinMs: number): void {
    clearTimeout(this.#gatewayTimer)
    const gateway = this.#gateway
    this.#gatewayTimer = setTimeout(() => gateway?.kill('SIGKILL'), withinMs)
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
        this.#fill()
        break
      case 'vault-ready': {
        const vault = this.#vaults.get(message.vault)
        if (vault) {
          vault.ready = true
          clearTimeout(vault.impatience)
        }
        this.#retireReplaced()
        this.#announce()
        break
      }
      case 'vault-overdue':
        this.#vaults.get(message.vault)?.process.kill('SIGKILL')
        break
      case 'failed':
        this.#log.error({ problem: message.problem }, 'the gateway could not start')
        if (!this.#announced) this.stop(EX_SOFTWARE)
        break
    }
  }

  async #onGatewayExit(code: number | null, signal: string | null): Promise<void> {
    this.#listening = false
    if (this.#stopping) return
    this.#log.error({ code, signal }, 'the gateway ended; starting another')
    // Each vault ends with its channel; one that cannot is not left behind.
    for (const { process } of this.#vaults.values()) process.kill('SIGKILL')
    await pause(this.#gatewayBackoff.next())
    this.start()
  }

  /** Starts vaults, one after the other, until there are as many as are wanted. */
  #fill(): void {
    if (!this.#filling) void this.#startMissing()
  }

  async #startMissing(): Promise<void> {
    this.#filling = true
    while (!this.#stopping && this.#listening && this.#missing() > 0) {
      // Looked at before the vault reads it, so that a PIN written meanwhile is noticed.
      const pinFile = identityOf(this.#config.hsm.pinFile)
      const failure = await this.#startVault()
      if (failure === undefined) continue
      if (FATAL_AT_START.includes(failure) && !this.#announced) this.stop(EX_SOFTWARE)
      else if (PIN_FAILURES.includes(failure)) {
        this.#log.error('no vault is started until the HSM PIN file changes')
        await untilChanged(this.#config.hsm.pinFile, pinFile)
      } else await pause(this.#vaultBackoff.next())
    }
    this.#filling = false
  }

  #missing(): number {
    return this.#wanted - [...this.#vaults.values()].filter((vault) => !vault.replaced).length
  }

  /** Starts one vault and waits until its HSM is open; returns why not, if not. */
  #startVault(): Promise<HsmStartFailure | undefined> {
    const id = this.#nextVault++
    const secret = randomBytes(32).toString('hex')
    const child = spawnVault(this.#config)
    const impatience = setTimeout(() => child.kill('SIGKILL'), VAULT_START_MS)
    const vault: Vault = { id, process: child, impatience, ready: false, replaced: false, draining: false }
    this.#vaults.set(id, vault)
    this.#tellGateway({ type: 'admit', vault: id, secret })
    const config = vaultConfig(this.#config)
    const command: VaultCommand = { type: 'start', vault: id, config, bridgeSocket: this.#bridgeSocket, secret }
    sendTo(child, command)
    return new Promise((resolve) => {
      let failure: HsmStartFailure = 'token-absent'
      const started = performance.now()
      let opened = false
      child.on('message', (message: VaultReport) => {
        if (message.type === 'failed') failure = message.reason
        else if (message.type === 'tired') this.#replace(vault)
        else {
          opened = true
          resolve(undefined)
        }
      })
      onEnd(child, (code, signal) => {
        clearTimeout(vault.impatience)
        this.#vaults.delete(id)
        // Its secret, if it never used it, opens nothing any more.
        this.#tellGateway({ type: 'drain', vault: id })
        if (!this.#stopping && !vault.replaced) this.#log.warn({ vault: id, code, signal }, 'a vault ended')
        if (!opened) resolve(failure)
        else if (vault.replaced) this.#fill()
        else void this.#refill(performance.now() - started)
      })
    })
  }

  /** A vault that ended is replaced at once; one that ended young counts as a failed start, so that none spins. */
  async #refill(livedMs: number): Promise<void> {
    if (livedMs > STABLE_MS) this.#vaultBackoff.reset()
    await pause(this.#vaultBackoff.next())
    this.#fill()
  }

  /** A tired vault works on until another has taken its place. */
  #replace(vault: Vault): void {
    vault.replaced = true
    this.#log.info({ vault: vault.id }, 'replacing a vault')
    this.#fill()
  }

  /**
   * Lets replaced vaults go as soon as enough serve without them; if they waited for the last of their successors, vaults
   * that tire faster than that would pile up without end.
   */
  #retireReplaced(): void {
    const serving = this.#serving()
    const replaced = serving.filter((vault) => vault.replaced)
    for (const vault of replaced.slice(0, Math.max(0, serving.length - this.#wanted))) {
      vault.draining = true
      vault.impatience = setTimeout(() => vault.process.kill('SIGKILL'), 2 * this.#config.limits.hsmMs)
      this.#tellGateway({ type: 'drain', vault: vault.id })
    }
  }

  #serving(): Vault[] {
    return [...this.#vaults.values()].filter((vault) => vault.ready && !vault.draining)
  }

  #announce(): void {
    const vaults = this.#serving()
    if (this.#announced || vaults.length < this.#wanted) return
    this.#announced = true
    const { api, management } = this.#config.listeners
    this.#events.onReady({
      event: 'ready',
      url: `https://${hostOf(api.host)}:${this.#ports.api}`,
      management: `http://${hostOf(management.host)}:${this.#ports.management}`,
      pid: process.pid,
      gateway: this.#gateway?.pid ?? 0,
      vaults: vaults.map((vault) => vault.process.pid ?? 0),
    })
  }
}

function hostOf(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
