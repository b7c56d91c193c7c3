/** Tokens, vaults and queue as gauges, and restarts as a counter: read from the status when the metrics are asked for. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { VaultStatus } from '../bridge/vault-pool.ts'
import type { TokenState } from '../supervisor/messages.ts'
import type { NotReady, Status } from './status.ts'

/** Every reason for which /readyz says no. */
export const REASONS: readonly NotReady[] = [
  'stopping',
  'no-vault',
  'self-test-overdue',
  'limit-store-gone',
  'audit-unwritable',
  'overloaded',
]
const VAULT_STATES: readonly VaultStatus['state'][] = ['ready', 'draining']
/** Every state that a token can be in. */
export const TOKEN_STATES: readonly TokenState[] = ['serving', 'starting', 'absent', 'pin-refused', 'refused']

/** Registers them. Labels are bounded: a token's name, and never a vault's number, of which there is no last one. */
export function registerStatusMetrics(registry: Registry, status: () => Status): void {
  const registers = [registry]

  // Of what there is not, no figure: a zero would say that it fails.
  const gauge = (name: string, help: string, read: (status: Status) => number | undefined) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = read(status())
        if (value === undefined) this.remove()
        else this.set(value)
      },
    })
  gauge('pinbridge_ready', '1 while /readyz answers 200, else 0', ({ reason }) => (reason === undefined ? 1 : 0))
  gauge('pinbridge_requests_in_flight', 'Requests that a vault is working on', ({ vaults }) =>
    vaults.reduce((sum, { inFlight }) => sum + inFlight, 0),
  )
  gauge('pinbridge_queue_length', 'Requests that wait for a vault', ({ queued }) => queued)
  gauge(
    'pinbridge_limit_store_up',
    '1 while the limit store answers, else 0; nothing if there is none',
    ({ isLimitStoreUp }) => (isLimitStoreUp === undefined ? undefined : Number(isLimitStoreUp)),
  )
  gauge(
    'pinbridge_audit_writable',
    '1 while operations can be recorded, else 0',
    ({ audit }) => audit && Number(audit.isWritable),
  )
  gauge(
    'pinbridge_vaults_renewing',
    'Vaults that still run by an earlier configuration',
    ({ configuration }) => configuration?.renewing,
  )
  gauge('pinbridge_audit_unsealed_records', 'Records that have no seal yet', ({ audit }) => audit?.unsealed)
  gauge(
    'pinbridge_audit_oldest_unsealed_timestamp_seconds',
    'When the oldest record that has no seal yet was written; nothing if there is none',
    ({ audit }) => audit?.unsealedSinceMs && audit.unsealedSinceMs / 1000,
  )

  const auditCounter = (name: string, help: string, read: (audit: NonNullable<Status['audit']>) => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        const { audit } = status()
        if (audit === undefined) this.remove()
        else {
          this.reset()
          this.inc(read(audit))
        }
      },
    })
  auditCounter(
    'pinbridge_audit_records_total',
    'Records on the disk since the record began: the seq of the last one',
    ({ seq }) => seq,
  )
  auditCounter(
    'pinbridge_audit_lost_records_total',
    'Operations that went on unrecorded, since the gateway began',
    ({ lost }) => lost,
  )

  new Gauge({
    name: 'pinbridge_not_ready_reason',
    help: '1 for the reason that /readyz gives, 0 for every other',
    labelNames: ['reason'] as const,
    registers,
    collect() {
      const now = status().reason
      for (const reason of REASONS) this.set({ reason }, reason === now ? 1 : 0)
    },
  })

  new Gauge({
    name: 'pinbridge_token_state',
    help: '1 for the state that a token is in, 0 for every other',
    labelNames: ['token', 'state'] as const,
    registers,
    collect() {
      this.reset()
      for (const token of status().tokens) {
        for (const state of TOKEN_STATES) this.set({ token: token.name, state }, state === token.state ? 1 : 0)
      }
    },
  })
  new Gauge({
    name: 'pinbridge_vaults_wanted',
    help: 'How many vaults a token is to have',
    labelNames: ['token'] as const,
    registers,
    collect() {
      this.reset()
      for (const { name, wanted } of status().tokens) this.set({ token: name }, wanted)
    },
  })
  new Gauge({
    name: 'pinbridge_vaults',
    help: 'Vaults that are connected, by token and state',
    labelNames: ['token', 'state'] as const,
    registers,
    collect() {
      this.reset()
      const { tokens, vaults } = status()
      for (const { name } of tokens) for (const state of VAULT_STATES) this.set({ token: name, state }, 0)
      for (const { token, state } of vaults) this.inc({ token, state })
    },
  })
  new Gauge({
    name: 'pinbridge_self_test_success_timestamp_seconds',
    help: 'When every key last gave its known answer, of the vault that is longest without it',
    labelNames: ['token'] as const,
    registers,
    collect() {
      this.reset()
      const oldest = new Map<string, number>()
      for (const { token, selfTestAgeMs } of status().vaults) {
        oldest.set(token, Math.max(oldest.get(token) ?? 0, selfTestAgeMs))
      }
      for (const [token, ageMs] of oldest) this.set({ token }, (Date.now() - ageMs) / 1000)
    },
  })

  const sessions = (name: string, help: string, read: (sessions: NonNullable<VaultStatus['sessions']>) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['token'] as const,
      registers,
      collect() {
        this.reset()
        for (const { token, sessions } of status().vaults) if (sessions) this.inc({ token }, read(sessions))
      },
    })
  sessions('pinbridge_hsm_sessions', 'Sessions that the vaults have for requests', ({ total }) => total)
  sessions('pinbridge_hsm_sessions_in_use', 'Sessions in use, the most of each vault within a second', (of) => of.inUse)
  sessions(
    'pinbridge_hsm_calls_waiting',
    'Calls of the HSM that waited for a session, the most of each vault within a second',
    ({ waiting }) => waiting,
  )

  new Counter({
    name: 'pinbridge_vault_restarts_total',
    help: 'Vaults that ended and had to be replaced, by cause, since the supervisor began',
    labelNames: ['cause'] as const,
    registers,
    collect() {
      // Nothing until the supervisor has said: a zero in between would look like so many restarts anew.
      this.reset()
      for (const [cause, count] of Object.entries(status().restarts ?? {})) this.inc({ cause }, count)
    },
  })
}
