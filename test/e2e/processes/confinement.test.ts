import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { argumentsOf, childrenOf, environmentOf, isAlive, socketsOf } from './processes.ts'
import { startTraffic, tally, translations } from './traffic.ts'

const ROOT = new URL('../../..', import.meta.url).pathname

/** Tries everything that a process must not be able to do, and prints what came of each. */
const PROBE = `
import { createRequire } from 'node:module'
const require = createRequire(process.argv[2] + '/')
const targets = JSON.parse(process.argv[3])
const fs = require('node:fs')
const out = {}
const attempt = async (name, what) => {
  try { await what(); out[name] = 'done' } catch (error) { out[name] = error.code ?? error.name }
}
await attempt('pkcs11js', () => require('pkcs11js'))
await attempt('dlopen', () => process.dlopen({ exports: {} }, targets.native))
await attempt('spawn', () => new Promise((resolve, reject) => require('node:child_process').spawn('/bin/true').on('error', reject).on('exit', resolve)))
await attempt('exec', () => require('node:child_process').execSync('true'))
await attempt('fork', () => require('node:child_process').fork(targets.native))
await attempt('execve', () => process.execve('/bin/true', ['true']))
await attempt('worker', () => new (require('node:worker_threads').Worker)('1', { eval: true }))
await attempt('wasi', () => new (require('node:wasi').WASI)({ version: 'preview1' }))
await attempt('inspector', () => require('node:inspector').open(0))
await attempt('cluster', () => require('node:cluster').fork())
for (const [name, path] of Object.entries(targets.files)) {
  await attempt('read ' + name, () => fs.readFileSync(path))
  await attempt('open ' + name, () => fs.promises.open(path))
  await attempt('stream ' + name, () => new Promise((resolve, reject) => fs.createReadStream(path).on('error', reject).on('data', resolve)))
  await attempt('write ' + name, () => fs.writeFileSync(path, 'x', { flag: 'a' }))
  await attempt('remove ' + name, () => fs.rmSync(path))
}
await attempt('list token', () => fs.readdirSync(targets.tokenFolder))
await attempt('list home', () => fs.readdirSync('/root'))
await attempt('environment of another process', () => fs.readFileSync('/proc/' + targets.pid + '/environ'))
await attempt('memory of another process', () => fs.openSync('/proc/' + targets.pid + '/mem'))
await attempt('own memory', () => fs.openSync('/proc/self/mem', 'r+'))
await attempt('write in tmp', () => fs.writeFileSync(targets.folder + '/written', 'x'))
await attempt('link', () => fs.symlinkSync(targets.files.pin, targets.folder + '/link'))
out.proto = String(({}).__proto__) + ' ' + ('__proto__' in Object.prototype)
console.log(JSON.stringify(out))
`

