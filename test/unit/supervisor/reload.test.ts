import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ConfigError } from '../../../src/config/problems.ts'
import type { Config } from '../../../src/config/schema.ts'
import type { Logger, LogRecord } from '../../../src/log.ts'
import { watchConfig, type Refusal, type Reloader } from '../../../src/supervisor/reload.ts'

const LOOK_MS = 1_000
const REFUSED = 'the new configuration cannot be used; everything stays as it was'

let folder: string
let running: Config
let load: () => Config
let adopt: (config: Config) => Promise<Refusal | undefined>
let events: unknown[]
let reloader: Reloader

/** A configuration as far as a reload looks at it. */
const configOf = (clients: readonly string[], jwks?: string): Config => {
  const file = (name: string) => join(folder, 'tls', name)
  const api = { certificate: file('cert'), privateKey: file('key'), clientCa: file('ca') }
  const authentication = jwks === undefined ? {} : { bearer: { jwks: join(folder, jwks) } }
  const limits = { store: { caFile: join(folder, 'store-ca') } }
  return { listeners: { api }, authentication, clients, limits, tokenKeys: [] } as unknown as Config
}
const log = {
  info: (record: LogRecord, message: string) => events.push([message, record.changed]),
  warn: (record: LogRecord, message: string) => events.push([message, record.members]),
  error: (record: LogRecord | string, message?: string) =>
    events.push(typeof record === 'string' ? [record] : [message, record.problems ?? record.errorType]),
} as unknown as Logger

const look = () => vi.advanceTimersByTimeAsync(LOOK_MS)
let bytes = 0
/** Writes another text: of another length, because two within one tick of the clock have the same time. */
const write = (name: string) => writeFileSync(join(folder, name), 'x'.repeat(++bytes))

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pinbridge-watch-'))
  mkdirSync(join(folder, 'a'))
  symlinkSync('a', join(folder, 'tls'))
  for (const name of ['pinbridge.yaml', 'a/cert', 'a/key', 'a/ca', 'jwks', 'store-ca']) write(name)
  events = []
  running = configOf(['a'], 'jwks')
  load = () => running
  adopt = async (config) => {
    running = config
    return undefined
  }
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  reloader = watchConfig({
    path: join(folder, 'pinbridge.yaml'),
    load: () => {
      events.push('load')
      return load()
    },
    service: {
      get config() {
        return running
      },
      adopt: (config) => adopt(config),
      refuse: () => events.push('refuse'),
    },
    log,
  })
})
afterEach(() => {
  reloader.stop()
  vi.useRealTimers()
  rmSync(folder, { recursive: true })
})

describe('a file that changes', () => {
  it('is left alone while it does not', async () => {
    for (let i = 0; i < 3; i++) await look()
    expect(events).toEqual([])
  })

  it.each([
    ['pinbridge.yaml', 'configuration'],
    ['a/cert', 'listeners.api.certificate'],
    ['a/key', 'listeners.api.privateKey'],
    ['a/ca', 'listeners.api.clientCa'],
    ['jwks', 'authentication.bearer.jwks'],
    ['store-ca', 'limits.store.caFile'],
  ])('has the configuration loaded once it is seen twice alike: %s', async (file, name) => {
    write(file)
    await look()
    expect(events).toEqual([])
    await look()
    await look()
    expect(events).toEqual(['load', ['reloaded', [name]]])
  })

  it('is waited for while it is being written', async () => {
    for (let i = 0; i < 3; i++) {
      write('a/cert')
      await look()
    }
    expect(events).toEqual([])
    await look()
    expect(events).toHaveLength(2)
  })

  it('is seen when a folder is replaced behind a link', async () => {
    mkdirSync(join(folder, 'b'))
    for (const name of ['cert', 'key', 'ca']) write(`b/${name}`)
    symlinkSync('b', join(folder, 'next'))
    renameSync(join(folder, 'next'), join(folder, 'tls'))
    await look()
    await look()
    const names = ['certificate', 'privateKey', 'clientCa'].map((name) => `listeners.api.${name}`)
    expect(events).toEqual(['load', ['reloaded', names]])
  })

  it('and is not fit is told once, and is looked at again when it changes again', async () => {
    load = () => {
      throw new ConfigError(['a problem'])
    }
    rmSync(join(folder, 'a/ca'))
    for (let i = 0; i < 4; i++) await look()
    expect(events).toEqual(['load', 'refuse', [REFUSED, ['a problem']]])
    load = () => running
    write('a/ca')
    await look()
    await look()
    expect(events.slice(3)).toEqual(['load', ['reloaded', ['listeners.api.clientCa']]])
  })

  it('while another change is taken over is acted on after that', async () => {
    let finish = () => {}
    adopt = () => new Promise((resolve) => (finish = () => resolve(undefined)))
    write('a/cert')
    await look()
    await look()
    write('a/key')
    await look()
    await look()
    expect(events).toEqual(['load'])
    finish()
    adopt = async () => undefined
    await look()
    await look()
    expect(events).toEqual([
      'load',
      ['reloaded', ['listeners.api.certificate']],
      'load',
      ['reloaded', ['listeners.api.privateKey']],
    ])
  })

  it('after the service has been told to stop is none of its business', async () => {
    reloader.stop()
    write('a/cert')
    await look()
    await look()
    expect(events).toEqual([])
  })
})

describe('a reload on demand', () => {
  const settle = () => vi.advanceTimersByTimeAsync(0)

  it('takes over what may change and names what may not', async () => {
    load = () => ({ ...configOf(['b'], 'jwks'), logLevel: 'debug' })
    reloader.reload()
    await settle()
    expect(running.clients).toEqual(['b'])
    expect(running.logLevel).toBeUndefined()
    expect(events).toEqual(['load', ['reloaded', ['clients']], ['these members take a restart', ['logLevel']]])
  })

  it('has read a file that the new configuration is the first to name, and waits for its next change', async () => {
    load = () => configOf(['a'], 'other')
    write('other')
    reloader.reload()
    for (let i = 0; i < 3; i++) await look()
    expect(events).toEqual(['load', ['reloaded', ['authentication']]])
    write('other')
    for (let i = 0; i < 3; i++) await look()
    expect(events.slice(2)).toEqual(['load', ['reloaded', ['authentication.bearer.jwks']]])
  })

  it('is done once more for all that come while one is under way', async () => {
    let finish = () => {}
    adopt = () => new Promise((resolve) => (finish = () => resolve(undefined)))
    for (let i = 0; i < 4; i++) reloader.reload()
    await settle()
    expect(events).toEqual(['load'])
    finish()
    adopt = async () => undefined
    await settle()
    expect(events.filter((event) => event === 'load')).toHaveLength(2)
  })

  it('that the gateway cannot take over is a refused one', async () => {
    adopt = async () => ({ by: 'gateway', problems: [] })
    reloader.reload()
    await settle()
    expect(events).toEqual(['load', 'refuse', ['the gateway cannot use the TLS files; everything stays as it was']])
  })

  it('that ends in any other error tells its class and no word of it', async () => {
    load = () => {
      throw new RangeError('canary')
    }
    reloader.reload()
    await settle()
    const message = 'the new configuration cannot be read; everything stays as it was'
    expect(events).toEqual(['load', 'refuse', [message, 'RangeError']])
  })
})
