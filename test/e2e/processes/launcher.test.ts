import { execFileSync, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, isAlive, socketInodes, until } from './processes.ts'

const LAUNCHER = new URL('../../../dist/launcher', import.meta.url).pathname
const BUILD = new URL('../../../native-config/build-launcher', import.meta.url).pathname
const PROBE_SOURCE = new URL('../../support/probe/probe.c', import.meta.url).pathname
const EPERM = 1
const EBADF = 9
const ENOSYS = 38

const folder = temporaryFolder()
const probe = join(folder.path, 'probe')

beforeAll(() => {
  chmodSync(folder.path, 0o711)
  execFileSync('cc', ['-Wall', '-Wextra', '-Werror', '-o', probe, PROBE_SOURCE])
})
afterAll(() => folder.dispose())

interface Ended {
  readonly status: number | null
  readonly signal: string | null
  /** What the probe was answered: an error's number, or 0. */
  readonly said: Record<string, number>
  readonly stderr: string
}

function ended({ status, signal, stdout, stderr }: ReturnType<typeof spawnSync>): Ended {
  const lines = String(stdout).trim().split('\n')
  const said = Object.fromEntries(lines.map((line) => line.split('=')).map(([name, value]) => [name, Number(value)]))
  return { status, signal, said, stderr: String(stderr) }
}

/** Runs the probe under the launcher, as a child of this process. */
function confined(options: readonly string[], args: readonly string[] = [], user: User = {}): Ended {
  const launch = [...options, '--parent', String(process.pid), '--', probe, ...args]
  return ended(spawnSync(LAUNCHER, launch, { env: {}, ...user }))
}

const onItsOwn = (args: readonly string[] = [], user: User = {}): Ended =>
  ended(spawnSync(probe, args, { env: {}, ...user }))

/** One user for several processes, without the capabilities of root, which would be what protects them. */
type User = { readonly uid?: number; readonly gid?: number }
const SAME_USER: User = process.getuid!() === 0 ? { uid: 64_100, gid: 64_100 } : {}

/** What neither a gateway nor a vault may do, and what it is told. */
const DENIED = {
  execve: EPERM,
  'execve with a word': EPERM,
  execveat: EPERM,
  'execveat of a path': EPERM,
  limit: EPERM,
  setrlimit: EPERM,
  clone: EPERM,
  clone3: ENOSYS,
  process_vm_readv: EPERM,
  process_vm_writev: EPERM,
  kcmp: EPERM,
  pidfd_getfd: EPERM,
  pidfd_send_signal: EPERM,
  'kill another': EPERM,
  'tgkill another': EPERM,
  tkill: EPERM,
  rt_sigqueueinfo: EPERM,
  keyctl: EPERM,
  setuid: EPERM,
  setresgid: EPERM,
  personality: EPERM,
  unshare: EPERM,
  setns: EPERM,
  io_uring_setup: ENOSYS,
  "parent's death": EPERM,
  dumpable: EPERM,
  'owner of a descriptor': EPERM,
  'owner of a descriptor, anew': EPERM,
  'owner of a socket': EPERM,
  'group of a socket': EPERM,
  keystroke: EPERM,
  paste: EPERM,
  ptrace: EPERM,
  netlink: EPERM,
}

const ALWAYS_SHOWN = [
  ...['execve', 'execve with a word', 'execveat', 'execveat of a path', 'limit', 'setrlimit', 'clone', 'kill another'],
  ...['tgkill another', 'tkill', "parent's death", 'dumpable', 'owner of a descriptor', 'keystroke', 'netlink'],
]

const INET = ['inet', 'inet6', 'inet datagram']
const SOCKETS = ['unix', 'unix pair', ...INET]
const LISTENING = ['listen', 'accept', 'accept4']

