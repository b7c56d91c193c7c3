import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { loadConfig } from '../../../src/config/config.ts'
import { mergeLive } from '../../../src/supervisor/live-config.ts'
import { Site, validConfig, type Draft } from '../config/valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const load = (change: (config: Draft) => void = () => {}) => {
  const config = validConfig()
  change(config)
  site.write('pinbridge.yaml', stringify(config))
  return loadConfig(site.file)
}

describe('mergeLive', () => {
  it('finds nothing in a file that was read twice', () => {
    const running = load()
    const { config, changed, takesRestart } = mergeLive(running, load())
    expect({ changed, takesRestart }).toEqual({ changed: [], takesRestart: [] })
    expect(config).toEqual(running)
  })

  it('takes over clients', () => {
    const next = load(({ clients }) => (clients[0].grants = []))
    const { config, changed, takesRestart } = mergeLive(load(), next)
    expect({ changed, takesRestart }).toEqual({ changed: ['clients'], takesRestart: [] })
    expect(config.clients).toEqual(next.clients)
  })

  it('takes over nothing else, and names it', () => {
    const running = load()
    const next = load((config) => {
      config.limits = { queue: 7, guesses: { perCard: 6 } }
      config.listeners.api.port = 1
      config.keys[0].version++
      config.logLevel = 'debug'
      config.hsm.vaults = 3
    })
    const { config, changed, takesRestart } = mergeLive(running, next)
    expect(changed).toEqual([])
    expect(takesRestart.toSorted()).toEqual([
      'hsm.vaults',
      'keys',
      'limits.guesses',
      'limits.queue',
      'listeners.api',
      'logLevel',
    ])
    expect(config).toEqual(running)
  })
})
