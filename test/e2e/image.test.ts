import { execFileSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import {
  chownSync,
  copyFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { Containers, readImage, type Container, type Image, type Run } from '../support/container.ts'
import { makeProductionKeys, type ProductionKey } from '../support/production-keys.ts'
import { editConfig } from '../support/service.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
const NODE = join(ROOT, 'node_modules/.bin/node')
const USER = 65_532
const BUILD_MS = 20 * 60_000
/** The audit record of a second service. */
const BESIDE = 'audit-beside'
const CLEAR_ISO_0 = '041234FEDCBA9876'

const isFull = process.env['PINBRIDGE_FULL'] === '1'
const isRoot = process.getuid?.() === 0
const skipped = isFull && !isRoot ? { skipped: 'images are built and run by root' } : {}

describe('the image', { skip: !isFull || !isRoot, meta: skipped }, () => {
  let folder: string
  let data: string
  let production: Image
  let withSoftHsm: Image
  let dev: Image
  let containers: Containers

  beforeAll(() => {
    folder = mkdtempSync('/var/tmp/pinbridge-image-test-')
    data = join(folder, 'data')
    mkdirSync(data)
    chownSync(data, USER, USER)
    containers = new Containers(folder, data)
    execFileSync(join(ROOT, 'scripts/build-image'), [folder], { stdio: 'inherit' })
    production = readImage(folder, 'production')
    withSoftHsm = readImage(folder, 'with-softhsm')
    dev = readImage(folder, 'dev')
  }, BUILD_MS)
  afterAll(async () => {
    await containers.dispose()
    rmSync(folder, { recursive: true })
  }, BUILD_MS)

  describe('for production', () => {
    let files: File[]
    const named = (pattern: RegExp) => files.map(({ path }) => path).filter((path) => pattern.test(path))

    beforeAll(() => {
      files = filesOf(production.rootfs)
    })

    it('holds the service, node, the native module and the launcher', () => {
      expect(named(/^\/opt\/pinbridge\/dist\/cli\/main\.js$/)).toHaveLength(1)
      expect(named(/^\/opt\/pinbridge\/dist\/launcher$/)).toHaveLength(1)
      expect(named(/^\/opt\/pinbridge\/dist\/gateway\/viewer\/(?:main|swagger-ui-bundle)\.js$/)).toHaveLength(2)
      expect(named(/^\/opt\/pinbridge\/dist\/gateway\/viewer\/swagger-ui\.css$/)).toHaveLength(1)
      expect(named(/\/node-linux-\w+\/bin\/node$/)).toHaveLength(1)
      expect(named(/\.node$/)).toEqual(['/opt/pinbridge/node_modules/pkcs11js/build/Release/pkcs11.node'])
    })

    it('holds no shell, compiler, package manager, PKCS#11 module, source or other program', () => {
      const programs = files.filter(
        ({ path, mode, isElf }) => isElf && (mode & 0o111) !== 0 && !/\.(so|node)\b/.test(path),
      )
      expect(programs.map(({ path }) => path.replace(/node-linux-\w+/, 'node-linux')).sort()).toEqual([
        '/opt/pinbridge/dist/launcher',
        '/opt/pinbridge/node_modules/node-linux/bin/node',
      ])
      expect(named(/\/(sh|bash|dash|busybox|gcc|cc|g\+\+|ld|as|make|python\d?|perl|npm|npx|apt(-get)?)$/)).toEqual([])
      expect(named(/softhsm|p11-kit|opencryptoki|softokn|\.(?:c|cc|h|gyp|gypi|o|a)$/i)).toEqual([])
      expect(named(/^\/opt\/pinbridge\/(?!(?:dist|node_modules)(?:\/|$)|package\.json$|LICENSE$)/)).toEqual([])
      expect(named(/^\/opt\/pinbridge\/node_modules\/(typescript|vitest|eslint|undici|@types)\//)).toEqual([])
    })

    it('holds nothing that only callers need', () => {
      expect(named(/^\/opt\/pinbridge\/dist\/(?:client(?:\/|$)|.*\.d\.ts$)/)).toEqual([])
    })

    it('holds nothing that makes development tokens', () => {
      expect(named(/development|init-token|node-forge/)).toEqual([])
      const code = files.filter(({ path }) => path.startsWith('/opt/pinbridge/dist/') && path.endsWith('.js'))
      const makers = code.filter(({ path }) => /initToken|DevelopmentCertificates/.test(read(path)))
      expect(code.length).toBeGreaterThan(100)
      expect(makers.map(({ path }) => path)).toEqual([])
      function read(path: string): string {
        return readFileSync(join(production.rootfs, path), 'utf8').replaceAll('makeDevelopmentSetUp', '')
      }
    })

    it('holds no file that gives rights or that its user can change, and all is the superuser’s', () => {
      expect(files.filter(({ mode }) => (mode & 0o6000) !== 0)).toEqual([])
      expect(files.filter(({ mode, isLink }) => !isLink && (mode & 0o022) !== 0).map(({ path }) => path)).toEqual([
        '/tmp',
      ])
      expect(files.filter(({ uid, gid }) => uid !== 0 || gid !== 0)).toEqual([])
    })

    it('holds nothing of the registry or the certificates that it was built with', () => {
      expect(named(/npmrc|\/secrets\/|\.pem$|\.crt$/)).toEqual([])
    })

    it('holds the licences of what it holds', () => {
      for (const owner of ['node_modules/node-linux-\\w+', 'node_modules/pkcs11js', 'node_modules/fastify']) {
        expect(named(new RegExp(`^/opt/pinbridge/${owner}/LICENSE`, 'i'))).toHaveLength(1)
      }
      for (const debian of ['libc6', 'libstdc\\+\\+6', 'libgcc-s1']) {
        expect(named(new RegExp(`^/usr/share/doc/${debian}(/copyright)?$`))).not.toEqual([])
        expect(named(new RegExp(`^/var/lib/dpkg/status.d/${debian}$`))).toHaveLength(1)
      }
    })

    it('is at most 190 MB', () => {
      expect(files.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(190e6)
    })

    it('says its version, runs as a user by number, is stopped by SIGTERM and says how to ask for its health', () => {
      expect(production.config).toMatchObject({
        User: '65532:65532',
        StopSignal: 'SIGTERM',
        Cmd: ['serve'],
        Healthcheck: { Test: ['CMD', ...production.config.Entrypoint, 'health'] },
        Labels: { 'org.opencontainers.image.version': version },
      })
    })

    it('makes no keys, and says so', async () => {
      const init = containers.run(production, { args: ['init', '--dev', '--dir', '/tmp/dev'] })
      const { code, stdout, stderr } = await init.ended
      expect([code, stdout, stderr]).toEqual([69, '', 'this installation is for production and makes no keys\n'])
    })
  })

  describe('with a PKCS#11 module', () => {
    let keys: readonly ProductionKey[]
    let service: Container
    const stamp = () => join(folder, 'stamp')
    const healthcheck = () => service.exec(withSoftHsm.config.Healthcheck!.Test.slice(1))

    beforeAll(async () => {
      const made = await containers.run(dev, { args: ['init', '--dev', '--dir', '/etc/pinbridge'], writable: ['.'] })
        .ended
      expect(made.code, made.stderr).toBe(0)
      mkdirSync(join(data, BESIDE), { mode: 0o700 })
      keys = await addProductionKeys(folder, data)
      deriveConfig('development.yaml', (config) => (config.audit.directory = BESIDE))
      deriveConfig('forced.yaml', (config) => {
        config.environment = 'production'
        config.acceptDefaultProfiles = true
        config.audit.directory = BESIDE
        for (const recipient of config.d1.recipients) delete recipient.development
      })
      editConfig(join(data, 'pinbridge.yaml'), (config) => serveInProduction(config, keys))
      execFileSync('chown', ['-R', `${USER}:${USER}`, data])
      writeFileSync(stamp(), '')
      // What SoftHSM itself writes, and the audit record.
      service = containers.run(withSoftHsm, { writable: ['token', 'audit'] })
      await service.line('{"event":"ready"')
    }, 120_000)

    it('translates a PIN block over mTLS in production', () => {
      expect(translate()).toMatchObject({ status: 200, json: { pinBlock: encipher(keys[1]!.value) } })
    })

    it('is healthy while the gateway answers, and not while it hangs', () => {
      expect(healthcheck()).toBe(0)
      const gateway = service.processes().find((pid) => commandOf(pid).includes('dist/gateway/main.js'))!
      process.kill(gateway, 'SIGSTOP')
      try {
        expect(healthcheck()).toBe(1)
      } finally {
        process.kill(gateway, 'SIGCONT')
      }
    })

    it('runs supervisor, gateway and vaults as its user, without a capability or a way to gain one', () => {
      const statuses = service.processes().map((pid) => readFileSync(`/proc/${pid}/status`, 'utf8'))
      expect(statuses.length).toBeGreaterThanOrEqual(3)
      for (const status of statuses) {
        expect(status).toMatch(new RegExp(`^Uid:(\\t${USER}){4}$`, 'm'))
        expect(status).toMatch(new RegExp(`^Gid:(\\t${USER}){4}$`, 'm'))
        for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
          expect(status).toMatch(new RegExp(`^Cap${set}:\\t0+$`, 'm'))
        expect(status).toMatch(/^NoNewPrivs:\t1$/m)
      }
      // The engine's filter is on all of them; the launcher's on all but the supervisor, which begins them.
      const filters = statuses.map((status) => Number(/^Seccomp_filters:\t(\d+)$/m.exec(status)![1])).sort()
      expect(filters).toEqual([filters[0], ...filters.slice(1).map(() => filters[0]! + 1)])
    })

    it('lets nobody of its user at the memory of its processes', () => {
      // The kernel gives /proc of a process whose program its user cannot read to the superuser.
      for (const pid of service.processes()) expect(lstatSync(`/proc/${pid}/mem`).uid).toBe(0)
    })

    it('refuses development keys in production, after the vaults have looked at them', async () => {
      const { code, stderr } = await containers.run(withSoftHsm, serveBeside('forced.yaml')).ended
      expect(code).toBe(70)
      expect(stderr).toContain('key zpk-in: is a development key, which production refuses')
    })

    it('serves development from the image for it', async () => {
      const beside = containers.run(dev, serveBeside('development.yaml'))
      await beside.line('{"event":"ready"')
      beside.kill('TERM')
      expect(await beside.ended).toMatchObject({ code: 0 })
    })

    it('ends with 0 on SIGTERM, with an audit record that it proves and nothing written into the image', async () => {
      translate()
      service.kill('TERM')
      const { code, stderr } = await service.ended
      expect(code, stderr).toBe(0)
      expect(execFileSync('find', [withSoftHsm.rootfs, '-newer', stamp()], { encoding: 'utf8' })).toBe('')

      const [record] = readdirSync(join(data, 'audit'))
      expect(readFileSync(join(data, 'audit', record!), 'utf8')).toContain('"operation":"pin-blocks/translate"')
      const args = ['audit', 'verify', `/etc/pinbridge/audit/${record}`]
      const verified = await containers.run(withSoftHsm, { args, writable: ['token'] }).ended
      expect(verified.code, verified.stderr).toBe(0)
      expect(verified.stdout).toContain('seals, each made by the HSM')
    })

    /** Makes a configuration out of the one that init wrote. */
    function deriveConfig(name: string, edit: (config: any) => void): void {
      const path = join(data, name)
      copyFileSync(join(data, 'pinbridge.yaml'), path)
      editConfig(path, edit)
    }

    function translate(): unknown {
      const body = {
        pinBlock: encipher(keys[0]!.value),
        from: { key: 'zone-a', format: 'ISO-0' },
        to: { key: 'zone-b', format: 'ISO-0' },
        card: { pan: '4000001234567899' },
      }
      const url = 'https://127.0.0.1:8443/v1/pin-blocks/translate'
      const call = [join(ROOT, 'test/support/call.ts'), url, data, 'cms-adapter', JSON.stringify(body)]
      return JSON.parse(containers.inNetwork(NODE, call))
    }
  })
})

/** Starts a service beside the other, on ports of its own. */
function serveBeside(name: string): Run {
  const args = ['serve', '--config', `/etc/pinbridge/${name}`, '--port', '0', '--management-port', '0']
  return { args, writable: ['token', BESIDE] }
}

/** Brings production keys into the token of a development set-up, with the host's SoftHSM. */
async function addProductionKeys(folder: string, data: string): Promise<ProductionKey[]> {
  const config = join(folder, 'softhsm2.conf')
  writeFileSync(config, `directories.tokendir = ${join(data, 'token')}\nobjectstore.backend = file\n`)
  process.env['SOFTHSM2_CONF'] = config
  const { hsm } = parse(readFileSync(join(data, 'pinbridge.yaml'), 'utf8'))
  return makeProductionKeys(hsm, readFileSync(join(data, 'hsm-pin'), 'utf8').trim())
}

/** Makes a development configuration one of production, for two zone keys. */
function serveInProduction(config: any, keys: readonly ProductionKey[]): void {
  config.environment = 'production'
  config.keys = keys.map(({ entry }) => entry)
  config.d1 = {}
  const [adapter] = config.clients
  adapter.grants = [{ operations: ['pin-blocks/translate'], keys: ['zone-a', 'zone-b'], formats: ['ISO-0'] }]
  config.clients = [adapter]
  config.listeners.api.host = '0.0.0.0'
  config.audit.key = 'record'
}

interface File {
  readonly path: string
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly bytes: number
  readonly isLink: boolean
  readonly isElf: boolean
}

/** Everything below a root. */
function filesOf(root: string): File[] {
  return readdirSync(root, { recursive: true, withFileTypes: true }).map((entry) => {
    const full = join(entry.parentPath, entry.name)
    const { mode, uid, gid, size } = lstatSync(full)
    const isElf = entry.isFile() && readFileSync(full).subarray(0, 4).equals(Buffer.from('\x7fELF', 'latin1'))
    const path = full.slice(root.length)
    return { path, mode, uid, gid, bytes: entry.isFile() ? size : 0, isLink: entry.isSymbolicLink(), isElf }
  })
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
}

/** The clear block of PIN 1234, enciphered with OpenSSL. */
function encipher(key: string): string {
  const cipher = createCipheriv('des-ede', Buffer.from(key, 'hex'), null).setAutoPadding(false)
  return Buffer.concat([cipher.update(CLEAR_ISO_0, 'hex'), cipher.final()])
    .toString('hex')
    .toUpperCase()
}