describe('the launcher', () => {
  const roles: [string, readonly string[], readonly string[]][] = [
    ['a gateway', ['--role', 'gateway'], [...INET, ...LISTENING]],
    ['a vault without sockets', ['--role', 'vault', '--socket', 'none'], []],
    ['a vault unless told', ['--role', 'vault'], []],
    ['a vault of a daemon', ['--role', 'vault', '--socket', 'unix'], ['unix', 'unix pair']],
    ['a vault of a remote HSM', ['--role', 'vault', '--socket', 'inet'], INET],
  ]
  it.each(roles)('leaves %s only the calls that it needs', (_, options, granted) => {
    const free = onItsOwn().said
    const { status, said } = confined(options)
    expect(status).toBe(0)
    for (const [name, code] of Object.entries(DENIED)) expect([name, said[name]]).toEqual([name, code])
    // Whatever is refused anyway, as a container refuses some of the others, shows nothing.
    const shown = Object.entries(DENIED).filter(([name, code]) => free[name] !== code)
    expect(shown.map(([name]) => name)).toEqual(expect.arrayContaining(ALWAYS_SHOWN))
    if (process.arch === 'x64') expect([free['fork'], said['fork']]).toEqual([0, EPERM])
    for (const name of [...SOCKETS, ...LISTENING]) {
      expect([name, said[name]]).toEqual([name, granted.includes(name) ? free[name] : EPERM])
    }
    // What they do need.
    for (const name of ['kill itself', 'tgkill itself', 'limit read', 'name', 'descriptors unlike their limit'])
      expect([name, said[name]]).toEqual([name, 0])
    expect(said['another request']).toBe(free['another request'])
    for (const [name, code] of Object.entries(confined(options, ['never']).said))
      expect([name, code]).toEqual([name, EPERM])
  })

  it('binds the socket of a gateway, which no other user can reach, and connects that of a vault', () => {
    const path = join(folder.path, 'bridge.sock')
    // Bound and not listened on, so far.
    expect(confined(['--role', 'gateway', '--bridge', path]).status).toBe(0)
    expect(statSync(path).mode & 0o777).toBe(0o700)
    expect(confined(['--role', 'gateway', '--bridge', path])).toMatchObject({ status: 71 })
    expect(confined(['--role', 'vault', '--bridge', path])).toMatchObject({ status: 71 })
    const file = openSync('/dev/null', 'r')
    const launch = ['--role', 'vault', '--bridge', path, '--parent', String(process.pid), '--', probe]
    const env = { NODE_CHANNEL_FD: '4' }
    expect(spawnSync(LAUNCHER, launch, { env, stdio: ['ignore', 'pipe', 'pipe', file, file] }).status).toBe(64)
    closeSync(file)
  })

  it('raises the limit of descriptors, as node does and may not any more', () => {
    const launch = [LAUNCHER, '--role', 'vault', '--parent', String(process.pid), '--', probe]
    const { said } = ended(spawnSync('sh', ['-c', 'ulimit -S -n 256 && exec "$@"', 'sh', ...launch], { env: {} }))
    expect([said['limit read'], said['descriptors unlike their limit']]).toEqual([0, 0])
  })

  it('starts under a hard limit of 0 for cores, which not everybody may raise, where cores are files', () => {
    const launch = [LAUNCHER, '--role', 'vault', '--parent', String(process.pid), '--', probe]
    const shell = spawnSync('sh', ['-c', 'ulimit -c 0 && exec "$@"', 'sh', ...launch], { env: {}, ...SAME_USER })
    const { status, stderr } = ended(shell)
    // The pipe of a program that collects cores takes no heed of it.
    if (readFileSync('/proc/sys/kernel/core_pattern', 'utf8').startsWith('|')) expect(status).toBe(71)
    else expect([status, stderr]).toEqual([0, ''])
  })

  it('is built by a compiler that fortifies what it compiles of itself', () => {
    const compiler = join(folder.path, 'fortifying-cc')
    writeFileSync(compiler, '#!/bin/sh\nexec cc -D_FORTIFY_SOURCE=3 "$@"\n', { mode: 0o700 })
    const env = { PATH: process.env['PATH'], CC: compiler }
    const { status, stderr } = ended(spawnSync(BUILD, [join(folder.path, 'built')], { env }))
    expect([status, stderr]).toEqual([0, ''])
  })

  it('hands on no descriptor but the channel that node names', () => {
    const said = (env: Record<string, string>) => {
      const launch = ['--role', 'gateway', '--parent', String(process.pid), '--', probe]
      const file = openSync('/dev/null', 'r')
      const result = ended(
        spawnSync(LAUNCHER, launch, { env, stdio: ['ignore', 'pipe', 'pipe', file, file, file] }),
      ).said
      closeSync(file)
      return [result['descriptor 3'], result['descriptor 5']]
    }
    expect(said({})).toEqual([EBADF, EBADF])
    expect(said({ NODE_CHANNEL_FD: '3' })).toEqual([0, EBADF])
    expect(said({ NODE_CHANNEL_FD: '5' })).toEqual([EBADF, 0])
  })

  it('kills what makes calls of another architecture', { skip: process.arch !== 'x64' }, () => {
    expect(onItsOwn(['foreign']).signal).toBe(null)
    expect(confined(['--role', 'gateway'], ['foreign']).signal).toBe('SIGSYS')
  })

  it('lets nobody open the memory of a process of the same user', (context) => {
    const release = /^(\d+)\.(\d+)/.exec(readFileSync('/proc/sys/kernel/osrelease', 'utf8'))!
    if (Number(release[1]) * 1000 + Number(release[2]) < 5019) context.skip('Landlock came later than this kernel')
    const sibling = spawn(probe, ['wait'], { stdio: 'ignore', ...SAME_USER })
    const look = ['memory', String(sibling.pid)]
    try {
      if (onItsOwn(look, SAME_USER).said['memory'] !== 0) context.skip('Yama lets nobody do so here anyway')
      for (const role of ['gateway', 'vault']) {
        const EACCES = 13
        expect(confined(['--role', role], look, SAME_USER).said['memory']).toBe(EACCES)
      }
    } finally {
      sibling.kill('SIGKILL')
    }
  })

  it.each([
    [64, 'no role', ['--', '/bin/true']],
    [64, 'another role', ['--role', 'clerk', '--', '/bin/true']],
    [64, 'another kind of socket', ['--role', 'vault', '--socket', 'any', '--', '/bin/true']],
    [64, 'no program', ['--role', 'vault', '--']],
    [64, 'a user without a group', ['--role', 'vault', '--user', '1000', '--', '/bin/true']],
    [64, 'a user that is no number', ['--role', 'vault', '--user', 'root:1', '--', '/bin/true']],
    [64, 'all ones for a user', ['--role', 'vault', '--user', '4294967295:1', '--', '/bin/true']],
    [71, 'a program that is not there', ['--role', 'vault', '--', '/nowhere']],
    [64, 'a path that is too long', ['--role', 'vault', '--bridge', `/${'x'.repeat(108)}`, '--', '/bin/true']],
    [71, 'a bridge that nobody listens at', ['--role', 'vault', '--bridge', '/nowhere', '--', '/bin/true']],
  ])('exits %i on %s, and starts nothing', (code, _, args) => {
    const at = args.indexOf('--')
    const withParent = at === 0 ? args : [...args.slice(0, at), '--parent', String(process.pid), ...args.slice(at)]
    const { status, stderr } = ended(spawnSync(LAUNCHER, withParent))
    expect(status).toBe(code)
    expect(stderr).toMatch(/^launcher: /)
  })

  it('starts nothing whose parent has ended already', () => {
    const { status, stderr } = ended(spawnSync(LAUNCHER, ['--role', 'vault', '--parent', '1', '--', '/bin/true']))
    expect([status, stderr]).toEqual([71, 'launcher: whoever started this has ended\n'])
  })
})

