/** The guided set-up for production: with an answers file, and typed at a terminal. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import { loadConfig } from '../../../src/config/config.ts'
import { makeAuthority } from '../../support/issued-certificates.ts'
import { PseudoTerminal } from '../../support/pseudo-terminal.ts'
import { pinbridge, temporaryFolder, type CommandResult } from '../../support/service.ts'
import { makeTestToken, type TestToken } from '../../support/tokens.ts'

const authority = makeAuthority()
const disposals: (() => void | Promise<void>)[] = []
afterAll(async () => {
  for (const dispose of disposals) await dispose()
})

/** A fresh token, a folder, and answers that fit them. */
interface Site {
  readonly token: TestToken
  readonly folder: string
  readonly dir: string
  /** How many keys the token holds. */
  readonly keysInToken: () => number
  readonly answers: Record<string, unknown>
  /** Runs `init` with the answers, of which some are changed or, with undefined, left out. */
  readonly init: (changes?: Record<string, unknown>) => ReturnType<typeof pinbridge>
}

async function makeSite(): Promise<Site> {
  const token = await makeTestToken('softhsm')
  const { path: folder, dispose } = temporaryFolder()
  disposals.push(token.dispose, dispose)
  const ca = join(folder, 'bank-ca.pem')
  writeFileSync(ca, authority.ca)
  const { module, tokenLabel, pinFile, environment } = token.members
  const config = environment['SOFTHSM2_CONF']!
  const store = /tokendir = (.*)/.exec(readFileSync(config, 'utf8'))![1]!
  const dir = join(folder, 'made')
  const answers: Record<string, unknown> = {
    ...{ module, tokenLabel, pinFile, moduleVariables: `SOFTHSM2_CONF=${config}`, softwareToken: tokenLabel },
    ...{ logIn: true, generateKeys: true, organisation: 'Example Bank', dnsName: 'pinbridge.bank.example' },
    ...{ apiHost: '127.0.0.1', clientCa: ca },
    // Asked of root alone.
    ...(process.getuid?.() === 0 && { startedBy: '64100:64100' }),
    clients: [{ id: 'cms-adapter', dnsName: 'cms.bank.example', operations: ['pin/set', 'jwks', 'keys'] }],
  }
  let runs = 0
  const init: Site['init'] = (changes = {}) => {
    const file = join(folder, `answers-${runs++}.yaml`)
    const given = Object.entries({ ...answers, ...changes }).filter(([, value]) => value !== undefined)
    writeFileSync(file, stringify(Object.fromEntries(given)))
    return pinbridge(['init', '--dir', dir, '--answers', file, '--json'])
  }
  const keysInToken = () =>
    readdirSync(store, { recursive: true, encoding: 'utf8' }).filter((name) => /\/[0-9a-f-]{36}\.object$/.test(name))
      .length
  return { token, folder, dir, keysInToken, answers, init }
}

/** The objects of the four keys: two pairs and two secret keys. */
const OBJECTS = 6

