import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import {
  editConfig,
  giveToUnprivileged,
  makeSetUp,
  pinbridge,
  startService,
  temporaryFolder,
} from '../../support/service.ts'
import { recordsOf } from '../processes/processes.ts'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
})
afterAll(() => folder.dispose())

/** A copy of the configuration beside the first, edited. */
function copyOf(name: string, edit: (config: any) => void): string {
  const path = join(folder.path, 'dev', `${name}.yaml`)
  copyFileSync(setUp.config, path)
  chmodSync(path, 0o600)
  editConfig(path, edit)
  return path
}

const serve = (config: string, ...more: string[]) =>
  pinbridge(['serve', '--config', config, '--port', '0', '--management-port', '0', ...more])

describe('pinbridge serve', () => {
  it('exits 78 and tells every problem of the configuration at once, with its place and without its values', async () => {
    const path = copyOf('broken', (config) => {
      config.surprise = 'canary-value-1'
      config.hsm.pinFile = 'canary-value-2'
      config.hsm.sessions = 'canary-value-3'
      config.keys[2].direction = 'canary-value-4'
      config.keys[3].kcv = 'ABCD'
      config.clients[0].grants[0].keys.push('canary-value-5')
      config.clients[1].dnsName = config.clients[0].dnsName
      config.listeners.api.host = '0.0.0.0'
      config.limits.queue = 0
      config.d1.recipients[0].profile = 'canary-value-6'
    })
    const { code, stdout, stderr } = await serve(path)
    expect([code, stdout]).toEqual([78, ''])
    for (const place of [
      'surprise',
      'hsm.sessions',
      'keys[2].direction',
      'keys[3].kcv',
      'clients[1].dnsName',
      'listeners.api.host',
      'limits.queue',
      'd1.recipients[0]',
    ]) {
      expect(stderr).toContain(place)
    }
    expect(stderr.split('\n').filter((line) => line.includes('broken.yaml:')).length).toBeGreaterThanOrEqual(8)
    expect(stderr).not.toContain('canary-value')
    expect(stderr).not.toMatch(/\n\s+at /)
  })

  it('exits 78 for a file that is missing, open to others for writing, no YAML, or empty', async () => {
    const open = copyOf('open', () => {})
    chmodSync(open, 0o666)
    const noYaml = join(folder.path, 'dev', 'no.yaml')
    writeFileSync(noYaml, 'keys: [', { mode: 0o600 })
    const empty = join(folder.path, 'dev', 'empty.yaml')
    writeFileSync(empty, '', { mode: 0o600 })
    for (const path of [join(folder.path, 'nowhere.yaml'), open, noYaml, empty]) {
      const { code, stdout, stderr } = await serve(path)
      expect([path, code, stdout]).toEqual([path, 78, ''])
      expect(stderr).toContain('The configuration cannot be used')
    }
  })

  it('exits 78 for secrets that others can read', async () => {
    const dev = join(folder.path, 'readable')
    cpSync(join(folder.path, 'dev'), dev, { recursive: true })
    chmodSync(join(dev, 'server-key.pem'), 0o644)
    const path = join(dev, 'pinbridge.yaml')
    editConfig(path, (config) => {
      chmodSync(join(dev, 'hsm-pin'), 0o640)
      config.hsm.pinFile = join(dev, 'hsm-pin')
    })
    const { code, stderr } = await serve(path)
    expect(code).toBe(78)
    expect(stderr).toContain('hsm.pinFile')
    expect(stderr).toContain('listeners.api.privateKey')
  })

  it('exits 70 where a gateway cannot be started at all, and does not try for ever', async () => {
    const tooLong = join(folder.path, 'x'.repeat(100))
    mkdirSync(tooLong)
    const args = ['serve', '--config', setUp.config, '--port', '0', '--management-port', '0']
    const { code, stdout, stderr } = await pinbridge(args, { TMPDIR: tooLong })
    expect([code, stdout]).toEqual([70, ''])
    expect(stderr).toContain('the gateway could not start')
  })

  it('takes any free port for 0, prints one ready line with it, warns that it is for development, and logs elsewhere', async () => {
    const service = await startService(setUp)
    try {
      const { ready } = service
      expect(Object.keys(ready)).toEqual(['event', 'url', 'management', 'pid', 'gateway', 'vaults'])
      expect(ready.pid).toBe(service.process.pid)
      expect(ready.url).toMatch(/^https:\/\/127\.0\.0\.1:[1-9]\d*$/)
      expect(ready.url).not.toBe(setUp.url)
      expect((await service.call('GET', '/v1/keys')).status).toBe(200)
      expect((await service.manage('/readyz')).status).toBe(200)
      const records = recordsOf(service.output())
      expect(records.filter(({ level, msg }) => level === 40 && /^DEVELOPMENT/.test(msg))).toHaveLength(1)
      expect((await service.manage('/metrics')).text).toMatch(/^pinbridge_development_mode 1$/m)
    } finally {
      expect(await service.stop()).toBe(0)
    }
  })

  it('refuses a port that is none, an unknown option and a missing --config', async () => {
    for (const port of ['-1', '65536', 'http', '1e3', '0x10', '']) {
      const { code, stdout, stderr } = await pinbridge(['serve', '--config', setUp.config, `--port=${port}`])
      expect([port, code === 0, stdout]).toEqual([port, false, ''])
      expect(stderr).toContain('error:')
    }
    expect((await serve(setUp.config, '--prot', '1')).stderr).toContain('unknown option')
    const { code, stderr } = await pinbridge(['serve'])
    expect(code).not.toBe(0)
    expect(stderr).toContain('--config')
  })

  it('takes the configuration from PINBRIDGE_CONFIG too', async () => {
    const { code, stderr } = await pinbridge(['serve'], { PINBRIDGE_CONFIG: join(folder.path, 'nowhere.yaml') })
    expect(code).toBe(78)
    expect(stderr).toContain('nowhere.yaml')
  })

  it('refuses a production configuration on development files: the recipient, the profiles, and then every key', async () => {
    const plain = copyOf('production', (config) => (config.environment = 'production'))
    const first = await serve(plain)
    expect([first.code, first.stdout]).toEqual([78, ''])
    expect(first.stderr).toContain('d1.recipients[0]')
    expect(first.stderr).toContain('acceptDefaultProfiles')

    const own = temporaryFolder()
    const { config: forced, keys } = await makeSetUp(own.path, (config) => {
      config.environment = 'production'
      config.acceptDefaultProfiles = true
      config.d1.recipients = []
      config.clients[0].grants[0].recipients = []
    })
    if (process.getuid!() === 0) {
      const asRoot = await serve(forced)
      expect([asRoot.code, asRoot.stdout]).toEqual([78, ''])
      expect(asRoot.stderr).toContain('root does not run this outside development')
    }
    const second = await pinbridge(['serve', '--config', forced], {}, giveToUnprivileged(own.path))
    own.dispose()
    expect([second.code, second.stdout]).toEqual([70, ''])
    for (const { id } of keys) {
      expect(second.stderr).toContain(`key ${id}: is a development key, which production refuses`)
    }
    expect(second.stderr).not.toContain('"event":"ready"')
    // Once, and not in a loop.
    expect(second.stderr.split('key zpk-in: is a development key')).toHaveLength(2)
  })

  it('ends with 70 and the reason when a key is missing from the token at the first start', async () => {
    const path = copyOf('missing', (config) => {
      config.keys.find((key: any) => key.id === 'zpk-aes').version = 9
    })
    const { code, stderr } = await serve(path)
    expect(code).toBe(70)
    expect(stderr).toContain('key zpk-aes: 0 objects carry its CKA_ID, one is needed')
    expect(stderr).not.toContain(readFileSync(join(folder.path, 'dev', 'hsm-pin'), 'utf8').trim())
  })
})
