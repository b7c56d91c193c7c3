/** Which program and which configuration run here, and what became of new configurations. */
import { Counter, Gauge, type Registry } from 'prom-client'
import { VERSION } from '../version.ts'
import type { Status } from './status.ts'

/** What became of a new configuration. */
export type ReloadOutcome = 'applied' | 'refused'

/** Registers them; what is returned counts a new configuration that was taken over, or was not fit. */
export function registerConfigMetrics(
  registry: Registry,
  options: { readonly status: () => Status; readonly development: boolean; readonly queue: number },
): { readonly reload: (outcome: ReloadOutcome) => void } {
  const registers = [registry]
  const { status, development, queue } = options
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read())
      },
    })

  new Gauge({
    name: 'pinbridge_build_info',
    help: '1, with the version of the program',
    labelNames: ['version'] as const,
    registers,
  }).set({ version: VERSION }, 1)
  gauge('pinbridge_development_mode', '1 where the environment is development: never in production', () =>
    Number(development),
  )
  gauge('pinbridge_queue_limit', 'How many requests may wait for a vault, by the configuration', () => queue)
  // Beside Prometheus' own clock it shows whether this machine's is right.
  gauge('pinbridge_time_seconds', 'The time of this machine, in seconds since 1970', () => Date.now() / 1000)

  let isRefused = false
  let appliedMs = Date.now()
  const reloads = new Counter({
    name: 'pinbridge_reloads_total',
    help: 'New configurations that were taken over, or were not fit and left everything as it was',
    labelNames: ['outcome'] as const,
    registers,
  })
  for (const outcome of ['applied', 'refused']) reloads.inc({ outcome }, 0)
  new Gauge({
    name: 'pinbridge_config_info',
    help: '1, with the SHA-256 of the configuration file that is in use',
    labelNames: ['sha256'] as const,
    registers,
    collect() {
      this.reset()
      const sha256 = status().configuration?.inUse
      if (sha256 !== undefined) this.set({ sha256 }, 1)
    },
  })
  gauge(
    'pinbridge_config_last_reload_successful',
    '0 while the last new configuration was not fit and the one before is in use, else 1',
    // A gateway that was replaced has refused nothing itself.
    () => (isRefused || status().configuration?.refused !== undefined ? 0 : 1),
  )
  gauge(
    'pinbridge_config_last_reload_success_timestamp_seconds',
    'When a configuration was last taken over: at a reload, or when the gateway began',
    () => appliedMs / 1000,
  )
  return {
    reload: (outcome) => {
      reloads.inc({ outcome })
      isRefused = outcome === 'refused'
      if (!isRefused) appliedMs = Date.now()
    },
  }
}
