/**
 * Runs the runbook of README: its own commands, in their order, on a real token and against a running service.
 *
 * The test plays whoever is outside of the page: the bank's certification authority, the HSM's vendor (who clones a token and
 * changes its PIN), the custodians at the terminal, and whatever starts services (`pinbridge serve`, `systemctl`).
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Agent, request } from 'undici'
import { parse } from 'yaml'
import { openToken } from '../../../src/hsm/pkcs11/module.ts'
import { freePort } from '../../support/free-port.ts'
import { PseudoTerminal } from '../../support/pseudo-terminal.ts'
import { editConfig, giveToUnprivileged, temporaryFolder } from '../../support/service.ts'
import { makeTestToken, type TestToken } from '../../support/tokens.ts'

const README = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
const CLI = new URL('../../../dist/cli/main.js', import.meta.url).pathname

/** A block of the runbook. */
interface Block {
  readonly name: string
  readonly language: string
  readonly text: string
}

const BLOCKS: readonly Block[] = [...README.matchAll(/<!-- runbook: (.+) -->\n+```(sh|yaml)\n([\s\S]*?)```/g)].map(
  ([, name, language, text]) => ({ name: name!, language: language!, text: text! }),
)

const folder = temporaryFolder()
const root = folder.path
const home = join(root, 'etc/pinbridge')
let token: TestToken
let pin: string
let user: number | undefined
let service: ChildProcess | undefined
let apiPort: number
let managementPort: number
let environment: Record<string, string> = {}

beforeAll(async () => {
  token = await makeTestToken('softhsm')
  pin = token.pin
  for (const name of ['bin', 'etc', 'srv', 'ca', 'token']) mkdirSync(join(root, name))
  // Out of the test token's own folder, so that all of it belongs to one user.
  cpSync(join(token.members.environment['SOFTHSM2_CONF']!, '../token'), join(root, 'token'), { recursive: true })
  writeFileSync(
    join(root, 'softhsm2.conf'),
    `directories.tokendir = ${join(root, 'token')}\nobjectstore.backend = file\n`,
  )
  writeFileSync(join(root, 'bin/pinbridge'), `#!/bin/sh\nexec ${process.execPath} ${CLI} "$@"\n`, { mode: 0o755 })
  openssl(
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca-key.pem -out ca.pem -days 365 -subj /CN=bank',
  )
  certify('client', 'cms.bank.example')
  apiPort = await freePort()
  managementPort = await freePort()
  environment = { PATH: `${join(root, 'bin')}:${process.env['PATH']}` }
  user = giveToUnprivileged(root)
})
afterAll(async () => {
  await stopService()
  await token.dispose()
  folder.dispose()
})

it('README has the runbook', () => {
  expect(BLOCKS.length).toBeGreaterThan(20)
  expect(README.match(/<!-- runbook: /g)).toHaveLength(BLOCKS.length)
})

it('every command of it does what it says', { timeout: 600_000 }, async () => {
  for (const block of BLOCKS) {
    await BEFORE[block.name]?.()
    if (block.language === 'yaml') putIntoConfig(block)
    else for (const line of linesOf(block)) await run(line, block.name)
    await AFTER[block.name]?.()
  }
})

