/** What is known of tokens, vaults and queue, put together for readyz and metrics; no secret. */
import type { AuditTrail, TrailStatus } from '../audit/trail.ts'
import type { VaultPool, VaultStatus } from '../bridge/vault-pool.ts'
import type { ConfigReport, GatewayCommand, RestartCause, TokenReport } from '../supervisor/messages.ts'
import type { LimitStore } from './limit-store.ts'

/** Vaults ask their keys for known answers every ten seconds: one that missed three of them is no longer believed. */
export const SELF_TEST_BOUND_MS = 35_000

/** Why no request should be sent here. */
export type NotReady =
  'stopping' | 'no-vault' | 'self-test-overdue' | 'limit-store-gone' | 'audit-unwritable' | 'overloaded'

/** A token as the supervisor sees it, and how many of its vaults take requests. */
export interface TokenStatus extends TokenReport {
  readonly serving: number
}

/** The service at one moment. */
export interface Status {
  /** Undefined if it is ready. */
  readonly reason: NotReady | undefined
  readonly vaults: readonly VaultStatus[]
  /** How many requests wait for a vault. */
  readonly queued: number
  readonly tokens: readonly TokenStatus[]
  /** Undefined until the supervisor has said so. */
  readonly configuration: ConfigReport | undefined
  /** How many vaults have been replaced since the supervisor began; undefined until it has said so. */
  readonly restarts: Readonly<Record<RestartCause, number>> | undefined
  /** Undefined if there is no limit store. */
  readonly isLimitStoreUp?: boolean | undefined
  /** Undefined if nothing is recorded. */
  readonly audit?: TrailStatus | undefined
}

/** Keeps what the supervisor says, and asks the pool for the rest. */
export interface StatusKeeper {
  readonly learn: (command: Extract<GatewayCommand, { type: 'tokens' }>) => void
  /** From now on nothing should be sent here, and what was accepted is answered. */
  readonly stop: () => void
  readonly read: () => Status
}

/** Makes the keeper of one gateway. */
export function createStatusKeeper(
  pool: Pick<VaultPool, 'vaults' | 'queued' | 'overloaded'>,
  limitStore?: Pick<LimitStore, 'isUp' | 'whenGone'>,
  trail?: Pick<AuditTrail, 'status'>,
): StatusKeeper {
  let reports: readonly TokenReport[] = []
  let restarts: Status['restarts']
  let configuration: Status['configuration']
  let isStopping = false

  const reasonOf = (serving: readonly VaultStatus[]): NotReady | undefined => {
    if (isStopping) return 'stopping'
    if (serving.length === 0) return 'no-vault'
    if (serving.every(({ selfTestAgeMs }) => selfTestAgeMs > SELF_TEST_BOUND_MS)) return 'self-test-overdue'
    if (limitStore?.isUp === false && limitStore.whenGone === 'refuse') return 'limit-store-gone'
    const audit = trail?.status()
    if (audit?.isWritable === false && audit.refuses) return 'audit-unwritable'
    return pool.overloaded ? 'overloaded' : undefined
  }

  return {
    learn: (command) => {
      reports = command.tokens
      restarts = command.restarts
      configuration = command.configuration
    },
    stop: () => {
      isStopping = true
    },
    read: () => {
      const { vaults, queued } = pool
      const serving = vaults.filter(({ state }) => state === 'ready')
      const tokens = reports.map((report) => ({
        ...report,
        serving: serving.filter(({ token }) => token === report.name).length,
      }))
      return {
        reason: reasonOf(serving),
        vaults,
        queued,
        tokens,
        configuration,
        restarts,
        isLimitStoreUp: limitStore?.isUp,
        audit: trail?.status(),
      }
    },
  }
}
