/** What `doctor` says of a service that runs with this configuration, and of what it shares with other nodes. */
import type { ExaminedConfig } from '../../config/config.ts'
import { configurationHash, readinessOf } from '../readiness.ts'
import { finding, type Finding } from './finding.ts'

const REASONS: Readonly<Record<string, string>> = {
  stopping: 'it is being stopped: wait, or start it again',
  'no-vault': 'no vault has opened its HSM: what is said of the token above is why, and so does the service’s log',
  'self-test-overdue': 'no vault has had its keys’ known answers lately: look at the HSM and its connection',
  'limit-store-gone': 'see to the server of `limits.store`, or to the network to it',
  'audit-unwritable': 'see to the folder of `audit.directory`: its owner, its mode, free space',
  overloaded: 'more is asked than the HSM serves: more vaults, another HSM, or fewer requests',
}

/** Asks the management listener once, and says where limits are counted. */
export async function serviceFindings(configPath: string, { config, isSound }: ExaminedConfig): Promise<Finding[]> {
  const findings = isSound(['listeners', 'management'])
    ? await runningFindings(configPath, config.listeners.management)
    : []
  if (isSound(['limits'])) findings.push(limitFinding(config.limits.store))
  return findings
}

async function runningFindings(
  configPath: string,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Finding[]> {
  const readiness = port === 0 ? undefined : await readinessOf(host, port)
  if (readiness === undefined) {
    return [
      finding('service', 'service', 'note', 'none answers on the management listener: it does not run, or elsewhere'),
    ]
  }
  const { ready, reason = '', vaults, configuration } = readiness
  const vaultsText = Array.isArray(vaults) ? `, ${vaults.length} vaults` : ''
  const findings = [
    ready
      ? finding('service', 'service', 'ok', `runs and is ready${vaultsText}`)
      : finding('service', 'service', 'note', `runs and is not ready (${plain(reason)})`, REASONS[reason]),
  ]
  if (configuration?.inUse === undefined) return findings
  const sha256 = configurationHash(configPath)
  if (configuration.inUse === sha256) return findings
  return [
    ...findings,
    configuration.refused === sha256
      ? finding(
          'service',
          'configuration',
          'note',
          'the service has refused this file and runs with an earlier one',
          'its log says why',
        )
      : finding(
          'service',
          'configuration',
          'note',
          'the service runs with another state of this file',
          'send it SIGHUP to have it reload',
        ),
  ]
}

function plain(text: string): string {
  return text.slice(0, 40).replace(/[^ -~]/g, '?')
}

function limitFinding(store: { readonly url: string; readonly whenGone: string } | undefined): Finding {
  if (store === undefined) {
    return finding('service', 'limits', 'ok', 'counted on this node alone; several nodes need `limits.store`')
  }
  const { protocol, host } = new URL(store.url)
  if (protocol === 'rediss:')
    return finding('service', 'limits', 'ok', `shared by ${host} over TLS; only the service asks it`)
  return finding(
    'service',
    'limits',
    'note',
    `shared by ${host} without TLS; only the service asks it`,
    'use a rediss:// address unless the server is on this machine',
  )
}
