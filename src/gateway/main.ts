/**
 * The process entry of the gateway: opens the bridge socket and both listeners, and passes on what the supervisor says of
 * the vaults. It starts no process and loads no native code.
 */
import { once } from 'node:events'
import { createServer, type AddressInfo, type ListenOptions, type Server } from 'node:net'
import { createAuditTrail, type AuditTrail } from '../audit/trail.ts'
import { VaultPool } from '../bridge/vault-pool.ts'
import { forbidCodeGeneration } from '../code-generation.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { createLog, type Logger } from '../log.ts'
import type { BridgeEnd, GatewayCommand, GatewayReport } from '../supervisor/messages.ts'
import { buildApi, buildManagement } from './app.ts'
import { createAuthentication, createPolicy } from './authentication.ts'
import { createOpenRequests } from './client-errors.ts'
import { watchForHungVaults } from './hung-vaults.ts'
import { collectWhenIdle } from './idle-collection.ts'
import { createMetrics } from './metrics.ts'
import { createLiveKeys, type LiveKeys } from './live-keys.ts'
import { describeCallers, describeSetPinTypes } from './openapi.ts'
import { createReload, expiriesOf, readTlsFiles } from './reload.ts'
import { createStatusKeeper } from './status.ts'

const ALIVE_EVERY_MS = 1_000
/** For a vault to make the last seal. */
const LAST_SEAL_MS = 2_000

function report(message: GatewayReport): void {
  process.send?.(message)
}

process.on('disconnect', () => process.exit(0))
// Ctrl-C and service managers signal the whole group; the supervisor says when it is time.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
process.once('message', (command: GatewayCommand) => {
  if (command.type !== 'start') return
  start(command.config, command.bridge).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no error code'
    const problem = `the gateway could not start (${code})`
    process.send?.({ type: 'failed', problem } satisfies GatewayReport, () => process.exit(1))
  })
})

async function start(config: GatewayConfig, bridgeEnd: BridgeEnd): Promise<void> {
  const log = createLog('gateway', config.logLevel)
  const pool = new VaultPool(config.limits, {
    onReady: (vault) => report({ type: 'vault-ready', vault }),
    onOverdue: (vault) => {
      log.error({ vault }, 'a vault did not answer within its deadline')
      report({ type: 'vault-overdue', vault })
    },
    onGive: (waitedMs) => metrics.queueWait(waitedMs / 1000),
    onStatus: (token, { calls }) => metrics.hsmCalls(token, calls),
  })
  const { store } = config.limits
  // Its packages take more memory than all others together: who has no store does without.
  const limitStore = store === undefined ? undefined : (await import('./limit-store.ts')).openLimitStore(store, log)
  const keys = createLiveKeys(config)
  const trail = config.audit && openTrail(config.audit, keys, pool, log)
  await trail?.start()
  const status = createStatusKeeper(pool, limitStore, trail)
  const metrics = createMetrics({
    status: status.read,
    keys: () => keys.now.keys,
    clients: () => authentication.policy.clients.map(({ id }) => id),
    development: config.environment === 'development',
    queue: config.limits.queue,
  })
  const tracing =
    config.tracing &&
    // Loaded only where traces are wanted, as the limit store is.
    (await import('./tracing/tracing.ts')).openTracing(config.tracing, {
      environment: config.environment,
      keys,
      log,
      metrics,
    })
  const bridge = createServer((socket) => pool.connect(socket))
  await listen(bridge, bridgeEnd)

  const open = createOpenRequests()
  const { api: apiListener, management: managementListener } = config.listeners
  const tls = readTlsFiles(apiListener)
  metrics.expiries(expiriesOf(tls, store?.caFile))
  const authentication = createAuthentication(createPolicy(config, tls.ca))
  const api = await buildApi({
    config,
    bridge: pool,
    log,
    metrics,
    open,
    keys,
    publicKeys: () => pool.publicKeys,
    limitStore,
    trail,
    tracing,
    tls,
    authentication,
  })
  const openApi = () =>
    describeCallers(describeSetPinTypes(api.swagger(), keys.now.setPinTypes), authentication.policy.bearer)
  const management = buildManagement({ config, metrics, status: status.read, openApi })
  await serve(api, apiListener)
  await serve(management, managementListener)

  const reload = createReload({ server: api.server, config, authentication, keys, metrics })
  process.on('message', (command: GatewayCommand) => {
    if (command.type === 'admit') pool.admit(command.vault, command.secret, command.token)
    else if (command.type === 'drain') pool.drain(command.vault)
    else if (command.type === 'tokens') status.learn(command)
    else if (command.type === 'reload') report({ type: 'reloaded', applied: reload(command.config) })
    else if (command.type === 'reload-refused') metrics.reload('refused')
    else if (command.type === 'stop') void stop()
  })
  forbidCodeGeneration()
  watchForHungVaults(pool)
  collectWhenIdle(open)
  setInterval(() => report({ type: 'alive' }), ALIVE_EVERY_MS)
  report({
    type: 'listening',
    port: (api.server.address() as AddressInfo).port,
    managementPort: (management.server.address() as AddressInfo).port,
  })

  /** Answers what was accepted, then ends; the vaults, which hold nothing any more, end with their channels. */
  async function stop(): Promise<void> {
    status.stop()
    await api.close()
    await management.close()
    // A client that has its answer may hang up before this process has noticed that it was sent, and written it down.
    await open.settled()
    await Promise.all([trail?.close(LAST_SEAL_MS), tracing?.close()])
    process.exit(0)
  }
}

function openTrail(
  audit: NonNullable<GatewayConfig['audit']>,
  keys: LiveKeys,
  pool: VaultPool,
  log: Logger,
): AuditTrail {
  const seal = (digest: string) => pool.call('sealAudit', { key: keys.now.auditKey ?? audit.key, digest })
  return createAuditTrail(audit, seal, {
    onUnwritable: (problem) => log.error({ problem }, 'the audit record cannot be written'),
    onWritable: () => log.info('the audit record can be written again'),
    // Kept apart from the record, this shows whether its end was cut off.
    onSeal: ({ seq, hash }) => log.info({ seq, hash }, 'the audit record is sealed'),
  })
}

/** Not by the instance's own listen(): at 0.0.0.0 it asks for the machine's addresses, with a socket that the launcher denies. */
async function serve(
  instance: { readonly ready: () => PromiseLike<unknown>; readonly server: Server },
  { host, port }: { readonly host: string; readonly port: number },
): Promise<void> {
  await instance.ready()
  await listen(instance.server, { host, port })
}

async function listen(server: Server, at: ListenOptions | BridgeEnd): Promise<void> {
  await once(server.listen(at), 'listening')
}
