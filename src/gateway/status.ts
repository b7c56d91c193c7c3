/** What the vault pool tells of itself. */

/** The vaults, as health and metrics show them; no secret. */
export interface BridgeStatus {
  readonly ready: boolean
  readonly vaults: readonly { readonly id: number; readonly state: string; readonly inFlight: number }[]
  readonly queued: number
}
