/** What the supervisor and its children say to each other over node's own process channel; never a secret of a request. */
import type { GatewayConfig, VaultConfig } from '../config/schema.ts'
import type { HsmStartFailure } from '../hsm/hsm.ts'

/** To the gateway. */
export type GatewayCommand =
  | { readonly type: 'start'; readonly config: GatewayConfig; readonly bridgeSocket: string }
  /** A vault of this number will connect and show this secret, once. */
  | { readonly type: 'admit'; readonly vault: number; readonly secret: string }
  /** Give this vault nothing more, and let it go when it has answered. */
  | { readonly type: 'drain'; readonly vault: number }
  | { readonly type: 'stop' }

/** From the gateway. */
export type GatewayReport =
  | { readonly type: 'listening'; readonly port: number; readonly managementPort: number }
  /** Said every second: a gateway that hangs is replaced like a vault that does. */
  | { readonly type: 'alive' }
  | { readonly type: 'vault-ready'; readonly vault: number }
  /** It did not answer within the deadline: a process with a hung native call cannot end itself. */
  | { readonly type: 'vault-overdue'; readonly vault: number }
  | { readonly type: 'failed'; readonly problem: string }

/** To a vault. */
export interface VaultCommand {
  readonly type: 'start'
  readonly vault: number
  readonly config: VaultConfig
  readonly bridgeSocket: string
  readonly secret: string
}

/** From a vault. */
export type VaultReport =
  /** The HSM is open, so that the next vault may initialise its own. */
  | { readonly type: 'opened' }
  | { readonly type: 'failed'; readonly reason: HsmStartFailure; readonly problems: readonly string[] }
  /** Old, or grown, or its token leaks: it wants to be replaced and drained. */
  | { readonly type: 'tired' }