/** What others do before a block. */
const BEFORE: Record<string, () => Promise<void> | void> = {
  'public key': () => {
    // The authority answers.
    openssl(
      `x509 -req -in ${home}/server.csr -CA ca.pem -CAkey ca-key.pem -days 300 -copy_extensions copy -out server.pem`,
    )
    writeFileSync(join(home, 'server.pem'), readFileSync(join(root, 'ca/server.pem')))
  },
  'PRW key': () => {
    const [, profiles] = /## PRW and MAC profiles[\s\S]*?```yaml\n([\s\S]*?)```/.exec(README)!
    editConfig(join(home, 'pinbridge.yaml'), (config) => Object.assign(config, parse(profiles!)))
  },
  'a zone key, once the partner uses the new version': async () => {
    expect(await translate(1)).toBe(200)
    const rows = [1, 2, 3].map((id) => `${id},${PAN},${blockUnder(COMPONENTS[0])}\n`)
    writeFileSync(join(home, 'pins.csv'), `id,pan,pinBlock\n${rows.join('')}`)
    give(join(home, 'pins.csv'))
  },
  // Each step of a rotation renews the vaults of a service that runs. Two whole rotations have shown that it does; the others
  // are taken without one, unless there is time.
  'rotate a PRW key': async () => {
    if (process.env['PINBRIDGE_FULL'] !== '1') await stopService()
  },
  'the HSM PIN may be known': () => {
    withSoftHsm(() => {
      const opened = openToken({ ...token.members }, pin)
      opened.lib.C_SetPIN(opened.anchor.handle, pin, NEW_PIN)
      opened.close()
    })
    pin = NEW_PIN
  },
  'two tokens': () => {
    // The vendor clones.
    cpSync(join(root, 'token'), join(root, 'token-new'), { recursive: true })
    const text = readFileSync(join(root, 'softhsm2.conf'), 'utf8')
    writeFileSync(join(root, 'softhsm2-new.conf'), text.replace('/token\n', '/token-new\n'))
    for (const name of ['token-new', 'softhsm2-new.conf']) give(join(root, name))
  },
  backup: () => cpSync(join(root, 'token-new'), join(root, 'token-backup'), { recursive: true }),
  restore: async () => {
    await stopService()
    for (const lost of [home, join(root, 'token-new')]) rmSync(lost, { recursive: true })
    cpSync(join(root, 'token-backup'), join(root, 'token-new'), { recursive: true })
    give(join(root, 'token-new'))
  },
}

/** What has to be true after a block. */
const AFTER: Record<string, () => Promise<void> | void> = {
  // One vault is enough here, and starts twice as fast as two.
  init: () => editConfig(join(home, 'pinbridge.yaml'), (config) => (config.hsm.vaults = 1)),
  shell: () => expect(environment['PINBRIDGE_CONFIG']).toBe(join(home, 'pinbridge.yaml')),
  start: async () => expect(await translate()).toBe(200),
  'rotate the JWE key': () => expect(JSON.parse(readFileSync(join(home, 'jwks.json'), 'utf8')).keys).toHaveLength(2),
  'a zone key, once the partner uses the new version': () => {
    const [, row] = readFileSync(join(home, 'pins-new.csv'), 'utf8').split('\n')
    expect(row).toBe(`1,${PAN},${blockUnder(COMPONENTS[1])}`)
  },
  'the JWE key may be known': () => {
    expect(JSON.parse(readFileSync(join(home, 'jwks.json'), 'utf8')).keys).toHaveLength(2)
    expect(statesOf('jwe')).toEqual({ 3: 'active' })
  },
  'a zone key may be known': () => expect(statesOf('zpk')).toEqual({ 3: 'active' }),
  'rotate a PRW key': () => expect(statesOf('prw')).toEqual({ 1: 'retiring', 2: 'active' }),
  'a new HSM beside the old': async () =>
    expect((await ready()).tokens.map(({ name }: any) => name).sort()).toEqual(['new', 'old']),
  'the old HSM goes': async () => expect((await ready()).tokens.map(({ name }: any) => name)).toEqual(['new']),
  restore: () => expect(existsSync(join(home, 'hsm-pin'))).toBe(true),
}

const PAN = '4000001234567899'
const NEW_PIN = '55512345'
/** The components of the two versions that come in: random numbers, with odd parity. */
const COMPONENTS = [
  ['31AD9285ADB5BA1A9773CD76C8FD7A80', '9E1307311CFBE537237F86ABC18FC234'],
  ['3D04D6CED58619BFC14A26C4299870BC', 'DFD6026E8361E6F445B3D9042A9D9DF2'],
] as const

/** Dialogues, by how their commands begin. */
const DIALOGUES: readonly (readonly [
  begin: string,
  type: (terminal: PseudoTerminal, line: string) => Promise<void>,
])[] = [
  ['pinbridge init', typeSetUp],
  ['pinbridge ceremony import', typeComponents],
  ['pinbridge ceremony generate', writeComponentsDown],
  ['pinbridge keys destroy', destroyKey],
  ['(umask', typePin],
]

async function typePin(terminal: PseudoTerminal): Promise<void> {
  terminal.type(`${pin}\r`)
  await terminal.end()
}

async function destroyKey(terminal: PseudoTerminal, line: string): Promise<void> {
  await terminal.answer(/Type \S+ to go on/, line.split(' ')[3]!)
}

