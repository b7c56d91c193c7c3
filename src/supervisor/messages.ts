/** What the supervisor and its children say to each other over node's own process channel; never a secret of a request. */
import type { GatewayConfig, VaultConfig } from '../config/schema.ts'
import type { HsmStartFailure } from '../hsm/hsm.ts'

/** How a token is: a vault of it serves; none does yet; it is not there; its PIN, or its keys, are refused. */
export type TokenState = 'serving' | 'starting' | 'absent' | 'pin-refused' | 'refused'

/** Why a vault had to be replaced. */
export type RestartCause =
  'ended' | 'overdue' | 'unhealthy' | 'recycled' | 'start-failed' | 'start-timeout' | 'gateway-lost'

/** A token as the supervisor sees it. */
export interface TokenReport {
  readonly name: string
  readonly state: TokenState
  /** How many vaults there are to be. */
  readonly wanted: number
}

/** Which configuration is in use, by the SHA-256 of its file in hex. */
export interface ConfigReport {
  readonly inUse: string
  /** The last one that was not fit, unless another was taken over since. */
  readonly refused?: string
  /** How many vaults still run by an earlier one. */
  readonly renewing: number
}

/** What a running gateway takes over; the TLS files it reads itself. */
export type LiveConfig = Pick<
  GatewayConfig,
  'clients' | 'authentication' | 'keys' | 'setPinTypes' | 'counterOnceKeys' | 'audit'
>

/** A socket of the bridge: the launcher has opened it, or it is still to be opened. */
export type BridgeEnd = { readonly fd: number } | { readonly path: string }

/** To the gateway. */
export type GatewayCommand =
  | { readonly type: 'start'; readonly config: GatewayConfig; readonly bridge: BridgeEnd }
  /** A vault of this number will connect and show this secret, once. */
  | { readonly type: 'admit'; readonly vault: number; readonly token: string; readonly secret: string }
  /** Said whenever it changes. */
  | {
      readonly type: 'tokens'
      readonly tokens: readonly TokenReport[]
      readonly configuration: ConfigReport
      readonly restarts: Readonly<Record<RestartCause, number>>
    }
  /** Give this vault nothing more, and let it go when it has answered. */
  | { readonly type: 'drain'; readonly vault: number }
  /** Take this over, and read the TLS files anew. */
  | { readonly type: 'reload'; readonly config: LiveConfig }
  /** A new configuration was not fit, and was not sent. */
  | { readonly type: 'reload-refused' }
  | { readonly type: 'stop' }

/** From the gateway. */
export type GatewayReport =
  | { readonly type: 'listening'; readonly port: number; readonly managementPort: number }
  /** Said every second: a gateway that hangs is replaced like a vault that does. */
  | { readonly type: 'alive' }
  | { readonly type: 'vault-ready'; readonly vault: number }
  /** It did not answer within the deadline: a process with a hung native call cannot end itself. */
  | { readonly type: 'vault-overdue'; readonly vault: number }
  /** Whether it took over all of what it was told to; else nothing. */
  | { readonly type: 'reloaded'; readonly applied: boolean }
  | { readonly type: 'failed'; readonly problem: string }

/** To a vault. */
export type VaultCommand =
  | {
      readonly type: 'start'
      readonly vault: number
      readonly config: VaultConfig
      readonly bridge: BridgeEnd
      readonly secret: string
    }
  /** Say whether the token could be opened by this configuration, and end. */
  | { readonly type: 'try'; readonly config: VaultConfig }

/** From a vault. */
export type VaultReport =
  /** The HSM is open, so that the next vault may initialise its own. */
  | { readonly type: 'opened' }
  | {
      readonly type: 'failed'
      readonly reason: HsmStartFailure
      readonly problems: readonly string[]
      /** Of the PIN file that was read; empty if none was. */
      readonly pinIdentity: string
    }
  /** A key did not give its known answer: it leaves. */
  | { readonly type: 'unhealthy' }
  /** Old, or grown, or its token leaks: it wants to be replaced and drained. */
  | { readonly type: 'tired' }