describe('the processes of a running service', () => {
  const folder = temporaryFolder()
  let service: Service
  let gateway: number
  let vaults: number[]
  let targets: any

  beforeAll(async () => {
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 2
    })
    service = await startService(setUp)
    const children = childrenOf(service.ready.pid)
    gateway = children.gateways[0]!
    vaults = children.vaults
    const dev = dirname(setUp.config)
    const [token] = readdirSync(join(dev, 'token'))
    const object = readdirSync(join(dev, 'token', token!)).find((name) => name.endsWith('.object'))!
    targets = {
      native: join(ROOT, 'node_modules/pkcs11js/build/Release/pkcs11.node'),
      pid: vaults[0],
      folder: folder.path,
      tokenFolder: join(dev, 'token'),
      files: {
        pin: join(dev, 'hsm-pin'),
        token: join(dev, 'token', token!, object),
        configuration: setUp.config,
        softHsmConfiguration: join(dev, 'softhsm2.conf'),
        tlsKey: join(dev, 'server-key.pem'),
        passwd: '/etc/passwd',
      },
    }
  })
  afterAll(async () => {
    await service.stop()
    folder.dispose()
  })

  /** Runs the probe with a process's own flags, from inside a folder that it may read. */
  async function probe(pid: number): Promise<Record<string, string>> {
    const flags = argumentsOf(pid).slice(1, -1)
    const environment = Object.fromEntries(environmentOf(pid).map((entry) => entry.split(/=(.*)/s).slice(0, 2)))
    delete environment['NODE_CHANNEL_FD']
    delete environment['NODE_CHANNEL_SERIALIZATION_MODE']
    const place = join(folder.path, `probe-${pid}`)
    mkdirSync(place)
    writeFileSync(join(place, 'probe.mjs'), PROBE)
    // The one difference to the real process: its own code may be read too.
    const args = [...flags, `--allow-fs-read=${place}`, join(place, 'probe.mjs'), ROOT, JSON.stringify(targets)]
    const { stdout } = await promisify(execFile)(argumentsOf(pid)[0]!, args, { env: environment })
    return JSON.parse(stdout)
  }

  const digest = () =>
    Object.values(targets.files as Record<string, string>).map((path) =>
      createHash('sha256').update(readFileSync(path)).digest('hex'),
    )

  it('start under the permission model with explicit flags only', () => {
    const mayWrite = `--allow-fs-write=${join(dirname(service.setUp.config), 'audit')}`
    for (const pid of [gateway, ...vaults]) {
      const [, ...flags] = argumentsOf(pid)
      expect(flags[0]).toBe('--permission')
      const plain = flags.slice(0, -1).filter((flag) => !flag.startsWith('--allow-fs-read='))
      const hardening = ['--permission', '--no-warnings', '--disable-proto=delete', '--disable-sigusr1']
      const own =
        pid === gateway
          ? ['--no-addons', '--max-semi-space-size=16', '--clear-free-memory', '--expose-gc', mayWrite]
          : ['--initial-heap-size=128', '--allow-addons']
      expect(plain).toEqual([...hardening, ...own])
      expect(flags.some((flag) => /^--allow-fs-read=(\*|\/)$/.test(flag))).toBe(false)
      expect(flags.filter((flag) => ['--allow-child-process', '--allow-worker'].includes(flag))).toEqual([])
    }
    const supervisor = argumentsOf(service.ready.pid)
    const flags = supervisor.slice(1, supervisor.indexOf('serve') - 1).filter((flag) => !flag.startsWith('--allow-fs-'))
    const hardening = ['--disable-proto=delete', '--disable-sigusr1', '--no-addons']
    expect(flags).toEqual(['--permission', '--no-warnings', ...hardening, '--allow-child-process'])
  })

  it('let the gateway load nothing native, start nothing, write nothing, and read its TLS files and its code alone', async () => {
    const before = digest()
    const found = await probe(gateway)
    expect(digest()).toEqual(before)
    expect(found['proto']).toBe('undefined false')
    expect(found['read tlsKey']).toBe('done')
    const done = Object.entries(found)
      .filter(([, result]) => result === 'done')
      .map(([name]) => name)
    expect(done.sort()).toEqual(['open tlsKey', 'read tlsKey', 'stream tlsKey'])
    for (const name of [
      'spawn',
      'exec',
      'fork',
      'worker',
      'read pin',
      'open pin',
      'stream pin',
      'read token',
      'read configuration',
      'write pin',
      'write tlsKey',
      'list token',
      'own memory',
    ]) {
      expect([name, found[name]]).toEqual([name, 'ERR_ACCESS_DENIED'])
    }
    expect(found['dlopen']).toMatch(/^ERR_(DLOPEN_DISABLED|ACCESS_DENIED)$/)
    expect(found['pkcs11js']).toMatch(/^ERR_(DLOPEN_DISABLED|ACCESS_DENIED)$/)
  })

  it('let a vault load native code and read the HSM PIN, and start and write nothing', async () => {
    const before = digest()
    const found = await probe(vaults[0]!)
    expect(digest()).toEqual(before)
    expect(found['proto']).toBe('undefined false')
    const done = Object.entries(found)
      .filter(([, result]) => result === 'done')
      .map(([name]) => name)
    expect(done.sort()).toEqual(['dlopen', 'open pin', 'pkcs11js', 'read pin', 'stream pin'])
    for (const name of [
      'spawn',
      'exec',
      'fork',
      'worker',
      'read tlsKey',
      'read configuration',
      'write pin',
      'memory of another process',
    ]) {
      expect([name, found[name]]).toEqual([name, 'ERR_ACCESS_DENIED'])
    }
  })

  it('can read no file of the configuration beyond that', () => {
    const read = (pid: number) =>
      argumentsOf(pid)
        .filter((flag) => flag.startsWith('--allow-fs-read='))
        .map((flag) => flag.slice('--allow-fs-read='.length))
    const dev = dirname(service.setUp.config)
    expect(
      read(gateway)
        .filter((path) => path.startsWith(dev))
        .map((path) => path.slice(dev.length + 1))
        .sort(),
    ).toEqual(['audit', 'ca.pem', 'server-key.pem', 'server.pem'])
    for (const vault of vaults) {
      expect(
        read(vault)
          .filter((path) => path.startsWith(dev))
          .map((path) => path.slice(dev.length + 1)),
      ).toEqual(['hsm-pin'])
    }
  })

  it('hold no secret in their arguments and environments, the gateway nothing of the HSM at all', () => {
    const pin = readFileSync(targets.files.pin, 'utf8').trim()
    const secrets = [pin, ...service.setUp.keys.flatMap(({ value }) => value ?? [])]
    for (const pid of [service.ready.pid, gateway, ...vaults]) {
      const shown = [...argumentsOf(pid), ...environmentOf(pid)].join('\n')
      for (const secret of secrets) expect(shown.toUpperCase().includes(secret)).toBe(false)
    }
    // glibc cuts its variable in two where it stands.
    const malloc = ['GLIBC_TUNABLES=glibc.malloc.perturb=165', 'glibc.malloc.tcache_count=0']
    const channel = ['NODE_CHANNEL_FD=3', 'NODE_CHANNEL_SERIALIZATION_MODE=json']
    expect(environmentOf(gateway).sort()).toEqual([...malloc, ...channel].sort())
    expect(argumentsOf(gateway).join(' ')).not.toMatch(/hsm|token|softhsm/i)
    for (const vault of vaults) {
      expect(
        environmentOf(vault)
          .map((entry) => entry.split('=')[0])
          .sort(),
      ).toEqual([
        'GLIBC_TUNABLES',
        'NODE_CHANNEL_FD',
        'NODE_CHANNEL_SERIALIZATION_MODE',
        'SOFTHSM2_CONF',
        'UV_THREADPOOL_SIZE',
        'glibc.malloc.tcache_count',
      ])
    }
  })

  it('listen nowhere but in the gateway: two ports on loopback and the bridge', () => {
    for (const pid of [service.ready.pid, ...vaults]) expect(socketsOf(pid).listening).toEqual([])
    for (const vault of vaults) {
      const { connected } = socketsOf(vault)
      expect(connected.length).toBeGreaterThan(0)
      expect(connected.every((name) => name.startsWith('unix'))).toBe(true)
    }
    const { listening } = socketsOf(gateway)
    const port = (url: string) => Number(new URL(url).port).toString(16).toUpperCase().padStart(4, '0')
    // 127.0.0.1 in the kernel's byte order.
    expect(listening.filter((name) => !name.startsWith('unix')).sort()).toEqual(
      [`tcp 0100007F:${port(service.ready.url)}`, `tcp 0100007F:${port(service.ready.management)}`].sort(),
    )
    expect(listening.filter((name) => name.startsWith('unix'))).toHaveLength(1)
  })

  it('open no inspector on SIGUSR1, and live on', async () => {
    const everyone = [service.ready.pid, gateway, ...vaults]
    const before = everyone.map((pid) => socketsOf(pid).listening)
    for (const pid of everyone) process.kill(pid, 'SIGUSR1')
    await sleep(700)
    expect(everyone.every(isAlive)).toBe(true)
    expect(everyone.map((pid) => socketsOf(pid).listening)).toEqual(before)
    const refused = await new Promise((resolve) => {
      connect(9229, '127.0.0.1')
        .on('error', (error: any) => resolve(error.code))
        .on('connect', () => resolve('connected'))
    })
    expect(refused).toBe('ECONNREFUSED')
    expect(service.output()).not.toContain('Debugger listening')
    const traffic = startTraffic(service, translations(service), { concurrency: 2 })
    await sleep(200)
    const outcomes = await traffic.stop()
    expect(tally(outcomes)).toEqual({ 200: outcomes.length })
  })

  it('drop whoever reaches the bridge socket without the secret, and go on', async () => {
    const path = socketsOf(gateway)
      .listening.find((name) => name.startsWith('unix '))!
      .slice('unix '.length)
    for (const text of [
      '{"vault":1,"secret":"00","publicKeys":[]}',
      '{"vault":3,"secret":"","publicKeys":[]}',
      'nonsense',
      'null',
    ]) {
      const socket = connect(path)
      const frame = Buffer.alloc(4 + text.length)
      frame.writeUInt32BE(text.length)
      frame.write(text, 4)
      socket.write(frame)
      let said = ''
      socket.on('data', (chunk) => (said += chunk.toString()))
      socket.on('error', () => {})
      await new Promise((resolve) => socket.once('close', resolve))
      expect(said).toBe('')
    }
    const { json } = await service.manage('/readyz')
    expect(json.vaults).toHaveLength(2)
  })
})
