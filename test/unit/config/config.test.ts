import { writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { gatewayConfig, loadConfig, profilesOf, vaultConfig } from '../../../src/config/config.ts'
import { EX_CONFIG } from '../../../src/exit-codes.ts'
import { SHIPPED_PROFILES } from '../../../src/pin-change/shipped-profiles.ts'
import { macProfile, Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

function load(change: (config: Draft) => void = () => {}, overrides = {}) {
  const config = validConfig()
  change(config)
  writeFileSync(site.file, stringify(config))
  return loadConfig(site.file, overrides)
}

describe('loadConfig', () => {
  it('loads a valid configuration and fills in the defaults', () => {
    const config = load()
    expect(config.acceptDefaultProfiles).toBe(false)
    expect(config.logLevel).toBe('info')
    expect(config.hsm).toMatchObject({ tokens: [{ sessions: 4, environment: {} }], recycle: { rssMiB: 512 } })
    expect(config.hsm).not.toHaveProperty('vaults')
    expect(config.d1.profiles[0]).toMatchObject({
      members: { pinBlock: 'pinBlock', prw: 'prw', mac: 'macValue', counter: 'counter' },
      hexCase: 'upper',
    })
    expect(config.d1.recipients[0]!.development).toBe(false)
    expect(config.listeners.management).toEqual({ host: '127.0.0.1', port: 9443 })
    expect(config.limits).toMatchObject({ queue: 1000, guesses: { perCard: 5, perClient: 1000 } })
  })

  it("resolves relative paths against the file's directory, and nothing else", () => {
    const config = load((draft) => {
      draft.hsm.environment = { SOFTHSM2_CONF: './softhsm2.conf', ChrystokiConfigurationPath: 'luna' }
    })
    expect(config.hsm.tokens[0]).toMatchObject({
      module: join(site.directory, 'token/module.so'),
      pinFile: join(site.directory, 'pin'),
      environment: { SOFTHSM2_CONF: './softhsm2.conf', ChrystokiConfigurationPath: 'luna' },
    })
    expect(config.listeners.api).toMatchObject({
      certificate: join(site.directory, 'tls/server.pem'),
      privateKey: join(site.directory, 'tls/server-key.pem'),
      clientCa: join(site.directory, 'tls/ca.pem'),
    })
  })

  it('resolves them so as well if its own path is relative', () => {
    load()
    const config = loadConfig(relative(process.cwd(), site.file))
    expect(config.hsm.tokens[0]!.pinFile).toBe(join(site.directory, 'pin'))
  })

  it('leaves the bare name of a module to the loader, and an absolute path as it is', () => {
    expect(load((draft) => void (draft.hsm.module = 'libsofthsm2.so')).hsm.tokens[0]!.module).toBe('libsofthsm2.so')
    const absolute = join(site.directory, 'pin')
    expect(load((draft) => void (draft.hsm.pinFile = absolute)).hsm.tokens[0]!.pinFile).toBe(absolute)
  })

  it('returns a configuration that is frozen throughout', () => {
    const config = load()
    const parts: unknown[] = [config]
    for (const part of parts) {
      expect(Object.isFrozen(part)).toBe(true)
      for (const value of Object.values(part as object)) if (typeof value === 'object') parts.push(value)
    }
    expect(parts.length).toBeGreaterThan(40)
    expect(() => (config.keys[0]!.state = 'retired')).toThrow(TypeError)
  })

  it('takes the ports of the command line, which have to be ports too', () => {
    const { listeners } = load(() => {}, { port: 0, managementPort: 1234 })
    expect([listeners.api.port, listeners.management.port]).toEqual([0, 1234])
    expect(load(() => {}, { port: undefined }).listeners.api.port).toBe(8443)
    expect(load((draft) => delete draft.listeners.api.port, { port: 7 }).listeners.api.port).toBe(7)
    expect(site.problemsOf(validConfig(), { port: 65_536 })).toEqual(['listeners.api.port: must be at most 65535'])
  })

  it('says the file as it was called', () => {
    expect(() => loadConfig('no/such/file.yaml')).toThrow('no/such/file.yaml: does not exist')
    expect(basename(site.file)).toBe('pinbridge.yaml')
  })

  it('has the exit code of sysexits.h', () => {
    expect(EX_CONFIG).toBe(78)
  })
})

describe('gatewayConfig', () => {
  it('holds no HSM member, no profile, no D1 key, and of a key only what GET /v1/keys shows', () => {
    const config = gatewayConfig(load())
    expect(Object.keys(config).sort()).toEqual(
      [
        'audit',
        'authentication',
        'clients',
        'environment',
        'keys',
        'limits',
        'listeners',
        'logLevel',
        'setPinTypes',
        'counterOnceKeys',
      ].sort(),
    )
    const { id, version, state, purpose, use, algorithm, profile, kcv } = validConfig().keys[5]
    expect(config.keys[5]).toStrictEqual({ id, version, purpose, use, algorithm, kcv, profile, state })
    expect(config.keys[1]).toStrictEqual({
      id: 'zpk',
      version: 1,
      purpose: 'zone-pin',
      direction: 'both',
      algorithm: 'TDEA-128',
      kcv: 'A1B2C3',
      state: 'active',
    })
    expect(Object.isFrozen(config.keys[0])).toBe(true)
    const text = JSON.stringify(config)
    for (const secret of ['module.so', 'pinbridge"', 'check', 'AABBCC', 'd1Profile', 'kid']) {
      expect(text).not.toContain(secret)
    }
  })

  it('lists the wire names of all D1 profiles, ISO 0 first, each once', () => {
    const config = load((draft) => {
      draft.d1.profiles[0].types = { ISO0: 'FORMAT0', '3DES_SECCOS': 'SECCOS' }
      draft.d1.profiles.push({ id: 'other', types: { ISO0: 'ISO0' } }, { id: 'third', types: { ISO0: 'FORMAT0' } })
    })
    expect(gatewayConfig(config).setPinTypes).toEqual(['FORMAT0', 'ISO0', 'SECCOS'])
    expect(gatewayConfig(load()).setPinTypes).toEqual(['ISO0', '3DES_SECCOS'])
  })
})

describe('vaultConfig', () => {
  const vaultConfigOf = (config: ReturnType<typeof load>) => vaultConfig(config, config.hsm.tokens[0]!)

  it('holds nothing of the network, the callers and the other tokens', () => {
    const config = load()
    const { environment, keys, profiles, d1, weakPins, logLevel } = config
    const hsm = { token: config.hsm.tokens[0], recycle: config.hsm.recycle, allKeysNeeded: false }
    const expected = { environment, hsm, keys, profiles, d1, weakPins, logLevel }
    expect(vaultConfigOf(config)).toStrictEqual({ ...expected, seccosTranslation: false, migratesOnly: false })
    const granting = load((draft) => draft.clients[0].grants[0].operations.push('pin-blocks/translate-seccos'))
    expect(vaultConfigOf(granting).seccosTranslation).toBe(true)
    expect(Object.isFrozen(vaultConfigOf(config))).toBe(true)
  })
})

describe('profilesOf', () => {
  it('gives the shipped profiles and the configured ones', () => {
    expect(profilesOf(load())).toEqual([...SHIPPED_PROFILES, macProfile()])
  })
})
