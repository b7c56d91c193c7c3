/**
 * The process entry of the gateway: opens the bridge socket and both listeners, and passes on what the supervisor says of
 * the vaults. It starts no process and loads no native code.
 */
import { readFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { VaultPool } from '../bridge/vault-pool.ts'
import type { GatewayConfig } from '../config/schema.ts'
import { createLog } from '../log.ts'
import type { GatewayCommand, GatewayReport } from '../supervisor/messages.ts'
import { buildApi, buildManagement } from './app.ts'
import { createOpenRequests } from './client-errors.ts'
import { watchForHungVaults } from './hung-vaults.ts'
import { createMetrics } from './metrics.ts'
import { createStatusKeeper } from './status.ts'

const ALIVE_EVERY_MS = 1_000

function report(message: GatewayReport): void {
  process.send?.(message)
}

process.on('disconnect', () => process.exit(0))
// Ctrl-C and service managers signal the whole group; the supervisor says when it is time.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})
process.once('message', (command: GatewayCommand) => {
  if (command.type !== 'start') return
  start(command.config, command.bridgeSocket).catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'no error code'
    const problem = `the gateway could not start (${code})`
    process.send?.({ type: 'failed', problem } satisfies GatewayReport, () => process.exit(1))
  })
})

async function start(config: GatewayConfig, bridgeSocket: string): Promise<void> {
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
  const status = createStatusKeeper(pool)
  const metrics = createMetrics({ status: status.read, development: config.environment === 'development' })
  const bridge = createServer((socket) => pool.connect(socket))
  await listen(bridge, bridgeSocket)

  const open = createOpenRequests()
  const { api: apiListener, management: managementListener } = config.listeners
  const api = await buildApi({
    config,
    bridge: pool,
    log,
    metrics,
    open,
    publicKeys: () => pool.publicKeys,
    tls: {
      key: readFileSync(apiListener.privateKey),
      cert: readFileSync(apiListener.certificate),
      ca: readFileSync(apiListener.clientCa),
    },
  })
  const management = buildManagement({ config, metrics, status: status.read, openApi: () => api.swagger() })
  await api.listen({ host: apiListener.host, port: apiListener.port })
  await management.listen({ host: managementListener.host, port: managementListener.port })

  process.on('message', (command: GatewayCommand) => {
    if (command.type === 'admit') pool.admit(command.vault, command.secret, command.token)
    else if (command.type === 'drain') pool.drain(command.vault)
    else if (command.type === 'tokens') status.learn(command)
    else if (command.type === 'stop') void stop()
  })
  watchForHungVaults(pool)
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
    process.exit(0)
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
}
