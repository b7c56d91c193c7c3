import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

describe('a client', () => {
  it.each<[string, (config: Draft) => void]>([
    ['clients[1].id: is the id of clients[0] too', ({ clients }) => clients.push({ id: 'cms-adapter', dnsName: 'b' })],
    [
      'clients[1].dnsName: is the dnsName of clients[0] too',
      ({ clients }) => clients.push({ id: 'other', dnsName: 'cms.example' }),
    ],
    ['clients[0].grants[0].keys[1]: names no key', ({ clients }) => clients[0].grants[0].keys.push('CANARY')],
    [
      'clients[0].grants[0].recipients[0]: names no recipient',
      ({ clients }) => (clients[0].grants[0].recipients = ['zpk']),
    ],
  ])('%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([problem])
  })

  it('may be granted a key that is not active yet', () => {
    const problems = site.problemsAfter(({ clients, keys }) => {
      keys[2].state = 'pending'
      clients[0].grants[0].keys.push('zpk-aes')
    })
    expect(problems).toEqual([])
  })
})

describe('a listener', () => {
  const hosts = [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '127.0.0.1.example',
    '127.1',
    'example',
    'localhost.',
    '::2',
    '126.255.255.255',
  ]

  it.each(hosts)('at %s is refused in development', (host) => {
    const config = validConfig()
    config.listeners.api.host = host
    config.listeners.management.host = host
    expect(site.problemsOf(config)).toEqual([
      'listeners.api.host: must be a loopback address in development',
      'listeners.management.host: must be a loopback address in development',
    ])
  })

  it.each([...hosts])('at %s is the business of who runs production', (host) => {
    const config = { ...validConfig(), environment: 'production', acceptDefaultProfiles: true }
    config.listeners.api.host = host
    expect(site.problemsOf(config)).toEqual([])
  })

  it.each(['127.0.0.1', '127.255.255.254', '::1', '0:0:0:0:0:0:0:1', 'localhost'])('may be at %s', (host) => {
    expect(site.problemsAfter(({ listeners }) => (listeners.api.host = host))).toEqual([])
  })
})
