/**
 * A fresh token of a test file's own, in each of the PKCS#11 modules that `scripts/test` installs.
 *
 * SoftHSM and NSS keep a token in a folder, which is a temporary one here. openCryptoki has one folder and one daemon for the
 * whole machine: `scripts/setup-tokens.sh` adds slots of our own to its configuration, and only those are ever wiped.
 */
import { execFileSync, type ExecFileSyncOptions } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startP11Kit } from './p11-kit.ts'
import { temporaryFolder } from './service.ts'

/** The modules that the suite runs on. */
export const TOKEN_KINDS = ['softhsm', 'nss', 'opencryptoki', 'p11-kit'] as const
export type TokenKind = (typeof TOKEN_KINDS)[number]

/** What a configuration says of a token: a whole entry of `hsm.tokens`, or `hsm` itself. */
export interface TokenMembers {
  readonly module: string
  readonly tokenLabel: string
  readonly pinFile: string
  readonly environment: Readonly<Record<string, string>>
  readonly libraryParameters?: string
  readonly socket?: 'none' | 'unix' | 'inet'
}

/** A token that is empty and takes its user PIN. */
export interface TestToken {
  readonly kind: TokenKind
  readonly members: TokenMembers
  /** The user PIN, which is the text of `members.pinFile`. */
  readonly pin: string
  /** Gives the token up, with all that is in it. */
  readonly dispose: () => Promise<void>
}

const LABEL = 'pinbridge-test'
// As short as openCryptoki takes them.
const PIN = '40817263'
const START_DAEMON = new URL('../../native-config/opencryptoki/start', import.meta.url).pathname
const LEASE_MS = 120_000

/** Makes a token. openCryptoki's are few: who finds none waits until another process gives one up. */
export async function makeTestToken(kind: TokenKind): Promise<TestToken> {
  const folder = temporaryFolder()
  const pinFile = join(folder.path, 'hsm-pin')
  writeFileSync(pinFile, `${PIN}\n`, { mode: 0o600 })
  try {
    const { release, ...members } = await MAKERS[kind](folder.path, pinFile)
    const dispose = async () => {
      await release?.()
      folder.dispose()
    }
    return { kind, pin: PIN, members: { tokenLabel: LABEL, pinFile, environment: {}, ...members }, dispose }
  } catch (error) {
    folder.dispose()
    throw error
  }
}

type Made = Pick<TokenMembers, 'module'> & Partial<TokenMembers> & { readonly release?: () => void | Promise<void> }

const MAKERS: Record<TokenKind, (folder: string, pinFile: string) => Made | Promise<Made>> = {
  softhsm: makeSoftHsm,
  nss: (folder, pinFile) => {
    const dataBase = join(folder, 'nss')
    mkdirSync(dataBase, { mode: 0o700 })
    // NSS derives a key from the PIN anew for every private key that it reads, in 10 000 rounds unless told otherwise.
    const environment = { NSS_MAX_MP_PBE_ITERATION_COUNT: '1' }
    run('certutil', ['-N', '-d', `sql:${dataBase}`, '-f', pinFile], { env: { ...process.env, ...environment } })
    return {
      module: modulePath('NSS', ['/usr/lib/*', '/usr/lib/*/nss'], 'libsoftokn3.so'),
      environment,
      libraryParameters: `configdir='sql:${dataBase}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='${LABEL}'`,
    }
  },
  opencryptoki: async () => {
    run(START_DAEMON, [])
    const slots = testSlots()
    if (slots.length === 0) throw new Error('openCryptoki has no slots for tests: run scripts/setup-tokens.sh')
    const { name, slot, lease } = await leaseOneOf(slots)
    try {
      wipe(name)
      // The security officer's PIN stays the one of an empty token: once it was changed, a token cannot be made anew.
      const asOfficer = ['-c', slot, '-S', '87654321']
      run('/usr/sbin/pkcsconf', ['-I', ...asOfficer], { input: `${name}\n` })
      run('/usr/sbin/pkcsconf', ['-u', ...asOfficer, '-n', PIN])
    } catch (error) {
      lease.close()
      throw error
    }
    return {
      module: modulePath('openCryptoki', ['/usr/lib/*'], 'libopencryptoki.so.0'),
      // All slots of the machine are seen by label.
      tokenLabel: name,
      // To its daemon.
      socket: 'unix',
      release: () => {
        wipe(name)
        lease.close()
      },
    }
  },
  // SoftHSM again, behind a socket.
  'p11-kit': async (folder) => {
    const server = await startP11Kit(folder, { ...makeSoftHsm(folder), tokenLabel: LABEL })
    return { ...server.members, release: server.dispose }
  },
}

function makeSoftHsm(folder: string): Made & { environment: Record<string, string> } {
  const tokens = join(folder, 'token')
  mkdirSync(tokens, { mode: 0o700 })
  const config = join(folder, 'softhsm2.conf')
  writeFileSync(config, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`)
  const environment = { SOFTHSM2_CONF: config }
  run('softhsm2-util', ['--init-token', '--free', '--label', LABEL, '--so-pin', PIN, '--pin', PIN], {
    env: { ...process.env, ...environment },
  })
  return { module: modulePath('SoftHSM', ['/usr/lib/softhsm', '/usr/lib/*/softhsm'], 'libsofthsm2.so'), environment }
}

/** Where a distribution put a module. */
function modulePath(product: string, folders: readonly string[], name: string): string {
  const found = folders.flatMap((folder) => globSync(join(folder, name)))[0]
  if (found === undefined) throw new Error(`${product} is not installed: run scripts/test`)
  return found
}

function run(command: string, args: readonly string[], options: ExecFileSyncOptions = {}): void {
  execFileSync(command, args, { stdio: 'pipe', timeout: 30_000, ...options })
}

const DATA = '/var/lib/opencryptoki'
const OWN = /^slot (\d+)\s*\{[^}]*tokname = (pinbridge-test-\d+)\s*\}/gm

/** The slots that are ours, by openCryptoki's configuration. */
function testSlots(): { slot: string; name: string }[] {
  const config = readFileSync('/etc/opencryptoki/opencryptoki.conf', 'utf8')
  return Array.from(config.matchAll(OWN), ([, slot, name]) => ({ slot: slot!, name: name! }))
}

/** Takes a slot that no other test process has; the lease is an abstract socket, which ends with whoever holds it. */
async function leaseOneOf(slots: readonly { slot: string; name: string }[]) {
  const end = Date.now() + LEASE_MS
  while (Date.now() < end) {
    for (const { slot, name } of slots) {
      const lease = await listen(`\0${name}`)
      if (lease !== undefined) return { slot, name, lease }
    }
    await sleep(200)
  }
  throw new Error(`all ${slots.length} test slots of openCryptoki are in use`)
}

function listen(path: string): Promise<Server | undefined> {
  const server = createServer().unref()
  return new Promise((resolve) => {
    server.once('error', () => {
      resolve(undefined)
    })
    server.listen(path, () => {
      resolve(server)
    })
  })
}

/** Makes a slot of ours as it was before its first use: its files, and the memory that all processes share. */
function wipe(name: string): void {
  const folder = join(DATA, name)
  for (const entry of readdirSync(folder)) {
    if (entry !== 'TOK_OBJ') rmSync(join(folder, entry))
  }
  for (const entry of readdirSync(join(folder, 'TOK_OBJ'))) rmSync(join(folder, 'TOK_OBJ', entry))
  rmSync(`/dev/shm/var.lib.opencryptoki.${name}`, { force: true })
}
