import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { gatewayConfig, loadConfig } from '../../../src/config/config.ts'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
  site.write('store-password', 'not-for-others')
})
afterAll(() => site.remove())

const HASH_KEY = {
  ...{ id: 'limit-hash', version: 1, state: 'active', purpose: 'limit-hash', algorithm: 'AES-128' },
  ...{ kcv: 'A1B2C3D4E5', check: 'AABBCCDDEEFF00112233445566778899', origin: 'generated' },
}
const withStore = (over: object = {}) => {
  const config = validConfig()
  config.keys.push({ ...HASH_KEY })
  config.limits.store = { url: 'redis://limits.example:6379', ...over }
  return config
}
const load = (config: Draft) => {
  site.write('pinbridge.yaml', stringify(config))
  return loadConfig(site.file)
}

describe('limits.store', () => {
  it('is none unless something is written, and refuses while it is gone unless told', () => {
    expect(load(validConfig()).limits.store).toBe(undefined)
    expect(load(withStore()).limits.store).toEqual({
      url: 'redis://limits.example:6379',
      timeoutMs: 200,
      prefix: 'pinbridge:',
      whenGone: 'refuse',
    })
  })

  it('takes its files from beside the configuration', () => {
    const files = { passwordFile: 'store-password', caFile: 'tls/ca.pem' }
    const { store } = load(withStore({ url: 'rediss://pinbridge@limits.example', ...files })).limits
    expect(store).toMatchObject({
      passwordFile: `${site.directory}/store-password`,
      caFile: `${site.directory}/tls/ca.pem`,
    })
  })

  it.each(['redis://127.0.0.1', 'redis://127.0.0.1:6379/3', 'redis://[::1]:6379', 'rediss://limits.example:6380'])(
    'may be %s',
    (url) => {
      expect(site.problemsOf(withStore({ url }))).toEqual([])
    },
  )

  it.each([
    'http://limits.example',
    'redis://',
    'redis://:CANARY@limits.example',
    'redis://user:CANARY@limits.example',
    'redis://limits.example/0?x=1',
    'redis://limits.example:6379,other.example:6379',
  ])('may not be %s, and a password is not repeated', (url) => {
    expect(site.problemsOf(withStore({ url }))).toEqual([
      'limits.store.url: must be redis://host:port or rediss://host:port, without a password',
    ])
  })

  it.each<[string, (config: Draft) => void]>([
    ['limits.store: needs an active key with the purpose limit-hash', ({ keys }) => keys.pop()],
    ['limits.store: needs an active key with the purpose limit-hash', ({ keys }) => (keys.at(-1).state = 'pending')],
    [
      'limits.store.caFile: belongs to a url that begins with rediss:',
      ({ limits }) => (limits.store.caFile = 'tls/ca.pem'),
    ],
    [
      'limits.store.url: has an address or a port that cannot be',
      ({ limits }) => (limits.store.url = 'redis://limits.example:65536'),
    ],
    ['limits.store.passwordFile: does not exist', ({ limits }) => (limits.store.passwordFile = 'none')],
    [
      'limits.store.caFile: is not an X.509 certificate in PEM',
      ({ limits }) => Object.assign(limits.store, { url: 'rediss://b', caFile: 'pin' }),
    ],
    ['limits.store.timeoutMs: must be at least 10', ({ limits }) => (limits.store.timeoutMs = 1)],
    ['limits.store.whenGone: must be one of refuse, memory', ({ limits }) => (limits.store.whenGone = 'CANARY')],
    ['limits.batchRejects: must be at most 10000', ({ limits }) => (limits.batchRejects = 10_001)],
    ['limits.counterTtlMs: must be at least 60000', ({ limits }) => (limits.counterTtlMs = 1)],
  ])('%s', (problem, change) => {
    const config = withStore()
    change(config)
    expect(site.problemsOf(config)).toEqual([problem])
  })

  it('has authorities that nobody else can replace', () => {
    const caFile = site.write('open-ca.pem', site.certificates.ca, 0o620)
    expect(site.problemsOf(withStore({ url: 'rediss://limits.example', caFile }))).toEqual([
      'limits.store.caFile: must not be writable by group or others, and its mode is 0620',
    ])
  })

  it('has a password that nobody else can read', () => {
    site.write('open-password', 'x', 0o640)
    expect(site.problemsOf(withStore({ passwordFile: 'open-password' }))).toEqual([
      'limits.store.passwordFile: must be closed to group and others, and its mode is 0640',
    ])
  })
})

describe('counterOnce', () => {
  it('names to the gateway the JWE keys whose profile has it', () => {
    expect(gatewayConfig(load(validConfig())).counterOnceKeys).toEqual([])
    const config = validConfig()
    config.d1.profiles[0].counterOnce = true
    expect(gatewayConfig(load(config)).counterOnceKeys).toEqual(['jwe-ec'])
  })
})
