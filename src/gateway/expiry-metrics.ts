/** What expires when: keys by the days in the catalogue, and certificates by their own; as points in time, so that nothing here counts down. */
import { Gauge, type Registry } from 'prom-client'
import type { KeyView } from './live-keys.ts'

/** The certificates that the gateway reads. */
export type CertificateName = 'server' | 'client-ca' | 'limit-store-ca'

/** When each of them expires, in milliseconds since 1970; of several in one file, the first that does. */
export type Expiries = Readonly<Partial<Record<CertificateName, number>>>

const DAY_S = 86_400

/** Registers them; of keys they show nothing that GET /v1/keys does not. What is returned takes the certificates' ends. */
export function registerExpiryMetrics(
  registry: Registry,
  keys: () => KeyView['keys'],
): { readonly expiries: (expiries: Expiries) => void } {
  const registers = [registry]
  new Gauge({
    name: 'pinbridge_key_info',
    help: '1 for every version of a key in the catalogue',
    labelNames: ['id', 'version', 'purpose', 'algorithm', 'state'] as const,
    registers,
    collect() {
      this.reset()
      for (const { id, version, purpose, algorithm, state } of keys()) {
        this.set({ id, version, purpose, algorithm, state }, 1)
      }
    },
  })
  // Of a retired version nobody has to know; of one without a day, nothing is known.
  const keyTime = (name: string, help: string, dayOf: (key: KeyView['keys'][number]) => number | undefined) =>
    new Gauge({
      name,
      help,
      labelNames: ['id', 'version'] as const,
      registers,
      collect() {
        this.reset()
        for (const key of keys()) {
          const atS = key.state === 'retired' ? undefined : dayOf(key)
          if (atS !== undefined) this.set({ id: key.id, version: key.version }, atS)
        }
      },
    })
  keyTime(
    'pinbridge_key_created_timestamp_seconds',
    'When a version of a key was made, by its `created` in the configuration',
    ({ created }) => (created === undefined ? undefined : secondsOf(created)),
  )
  keyTime(
    'pinbridge_key_expiry_timestamp_seconds',
    'When the last day of a version of a key ends, by its `expires` in the configuration',
    ({ expires }) => (expires === undefined ? undefined : secondsOf(expires) + DAY_S),
  )

  let known: Expiries = {}
  new Gauge({
    name: 'pinbridge_certificate_expiry_timestamp_seconds',
    help: 'When the server certificate or its chain, the first CA of clients, and the first CA of the limit store expire',
    labelNames: ['certificate'] as const,
    registers,
    collect() {
      this.reset()
      for (const [certificate, atMs] of Object.entries(known)) this.set({ certificate }, atMs / 1000)
    },
  })
  return {
    expiries: (expiries) => {
      known = expiries
    },
  }
}

/** The beginning of a day, UTC. */
function secondsOf(day: string): number {
  return Date.parse(day) / 1000
}