describe('gateway and vaults of a running service', () => {
  let service: Service
  let children: { gateways: number[]; vaults: number[] }

  beforeAll(async () => {
    const setUp = await makeSetUp(folder.path, (config) => {
      config.hsm.vaults = 1
    })
    service = await startService(setUp)
    children = childrenOf(service.ready.pid)
  })
  afterAll(() => service.stop())

  const status = (pid: number, name: string) =>
    new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]

  it('have a filter, no new privileges, no capability, and write no core', () => {
    for (const pid of [...children.gateways, ...children.vaults]) {
      expect([status(pid, 'NoNewPrivs'), status(pid, 'Seccomp')]).toEqual(['1', '2'])
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(status(pid, set)).toMatch(/^0+$/)
      expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size\s+1\s+1\s/m)
      expect(readFileSync(`/proc/${pid}/coredump_filter`, 'utf8')).toMatch(/^0+$/m)
      expect(status(pid, 'Umask')).toBe('0077')
    }
    if (process.getuid!() === 0) {
      for (const pid of [...children.gateways, ...children.vaults]) expect(status(pid, 'CapBnd')).toMatch(/^0+$/)
    }
  })

  it('are started by one that writes no core either, and gains no privileges', () => {
    const { pid } = service.ready
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size\s+1\s+1\s/m)
    expect(readFileSync(`/proc/${pid}/coredump_filter`, 'utf8')).toMatch(/^0+$/m)
    expect([status(pid, 'NoNewPrivs'), status(pid, 'Seccomp')]).toEqual(['1', '0'])
  })

  it('share no descriptor with anybody but the supervisor: its channel, standard error and the bridge', () => {
    const [gateway] = children.gateways
    const [vault] = children.vaults
    const shared = [...socketInodes(gateway!)].filter((inode) => socketInodes(vault!).has(inode))
    const stderr = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${vault!}/fd/2`))?.[1]
    expect(shared.filter((inode) => inode !== stderr)).toEqual([])
    expect(readlinkSync(`/proc/${vault!}/fd/4`)).toMatch(/^socket:/)
  })

  it('end with a supervisor that is killed, a stopped vault too; the next start removes what it left', async () => {
    const everyone = [...children.gateways, ...children.vaults]
    const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`pinbridge-${service.ready.pid}-`))
    for (const vault of children.vaults) process.kill(vault, 'SIGSTOP')
    process.kill(service.ready.pid, 'SIGKILL')
    await until('the end of all', () => !everyone.some(isAlive))
    await service.stop()
    expect(folders()).toHaveLength(1)
    const next = await startService(service.setUp)
    try {
      expect(folders()).toEqual([])
      expect((await next.call('GET', '/v1/keys')).status).toBe(200)
    } finally {
      await next.stop()
    }
  })
})

describe('users of their own', () => {
  const GATEWAY = { uid: 64_101, gid: 64_101, groups: [64_104] }
  const VAULT = { uid: 64_102, gid: 64_102, groups: [64_103] }

  it('run gateway and vaults, and only the vaults can read the HSM PIN', async (context) => {
    if (process.getuid!() !== 0) context.skip('only root can start processes as other users')
    const own = temporaryFolder()
    try {
      const setUp = await makeSetUp(own.path, (config) => {
        config.hsm.vaults = 1
        config.processes = { users: { gateway: GATEWAY, vault: VAULT } }
      })
      const dev = dirname(setUp.config)
      const refused = await startService(setUp).catch((error: unknown) => String(error))
      expect(refused).toContain('exit 78')
      expect(refused).toContain('must belong to the user of processes.users who reads it')

      // The way to the files, which hold their own.
      for (const path of [own.path, dev]) chmodSync(path, 0o711)
      giveAll(dev, ['ca.pem', 'server.pem', 'server-key.pem', 'audit'], GATEWAY)
      giveAll(dev, ['hsm-pin', 'softhsm2.conf', 'token'], VAULT)
      const service = await startService(setUp)
      try {
        const { gateways, vaults } = childrenOf(service.ready.pid)
        const ids = (pid: number, name: string) =>
          new RegExp(`^${name}:\\s+(.*?)\\s*$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
        for (const [pid, { uid, gid, groups }] of [
          [gateways[0]!, GATEWAY],
          [vaults[0]!, VAULT],
        ] as const) {
          expect(ids(pid, 'Uid')).toBe(Array(4).fill(uid).join('\t'))
          expect(ids(pid, 'Gid')).toBe(Array(4).fill(gid).join('\t'))
          expect(ids(pid, 'Groups')).toBe(groups.join(' '))
        }
        expect((await service.call('GET', '/v1/keys')).status).toBe(200)
        const read = (user: typeof GATEWAY) =>
          spawnSync('cat', [join(dev, 'hsm-pin')], { uid: user.uid, gid: user.gid }).status
        expect([read(VAULT), read(GATEWAY)]).toEqual([0, 1])
      } finally {
        expect(await service.stop()).toBe(0)
      }
    } finally {
      own.dispose()
    }
  })
})

function giveAll(folder: string, names: readonly string[], { uid, gid }: { uid: number; gid: number }): void {
  for (const name of names) execFileSync('chown', ['-R', `${uid}:${gid}`, join(folder, name)])
}