describe('with an answers file', () => {
  let site: Site
  let result: CommandResult
  beforeAll(async () => {
    site = await makeSite()
    result = await site.init()
  })

  it('generates the keys in the token and writes a configuration that doctor finds right', async () => {
    const { dir, keysInToken, token } = site
    expect([result.code, result.stderr]).toEqual([0, ''])
    const made = JSON.parse(result.stdout)
    expect(made.config).toBe(join(dir, 'pinbridge.yaml'))
    expect(made.keys.map(({ id, purpose, algorithm }: any) => [id, purpose, algorithm])).toEqual([
      ['jwe', 'jwe-decrypt', 'EC-P256'],
      ['audit-mac', 'audit-mac', 'AES-256'],
      ['limit-hash', 'limit-hash', 'AES-256'],
      ['transcript-sign', 'transcript-sign', 'EC-P256'],
    ])
    expect(keysInToken()).toBe(OBJECTS)
    const config = loadConfig(made.config, {}, 'keys')
    expect(config.environment).toBe('production')
    expect(config.keys.every(({ origin }) => origin === 'generated')).toBe(true)
    expect(config.clients[0]!.grants).toMatchObject([{ operations: ['pin/set', 'jwks', 'keys'], keys: ['jwe'] }])
    expect(readFileSync(made.config, 'utf8')).toMatch(/^# Who may call/m)
    for (const name of readdirSync(dir)) {
      const { mode } = statSync(join(dir, name))
      const isSecret = ['server-key.pem', 'pinbridge.yaml', 'answers.yaml', 'audit'].includes(name)
      expect([name, mode & 0o077]).toEqual([name, isSecret ? 0 : mode & 0o044])
      if (name !== 'audit') expect(readFileSync(join(dir, name), 'utf8')).not.toContain(token.pin)
    }
    expect(statSync(dir).mode & 0o777).toBe(0o700)
    const doctor = await pinbridge(['doctor', '--config', made.config, '--json'])
    const wrong = JSON.parse(doctor.stdout).findings.filter(
      ({ verdict, subject }: any) => verdict === 'wrong' && /^key /.test(subject),
    )
    expect(wrong).toEqual([])
  })

  it('makes a request for the private key that OpenSSL verifies, and a certificate that stands in', async () => {
    const { dir } = site
    const shown = execFileSync('openssl', ['req', '-in', join(dir, 'server.csr'), '-noout', '-text', '-verify'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    expect(shown).toContain('O = Example Bank')
    expect(shown).toContain('DNS:pinbridge.bank.example')
    const key = createPrivateKey(readFileSync(join(dir, 'server-key.pem')))
    expect(key.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' })
    const inRequest = execFileSync('openssl', ['req', '-in', join(dir, 'server.csr'), '-noout', '-pubkey'])
    const spki = (each: Parameters<typeof createPublicKey>[0]) =>
      createPublicKey(each).export({ type: 'spki', format: 'pem' })
    expect(spki(inRequest)).toBe(spki(key as never))
    const standIn = new X509Certificate(readFileSync(join(dir, 'server.pem')))
    expect(standIn.checkPrivateKey(key)).toBe(true)
    expect(standIn.checkHost('pinbridge.bank.example')).toBe('pinbridge.bank.example')
    expect(standIn.verify(createPublicKey(key as never))).toBe(true)
  })

  it('names in STEPS.md every step with commands that name this configuration', async () => {
    const { dir } = site
    const steps = readFileSync(join(dir, 'STEPS.md'), 'utf8')
    expect(steps.match(/^## \d+\. /gm)!.length).toBeGreaterThan(5)
    const commands = [...steps.matchAll(/```sh\n([^`]*)```/g)].flatMap(
      ([, block]) => block!.match(/^pinbridge .*/gm) ?? [],
    )
    expect(commands.length).toBeGreaterThan(5)
    for (const command of commands) expect(command).toContain(`--config ${join(dir, 'pinbridge.yaml')}`)
  })

  it('takes over the keys and callers of another node of the same token, and makes none', async () => {
    const { dir, folder, keysInToken } = site
    const first = loadConfig(join(dir, 'pinbridge.yaml'), {}, 'keys')
    const second = join(folder, 'second')
    const file = join(folder, 'second.yaml')
    const given = parse(readFileSync(join(dir, 'answers.yaml'), 'utf8'))
    const own = {
      keysOf: join(dir, 'pinbridge.yaml'),
      dnsName: 'pinbridge-2.bank.example',
      auditDirectory: join(second, 'audit'),
    }
    writeFileSync(file, stringify({ ...given, ...own }))
    const { code, stderr } = await pinbridge(['init', '--dir', second, '--answers', file])
    expect([code, stderr]).toEqual([0, ''])
    const config = loadConfig(join(second, 'pinbridge.yaml'), {}, 'keys')
    expect([config.keys, config.clients]).toEqual([first.keys, first.clients])
    expect(keysInToken()).toBe(OBJECTS)
    // Keys of another token by the same names.
    const stranger = join(folder, 'stranger.yaml')
    writeFileSync(stranger, readFileSync(join(dir, 'pinbridge.yaml'), 'utf8').replace(/check: '..../, "check: '0000"))
    writeFileSync(file, stringify({ ...given, ...own, keysOf: stranger, auditDirectory: join(folder, 'third/audit') }))
    const third = await pinbridge(['init', '--dir', join(folder, 'third'), '--answers', file])
    expect([third.code, third.stderr]).toEqual([
      69,
      expect.stringContaining("other keys than that node's: audit-mac version 1"),
    ])
    expect([existsSync(join(folder, 'third')), keysInToken()]).toEqual([false, OBJECTS])
  })
})

describe('makes nothing, in the folder or in the token, and says why', () => {
  let site: Site
  beforeAll(async () => {
    site = await makeSite()
  })

  it.each([
    ['a PIN in it', { pin: '40817263' }, 65, '"pin" is no question'],
    ['an answer that cannot be', { apiPort: 80 }, 65, 'apiPort: a number from 1024 to 65535'],
    ['an answer missing', { organisation: undefined }, 64, 'organisation is not answered'],
    [
      'an operation that is none',
      { clients: [{ id: 'a', dnsName: 'a.example', operations: ['pin/read'] }] },
      65,
      'number 1',
    ],
    ['a software token that is not confirmed', { softwareToken: undefined }, 64, 'not for production'],
    ['no consent to the login', { logIn: false }, 64, 'no login was tried'],
    ['no consent to the keys', { generateKeys: undefined }, 64, 'before anything was made'],
    ['a module that is none', { module: '/etc/hostname' }, 69, 'could not be loaded'],
    ['a token that is not there', { tokenLabel: 'other' }, 65, 'no such token'],
    ['a PIN file that is not there', { pinFile: '/nowhere/pin' }, 64, 'Make it first, mode 0600'],
  ])('%s', async (_, changes, expected, sentence) => {
    const { init, dir, keysInToken } = site
    const { code, stdout, stderr } = await init(changes)
    expect([code, stdout]).toEqual([expected, ''])
    expect(stderr).toContain(sentence)
    expect(stderr).not.toContain('40817263')
    expect([existsSync(dir), keysInToken()]).toEqual([false, 0])
  })

  it('a configuration that is not fit after the keys were generated', async () => {
    const { init, folder, dir, keysInToken } = await makeSite()
    const auditDirectory = join(folder, 'open-to-all')
    mkdirSync(auditDirectory, { mode: 0o755 })
    const { code, stderr } = await init({ auditDirectory })
    expect(code).toBe(78)
    expect(stderr).toContain('audit.directory: must be closed to group and others')
    expect([existsSync(dir), keysInToken()]).toEqual([false, 0])
    expect(statSync(auditDirectory).mode & 0o777).toBe(0o755)
  })

  it('a wrong PIN, which is tried once and remembered', async () => {
    const { init, dir, folder, keysInToken } = await makeSite()
    const pinFile = join(folder, 'wrong-pin')
    writeFileSync(pinFile, '99999999', { mode: 0o600 })
    const { code, stderr } = await init({ pinFile })
    expect(code).toBe(69)
    expect(stderr).toContain('the token refused the PIN (CKR_PIN_INCORRECT)')
    expect(stderr).toContain('it was given a wrong PIN since the last right one')
    const again = await init({ pinFile })
    expect(again.code).toBe(69)
    expect(again.stderr).toContain('it is not tried again until the file changes')
    expect([existsSync(dir), keysInToken()]).toEqual([false, 0])
  })

  it('a token that holds such keys already, and a folder that is in use', async () => {
    const { init, folder, dir, keysInToken, answers } = await makeSite()
    expect((await init()).code).toBe(0)
    const inUse = await init()
    expect([inUse.code, inUse.stderr]).toEqual([73, expect.stringContaining('not an empty one')])
    const file = join(folder, 'again.yaml')
    writeFileSync(file, stringify(answers))
    const again = await pinbridge(['init', '--dir', join(folder, 'again'), '--answers', file])
    expect([again.code, again.stderr]).toEqual([73, expect.stringContaining('the token holds jwe, audit-mac')])
    expect([existsSync(join(folder, 'again')), keysInToken()]).toEqual([false, OBJECTS])
    expect(existsSync(join(dir, 'pinbridge.yaml'))).toBe(true)
  })
})

describe('at a terminal', () => {
  /** Answers up to the login, with a PIN that is typed. */
  async function typeToken(terminal: PseudoTerminal, { token: { members } }: Site, pin: string): Promise<void> {
    await terminal.answer('or a path', members.module)
    await terminal.answer('Variables', `SOFTHSM2_CONF=${members.environment['SOFTHSM2_CONF']}`)
    await terminal.answer('Library parameters', '')
    await terminal.answer('or its label', '')
    await terminal.answer(`Type ${members.tokenLabel}`, members.tokenLabel)
    await terminal.answer('none, unix or inet?', '')
    await terminal.answer('this is the first', '')
    await terminal.answer('ECDH-ES or RSA-OAEP-256', 'RSA-OAEP-256')
    await terminal.answer('File with the HSM PIN', '')
    await terminal.answer('User PIN of the token', pin)
    await terminal.answer('The same PIN again', pin)
  }

  async function typeService(terminal: PseudoTerminal, { answers }: Site): Promise<void> {
    await terminal.answer('Log in', 'y')
    await terminal.answer('Name of the bank', 'Example Bank')
    await terminal.answer('DNS name that callers', 'Not A Name')
    await terminal.answer('a DNS name in lower case', 'pinbridge.bank.example')
    for (const question of ['Address to listen on', 'Port', 'Address of the management', 'Port of the management']) {
      await terminal.answer(question, '')
    }
    await terminal.answer('authority (PEM)', String(answers['clientCa']))
    await terminal.answer('Directory of the audit record', '')
    if (process.getuid?.() === 0) {
      await terminal.answer('Who starts the service', '')
      await terminal.answer('network reaches (', '64101:64101')
      await terminal.answer('holds the HSM (', '64102:64102')
    }
    await terminal.answer('Redis or Valkey server,', '')
    await terminal.answer('Name of a caller', 'cms-adapter')
    await terminal.answer('DNS name in its certificate', 'cms.bank.example')
    await terminal.answer('What it may do, with', 'pin/get jwks')
    // Whoever does not type it again is not given it.
    await terminal.answer('Type pin/get to grant it', '')
    await terminal.answer('Name of the next caller', '')
  }

  it('asks, makes the PIN file that is typed unseen, and grants nothing dangerous by the way', async () => {
    const site = await makeSite()
    const terminal = PseudoTerminal.pinbridge(['init', '--dir', site.dir])
    await typeToken(terminal, site, site.token.pin)
    await typeService(terminal, site)
    await terminal.answer('Generate these keys', 'y')
    expect(await terminal.end()).toEqual({ code: 0, restored: true, echoes: true })
    expect(terminal.shown).not.toContain(site.token.pin)
    expect(terminal.shown).toContain(join(site.dir, 'STEPS.md'))
    const pinFile = join(site.dir, 'hsm-pin')
    expect([readFileSync(pinFile, 'utf8'), statSync(pinFile).mode & 0o777]).toEqual([site.token.pin, 0o600])
    const config = parse(readFileSync(join(site.dir, 'pinbridge.yaml'), 'utf8'))
    expect(config.hsm.pinFile).toBe('hsm-pin')
    expect(config.keys[0]).toMatchObject({ id: 'jwe', algorithm: 'RSA-3072', alg: 'RSA-OAEP-256' })
    expect(config.clients).toEqual([
      { id: 'cms-adapter', dnsName: 'cms.bank.example', grants: [{ operations: ['jwks'] }] },
    ])
  })

  it('Ctrl-C at the last question leaves nothing, not even the PIN file', async () => {
    const site = await makeSite()
    const terminal = PseudoTerminal.pinbridge(['init', '--dir', site.dir])
    await typeToken(terminal, site, site.token.pin)
    await typeService(terminal, site)
    await terminal.expect('Generate these keys')
    terminal.type('\x03')
    expect(await terminal.end()).toEqual({ code: 130, restored: true, echoes: true })
    expect([existsSync(site.dir), site.keysInToken()]).toEqual([false, 0])
  })

  it('a typed PIN that the token refuses leaves nothing, and the refusal is gone with the file', async () => {
    const site = await makeSite()
    mkdirSync(site.dir, { mode: 0o755 })
    const terminal = PseudoTerminal.pinbridge(['init', '--dir', site.dir])
    await typeToken(terminal, site, '11111111')
    await terminal.answer('Log in', 'y')
    await terminal.expect('the token refused the PIN')
    expect((await terminal.end()).code).toBe(69)
    expect([readdirSync(site.dir), statSync(site.dir).mode & 0o777]).toEqual([[], 0o755])
  })
})

it('without a terminal and without answers it says what to do', async () => {
  const { dir } = await makeSite()
  const cli = new URL('../../../dist/cli/main.js', import.meta.url).pathname
  // A session of its own has no terminal, whoever runs the tests.
  const { status, stderr } = spawnSync('setsid', ['-w', process.execPath, cli, 'init', '--dir', dir], {
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  })
  expect([status, existsSync(dir)]).toEqual([64, false])
  expect(stderr).toContain('--answers')
})
