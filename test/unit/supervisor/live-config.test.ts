import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { loadConfig } from '../../../src/config/config.ts'
import { ruleProblems } from '../../../src/config/rules.ts'
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

const AUDIT_KEY = {
  ...{ id: 'seal', version: 1, state: 'active', purpose: 'audit-mac', algorithm: 'AES-256', origin: 'generated' },
  ...{ kcv: '0102030405', check: '00'.repeat(16) },
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

  it('takes over keys with all that names them, so that what was checked together goes together', () => {
    const running = load()
    const next = load((config) => {
      config.keys[0].version++
      config.d1.profiles[0].hexCase = 'lower'
      config.weakPins = { repeated: true }
    })
    const { config, changed, takesRestart } = mergeLive(running, next)
    expect({ changed: changed.toSorted(), takesRestart }).toEqual({
      changed: ['d1', 'keys', 'weakPins'],
      takesRestart: [],
    })
    expect(config).toEqual(next)
    expect(ruleProblems(config)).toEqual([])
  })

  it('takes over the audit key, and nothing else of the record', () => {
    const audit = { directory: '.', key: 'seal-1' }
    const keys = ['seal-1', 'seal-2'].map((id) => ({ ...AUDIT_KEY, id }))
    const withAudit = (members: object, states: readonly string[] = ['active', 'active']) =>
      load((config) => {
        config.audit = { ...audit, ...members }
        config.keys.push(...keys.map((key, i) => ({ ...key, state: states[i] })))
      })
    const { config, changed, takesRestart } = mergeLive(
      withAudit({}),
      withAudit({ key: 'seal-2', sealEveryMs: 2000 }, ['retired', 'active']),
    )
    expect({ changed: changed.toSorted(), takesRestart }).toEqual({
      changed: ['audit', 'keys'],
      takesRestart: ['audit.sealEveryMs'],
    })
    expect(config.audit).toMatchObject({ key: 'seal-2', sealEveryMs: 60_000 })
    expect(ruleProblems(config)).toEqual([])
  })

  it('leaves something that breaks a rule, where a key goes that a member needs which takes a restart', () => {
    const hash = (state: string) => (config: Draft) =>
      config.keys.push({ ...AUDIT_KEY, id: 'hash', purpose: 'limit-hash', state })
    const running = load((config) => {
      hash('active')(config)
      config.limits.store = { url: 'redis://localhost' }
    })
    const { config, takesRestart } = mergeLive(running, load(hash('retired')))
    expect(takesRestart).toEqual(['limits.store'])
    expect(ruleProblems(config)).toEqual(['limits.store: needs an active key with the purpose limit-hash'])
  })

  it('takes over nothing else, and names it', () => {
    const running = load()
    const next = load((config) => {
      config.limits = { queue: 7, guesses: { perCard: 6 } }
      config.listeners.api.port = 1
      config.logLevel = 'debug'
      config.hsm.vaults = 3
    })
    const { config, changed, takesRestart } = mergeLive(running, next)
    expect(changed).toEqual([])
    expect(takesRestart.toSorted()).toEqual([
      'hsm.vaults',
      'limits.guesses',
      'limits.queue',
      'listeners.api',
      'logLevel',
    ])
    expect(config).toEqual({ ...running, sha256: next.sha256 })
    expect(next.sha256).not.toBe(running.sha256)
  })
})