async function typeSetUp(terminal: PseudoTerminal): Promise<void> {
  const { module, tokenLabel } = token.members
  const answers: [string, string][] = [
    ['or a path', module],
    ['Variables', `SOFTHSM2_CONF=${join(root, 'softhsm2.conf')}`],
    ['Library parameters', ''],
    ['or its label', ''],
    [`Type ${tokenLabel}`, tokenLabel],
    ['none, unix or inet?', ''],
    ['this is the first', ''],
    ['ECDH-ES or RSA', ''],
    ['File with the HSM PIN', ''],
    ['User PIN of the token', pin],
    ['The same PIN again', pin],
    ['Log in', 'y'],
    ['Name of the bank', 'Example Bank'],
    ['DNS name that callers', 'pinbridge.bank.example'],
    ['Address to listen on', '127.0.0.1'],
    ['Port', String(apiPort)],
    ['Address of the management', ''],
    ['Port of the management', String(managementPort)],
    ['authority (PEM)', join(root, 'ca/ca.pem')],
    ['Directory of the audit', ''],
    ['Redis or Valkey server,', ''],
    ['Name of a caller', 'cms-adapter'],
    ['DNS name in its certificate', 'cms.bank.example'],
    ['What it may do, with', ''],
    ['Name of the next caller', ''],
    ['Generate these keys', 'y'],
  ]
  for (const [question, answer] of answers) await terminal.answer(question, answer)
}

async function typeComponents(terminal: PseudoTerminal, line: string): Promise<void> {
  const components = COMPONENTS[line.includes('--new-version-of') ? 1 : 0]
  await terminal.answer('Shall the ceremony begin?', 'y')
  await terminal.answer('whoever runs the ceremony', 'security officer')
  for (const [i, component] of components.entries()) {
    await terminal.answer(`Name or role of custodian ${i + 1}`, `custodian of sheet ${i + 1}`)
    await terminal.answer(/Component \d: /, component)
    await terminal.answer('Is that the KCV on the sheet?', 'y')
  }
  await terminal.answer('KCV that the key must have', '')
  await terminal.answer('Store this key?', 'y')
  await terminal.answer('Press Enter to clear', '')
}

async function writeComponentsDown(terminal: PseudoTerminal): Promise<void> {
  await terminal.answer('Shall the ceremony begin?', 'y')
  await terminal.answer('whoever runs the ceremony', 'security officer')
  for (const number of [1, 2]) {
    await terminal.answer(`Name or role of custodian ${number}`, `new custodian ${number}`)
    await terminal.answer('Press Enter to see it', '')
    const shown = await terminal.answer('when it is written down', '')
    const groups = [...shown.matchAll(/(?:[0-9A-F]{4} ){3}[0-9A-F]{4}/g)].map(([group]) => group)
    await terminal.answer(/Component \d: /, groups.join(' '))
  }
  await terminal.answer('Store the key', 'y')
  await terminal.answer('Press Enter to clear', '')
}

/** Runs a line as the user whom the service belongs to, at a terminal of its own. */
async function run(line: string, block: string): Promise<void> {
  if (line.startsWith('pinbridge serve')) return startService()
  if (line.startsWith('systemctl restart')) {
    await stopService()
    return startService()
  }
  const exported = /^export ([A-Z_]+)=(.*)$/.exec(line)
  if (exported) {
    environment[exported[1]!] = exported[2]!
    return
  }
  const terminal = PseudoTerminal.spawn([...asUser(), 'sh', '-euc', line], environment)
  const type = DIALOGUES.find(([begin]) => line.startsWith(begin))?.[1]
  if (type) await type(terminal, line)
  else if (/^pinbridge rotate(?!.*(?:--yes|--status))/.test(line)) await terminal.answer('Take this step now?', 'y')
  const { code } = await terminal.end()
  expect([block, line, code, code === 0 ? '' : terminal.shown]).toEqual([block, line, 0, ''])
}

/** The lines of a block with this machine's places, each whole. */
function linesOf({ text }: Block): string[] {
  return placed(text)
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')
    .map((line) => line.replace(/ {2,}#.*$/, ''))
    .filter((line) => line !== '')
}

function placed(text: string): string {
  return text
    .replaceAll('/etc/pinbridge', home)
    .replaceAll('/srv/backup', join(root, 'srv/backup'))
    .replaceAll('/opt/hsm/lib/libpkcs11.so', token.members.module)
    .replaceAll('tokenLabel: issuer', `tokenLabel: ${token.members.tokenLabel}`)
}

/** Puts a part of the configuration into it, as a person would with an editor; SoftHSM wants its variable besides. */
function putIntoConfig({ text }: Block): void {
  const part = parse(placed(text))
  if (part.hsm) part.hsm.vaults = 1
  const files: Record<string, string> = { old: 'softhsm2.conf', new: 'softhsm2-new.conf' }
  for (const each of part.hsm?.tokens ?? (part.hsm ? [part.hsm] : [])) {
    each.environment = { SOFTHSM2_CONF: join(root, files[each.name]!) }
  }
  editConfig(join(home, 'pinbridge.yaml'), (config) => Object.assign(config, part))
}

async function startService(): Promise<void> {
  const [command, ...args] = [...asUser(), 'pinbridge', 'serve']
  const child = spawn(command, args, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] })
  service = child
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('{"event":"ready"')) resolve()
    })
    child.once('exit', (code) => reject(new Error(`the service ended with ${code}:\n${output}`)))
  })
}

async function stopService(): Promise<void> {
  const child = service
  service = undefined
  if (child === undefined || child.exitCode !== null) return
  const ended = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  await ended
}

/** Translates a PIN block from a version of the zone key, the active one unless told, to the active one. */
async function translate(version?: 1): Promise<number> {
  const connect = {
    ca: readFileSync(join(root, 'ca/ca.pem')),
    cert: readFileSync(join(root, 'ca/client.pem')),
    key: readFileSync(join(root, 'ca/client-key.pem')),
    servername: 'pinbridge.bank.example',
  }
  const dispatcher = new Agent({ connect })
  try {
    const { statusCode, body } = await request(`https://127.0.0.1:${apiPort}/v1/pin-blocks/translate`, {
      dispatcher,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        pinBlock: blockUnder(COMPONENTS[0]),
        from: { key: 'zpk', format: 'ISO-0', ...(version && { version }) },
        to: { key: 'zpk', format: 'ISO-0' },
        card: { pan: PAN },
      }),
    })
    await body.dump()
    return statusCode
  } finally {
    await dispatcher.close()
  }
}

async function ready(): Promise<any> {
  const { body } = await request(`http://127.0.0.1:${managementPort}/readyz`)
  return await body.json()
}

/** The PIN block of PIN 1234 (ISO 9564-1 format 0) under the key of two components, each byte of which has odd parity. */
function blockUnder([a, b]: readonly [string, string]): string {
  const key = Buffer.from(a, 'hex').map((byte, i) => withOddParity(byte ^ Buffer.from(b, 'hex')[i]!))
  const cipher = createCipheriv('des-ede-ecb', key, null).setAutoPadding(false)
  return cipher.update('041234FEDCBA9876', 'hex', 'hex').toUpperCase()
}

function withOddParity(byte: number): number {
  const ones = (byte >> 1).toString(2).replaceAll('0', '').length
  return (byte & 0xfe) | (ones % 2 === 0 ? 1 : 0)
}

function statesOf(id: string): Record<string, string> {
  const { keys } = parse(readFileSync(join(home, 'pinbridge.yaml'), 'utf8'))
  const versions = keys.filter((key: any) => key.id === id)
  return Object.fromEntries(versions.map(({ version, state }: any) => [version, state]))
}

function withSoftHsm(work: () => void): void {
  process.env['SOFTHSM2_CONF'] = join(root, 'softhsm2.conf')
  work()
  delete process.env['SOFTHSM2_CONF']
}

function asUser(): string[] {
  return user === undefined ? [] : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups']
}

function give(path: string): void {
  giveToUnprivileged(path)
}

function openssl(line: string): void {
  execFileSync('openssl', line.split(' '), { cwd: join(root, 'ca'), stdio: 'pipe' })
}

function certify(name: string, dnsName: string): void {
  const request = `req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${name}-key.pem -out ${name}.csr -subj /CN=${name}`
  openssl(`${request} -addext subjectAltName=DNS:${dnsName} -addext extendedKeyUsage=clientAuth`)
  openssl(`x509 -req -in ${name}.csr -CA ca.pem -CAkey ca-key.pem -days 300 -copy_extensions copy -out ${name}.pem`)
}
