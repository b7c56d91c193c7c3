/** `pinbridge keys` on a real token: what it makes, shows, gives out and destroys, and what it leaves alone when something is wrong. */
import { execFileSync } from 'node:child_process'
import { createCipheriv, createHash, createPublicKey } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, copyFileSync, cpSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { calculateJwkThumbprint } from 'jose'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { loadConfig } from '../../../src/config/config.ts'
import { openToken, type Token } from '../../../src/hsm/pkcs11/module.ts'
import { unwrapExportableKey } from '../../../src/hsm/pkcs11/unwrap-key.ts'
import { SecretScope } from '../../../src/secret.ts'
import { PseudoTerminal } from '../../support/pseudo-terminal.ts'
import { editConfig, giveToUnprivileged, makeSetUp, pinbridge, temporaryFolder } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'

const CKR_DEVICE_MEMORY = 0x31

const folder = temporaryFolder()
let shim: Shim
let setUp: DevelopmentSetUp

beforeAll(async () => {
  shim = new Shim(folder.path)
  setUp = await makeSetUp(folder.path, (config) => shim.insert(config.hsm))
})
beforeEach(() => shim.clear())
afterAll(() => {
  shim.close()
  folder.dispose()
})

const keys = (name: string, ...args: string[]) => pinbridge(['keys', name, ...args, '--config', setUp.config])
const generate = (...args: string[]) => keys('generate', ...args)
const inventory = async (config = setUp.config) =>
  JSON.parse((await pinbridge(['keys', 'list', '--json', '--config', config])).stdout)
const entries = () => parse(readFileSync(setUp.config, 'utf8')).keys as any[]
const entryOf = (id: string, version = 1) => entries().find((key) => key.id === id && key.version === version)
const shown = async (name: string) => {
  const { code, stdout } = await keys('show', name, '--json')
  const { tokens } = JSON.parse(stdout)
  return { code, problems: tokens[0].problems, objects: tokens[0].objects }
}
const trueFlags = ({ flags }: any) => Object.keys(flags).filter((name) => flags[name])
const BASE = ['CKA_TOKEN', 'CKA_PRIVATE', 'CKA_SENSITIVE']
const MADE_HERE = [...BASE, 'CKA_LOCAL', 'CKA_ALWAYS_SENSITIVE', 'CKA_NEVER_EXTRACTABLE']

/** Looks into the token from this process. */
function inToken<T>(work: (token: Token) => T): T {
  const { tokens } = loadConfig(setUp.config).hsm
  const [address] = tokens
  Object.assign(process.env, address!.environment)
  const token = openToken(address!, readFileSync(address!.pinFile, 'utf8').trim())
  try {
    return work(token)
  } finally {
    token.close()
  }
}

/** Puts an object into the token that no command made. */
const createSecret = (id: string, label: string) =>
  inToken(({ lib, anchor }) =>
    lib.C_GenerateKey(anchor.handle, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
      { type: pkcs11.CKA_TOKEN, value: true },
      { type: pkcs11.CKA_LABEL, value: label },
      { type: pkcs11.CKA_ID, value: Buffer.from(id) },
      { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    ]),
  )

/** What a service's management listener answers that has taken over this text of the configuration, and refuses every other. */
async function serviceRunningWith(text: string) {
  const sha = (of: string) => createHash('sha256').update(of).digest('hex')
  const server = createServer((_, response) => {
    const configuration = { inUse: sha(text), refused: sha(readFileSync(setUp.config, 'utf8')), renewing: 0 }
    response.end(JSON.stringify({ ready: true, configuration }))
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return { port: ['--management-port', String(port)], [Symbol.dispose]: () => server.close() }
}

/** A configuration beside the first, with a copy of the token to itself. */
function copyOf(name: string, edit: (config: any) => void = () => undefined): string {
  const at = (file: string) => join(folder.path, 'dev', `${name}${file}`)
  cpSync(join(folder.path, 'dev', 'token'), at('-token'), { recursive: true })
  writeFileSync(at('.conf'), `directories.tokendir = ${at('-token')}\nobjectstore.backend = file\n`)
  copyFileSync(join(folder.path, 'dev', 'hsm-pin'), at('-pin'))
  copyFileSync(setUp.config, at('.yaml'))
  chmodSync(at('.yaml'), 0o600)
  editConfig(at('.yaml'), (config) => {
    config.hsm.environment.SOFTHSM2_CONF = at('.conf')
    config.hsm.pinFile = at('-pin')
    edit(config)
  })
  return at('.yaml')
}

describe('pinbridge keys generate', () => {
  it.each([
    [
      'a PRW key of TDEA',
      'prw --use generate,verify --profile seccos-3des --algorithm TDEA-128',
      ['CKA_SIGN', 'CKA_VERIFY'],
    ],
    ['a JWE key', 'jwe-decrypt --algorithm EC-P256 --d1-profile d1', ['CKA_DERIVE']],
  ])('makes %s that can do its one thing, never leaves, and is proven', async (_name, options, uses) => {
    const id = options.split(' ').slice(0, 1).concat(String(uses.length), options.slice(-3)).join('-').replace(' ', '')
    const { code, stdout } = await generate('--id', id, '--json', '--purpose', ...options.split(' '))
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual(entryOf(id))
    expect(entryOf(id)).toMatchObject({ version: 1, state: 'active', origin: 'generated' })
    const { code: found, problems, objects } = await shown(id)
    expect([found, problems]).toEqual([0, []])
    const own = objects.filter(({ kind }: any) => kind !== 'public')
    expect(own.map(trueFlags).map((flags: string[]) => flags.sort())).toEqual([[...MADE_HERE, ...uses].sort()])
  })

  it.each(['in', 'both'])('makes an exportable key (%s), sensitive, with the KCV of its value', async (direction) => {
    const options = ['--purpose', 'zone-pin', '--direction', direction, '--formats', 'ISO-0', '--algorithm', 'TDEA-128']
    expect((await generate('--id', `given-${direction}`, '--exportable', ...options)).code).toBe(0)
    const entry = entryOf(`given-${direction}`)
    const { problems, objects } = await shown(`given-${direction}`)
    expect(problems).toEqual([])
    expect(objects.map(trueFlags)[0]).toEqual(expect.arrayContaining([...BASE, 'CKA_EXTRACTABLE', 'CKA_DECRYPT']))
    expect(objects[0].flags).toMatchObject({ CKA_ENCRYPT: direction === 'both', CKA_NEVER_EXTRACTABLE: false })
    using secrets = new SecretScope()
    const value = inToken((token) => unwrapExportableKey({ token }, entry, secrets))
    const zeros = createCipheriv('des-ede', value, null).setAutoPadding(false).update(Buffer.alloc(8))
    expect(zeros.toString('hex', 0, 3).toUpperCase()).toBe(entry.kcv)
  })

  it('makes the next version of a key as pending, and only one', async () => {
    const { code, stdout, stderr } = await generate('--new-version-of', 'prw-aes', '--expires', '2031-12-31')
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^prw-aes@2 prw AES-128 KCV [0-9A-F]{10} pending\n$/)])
    expect(stderr).toContain('"pinbridge rotate prw-aes"')
    const [first, second] = [entryOf('prw-aes'), entryOf('prw-aes', 2)]
    const own = { version: 2, state: 'pending', origin: 'generated', expires: '2031-12-31' }
    const { kcv, check, created } = second
    expect(second).toEqual({ ...first, ...own, kcv, check, created })
    expect((await shown('prw-aes@2')).problems).toEqual([])
    const again = await generate('--new-version-of', 'prw-aes')
    expect([again.code, again.stderr]).toEqual([73, expect.stringContaining('has a pending version 2 already')])
  })

  it('gives a new version of a JWE key a kid of its own', async () => {
    expect((await generate('--new-version-of', 'jwe-ec')).code).toBe(0)
    expect([entryOf('jwe-ec').kid, entryOf('jwe-ec', 2).kid]).toEqual(['jwe-ec', undefined])
  })

  it('prints the entry instead of writing it, if told to', async () => {
    const before = readFileSync(setUp.config, 'utf8')
    const { code, stdout } = await generate(
      '--id',
      'elsewhere',
      '--print-entry',
      '--purpose',
      'audit-mac',
      '--algorithm',
      'AES-256',
    )
    expect(code).toBe(0)
    expect(parse(stdout)).toEqual([
      expect.objectContaining({ id: 'elsewhere', purpose: 'audit-mac', origin: 'generated' }),
    ])
    expect(readFileSync(setUp.config, 'utf8')).toBe(before)
  })

  it.each([
    ['a retail MAC key', '--new-version-of pin-mac', 'several objects of one value, and no token generates that'],
    ['a key that is of use to nobody', '--new-version-of zpk-in', 'or say --exportable'],
  ])('refuses %s in plain words, and changes nothing', async (_name, options, sentence) => {
    const before = readFileSync(setUp.config, 'utf8')
    const { code, stdout, stderr } = await generate(...options.split(' '))
    expect([code, stdout]).toEqual([64, ''])
    expect(stderr).toContain(sentence)
    expect(readFileSync(setUp.config, 'utf8')).toBe(before)
  })
})

describe('pinbridge keys that goes wrong leaves token and configuration as they were', () => {
  const MAC_KEY = '--id spoilt --purpose prw --use generate,verify --profile seccos-3des --algorithm TDEA-128'.split(
    ' ',
  )
  const nothingOf = async (id: string, before: string) => {
    shim.clear()
    const { keys: listed, unknown } = await inventory()
    expect(listed.filter((key: any) => key.id === id)).toEqual([])
    expect(unknown.filter(({ label }: any) => label.includes(id))).toEqual([])
    expect(readFileSync(setUp.config, 'utf8')).toBe(before)
  }

  it.each(['C_CopyObject', 'C_GenerateKeyPair'] as const)('when the token is full at %s', async (name) => {
    const before = readFileSync(setUp.config, 'utf8')
    shim.inject({ function: name, kind: 'return', value: CKR_DEVICE_MEMORY })
    const options =
      name === 'C_CopyObject' ? MAC_KEY : '--id spoilt --purpose transcript-sign --algorithm EC-P256'.split(' ')
    const { code, stderr } = await generate(...options)
    expect([code, stderr]).toEqual([69, expect.stringContaining('the token is full (CKR_DEVICE_MEMORY)')])
    await nothingOf('spoilt', before)
  })

  it('at Ctrl-C', async () => {
    const before = readFileSync(setUp.config, 'utf8')
    const calls = shim.calls('C_CopyObject')
    const delay = shim.inject({ function: 'C_CopyObject', kind: 'delay', value: 1_000_000 })
    const terminal = PseudoTerminal.pinbridge(['keys', 'generate', ...MAC_KEY, '--config', setUp.config])
    const ended = terminal.end().then(() => true)
    while (shim.calls('C_CopyObject') === calls) {
      if (await Promise.race([ended, sleep(10, false)])) throw new Error(terminal.shown)
    }
    process.kill(await terminal.pid(), 'SIGINT')
    expect((await terminal.end()).code).toBe(130)
    expect([terminal.shown, delay.hits()]).toEqual([expect.stringContaining('stopped; the token is as it was'), 1])
    await nothingOf('spoilt', before)
  })

  it('when the token has an object of that name already', async () => {
    const config = copyOf('taken')
    editConfig(config, (each) => (each.keys = each.keys.filter(({ id }: any) => id !== 'limit-hash')))
    const options = ['--id', 'limit-hash', '--purpose', 'limit-hash', '--algorithm', 'AES-256']
    const { code, stderr } = await pinbridge(['keys', 'generate', '--config', config, ...options])
    expect([code, stderr]).toEqual([73, expect.stringContaining('holds a key limit-hash version 1 already')])
    const { unknown } = await inventory(config)
    expect(unknown.filter(({ id }: any) => id === 'limit-hash.v1')).toHaveLength(1)
  })

  it('when the PIN is wrong, which is tried once', async () => {
    const config = copyOf('wrong-pin')
    writeFileSync(config.replace('.yaml', '-pin'), '999999999999')
    const before = shim.calls('C_Login')
    const first = await pinbridge(['keys', 'list', '--config', config])
    const second = await pinbridge(['keys', 'list', '--config', config])
    expect([first.code, first.stderr]).toEqual([69, expect.stringContaining('the token refused the PIN')])
    expect([second.code, second.stderr]).toEqual([
      69,
      expect.stringContaining('it is not tried again until the file changes'),
    ])
    expect(shim.calls('C_Login')).toBe(before + 1)
  })
})

describe('pinbridge keys list and show', () => {
  it('says of each key whether the token has it, and what else the token has', async () => {
    const config = copyOf('other', ({ keys: list }) => {
      list.splice(
        list.findIndex(({ id }: any) => id === 'zpk-out'),
        1,
      )
      list.find(({ id }: any) => id === 'zpk-in').version = 3
    })
    editConfig(config, (each) => {
      for (const client of each.clients) {
        for (const grant of client.grants) grant.keys = grant.keys?.filter((id: string) => id !== 'zpk-out')
      }
    })
    const { code, stdout } = await pinbridge(['keys', 'list', '--config', config])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^zpk-in@3 +active +zone-pin +in +TDEA-128 +[0-9A-F]{6} +- +- +missing$/m)
    expect(stdout).toMatch(/^zpk-aes@1 .* yes$/m)
    expect(stdout).toContain('dev:zone-pin:zpk-out:v1 (secret key, CKA_ID zpk-out.v1) in pinbridge-dev')
    const { keys: listed } = await inventory(config)
    expect(listed.find(({ id }: any) => id === 'zpk-in').tokens).toEqual({ 'pinbridge-dev': 'missing' })
    const { code: missing, stdout: text } = await pinbridge(['keys', 'show', 'zpk-in', '--config', config])
    expect([missing, text]).toEqual([69, expect.stringContaining('WRONG: key zpk-in: 0 objects carry its CKA_ID')])
  })

  it('names two objects with one label, and two of one key', async () => {
    for (const id of ['zpk-aes.v1', 'stray']) createSecret(id, 'dev:zone-pin:zpk-aes:v1')
    const { stdout } = await keys('list')
    expect(stdout).toMatch(/^zpk-aes@1 .* 2 objects$/m)
    expect(stdout).toContain('dev:zone-pin:zpk-aes:v1: 3 objects in pinbridge-dev')
    expect((await shown('zpk-aes')).problems).toEqual(['key zpk-aes: 2 objects carry its CKA_ID, one is needed'])
  })

  it('shows that the key in the token is another one than the configuration says', async () => {
    const config = copyOf('mismatch', ({ keys: list }) => {
      list.find(({ id }: any) => id === 'prw').check = '0011223344556677'
      list.find(({ id }: any) => id === 'zpk-out').kcv = '001122'
    })
    for (const id of ['prw', 'zpk-out']) {
      const { code, stdout } = await pinbridge(['keys', 'show', id, '--config', config])
      expect([code, stdout]).toEqual([69, expect.stringContaining('WRONG: key ' + id)])
    }
  })

  it.each([
    ['keys'],
    ['keys', 'list', '--all'],
    ['keys', 'show'],
    ['keys', 'import', '--bogus'],
    ['rotate', '--bogus', 'x'],
  ])('ends wrong usage with 64: %s %s %s', async (...args) => {
    expect((await pinbridge(args)).code).toBe(64)
  })

  it('names the keys there are, where a name means none', async () => {
    const unknown = await keys('show', 'zpkin')
    expect([unknown.code, unknown.stderr]).toEqual([
      64,
      expect.stringContaining('no key zpkin; it has jwe-ec, jwe-rsa'),
    ])
    const version = await keys('show', 'zpk-in@9')
    expect([version.code, version.stderr]).toEqual([64, expect.stringContaining('There is zpk-in@1 (active)')])
  })
})

describe('pinbridge keys public', () => {
  it('writes the JWK with its kid, whose thumbprint it says apart', async () => {
    const { code, stdout, stderr } = await keys('public', 'jwe-ec@2')
    const jwk = JSON.parse(stdout)
    const thumbprint = await calculateJwkThumbprint(jwk)
    expect([code, jwk.kid, jwk.use, jwk.alg, jwk.d]).toEqual([0, thumbprint, 'enc', 'ECDH-ES', undefined])
    expect(stderr).toContain(`jwe-ec@2 thumbprint (RFC 7638, SHA-256): ${thumbprint}\n`)
    expect(jwk.kid.startsWith(Buffer.from(entryOf('jwe-ec', 2).kcv, 'hex').toString('base64url').slice(0, 6))).toBe(
      true,
    )
  })

  it('writes the same key as PEM, and the set of what is served', async () => {
    const jwk = JSON.parse((await keys('public', 'jwe-rsa')).stdout)
    const { stdout: pem } = await keys('public', 'jwe-rsa', '--format', 'pem')
    expect(createPublicKey(pem).export({ format: 'jwk' })).toEqual({ kty: 'RSA', n: jwk.n, e: jwk.e })
    const set = JSON.parse((await keys('public', '--format', 'jwks')).stdout)
    const kids = set.keys.map(({ kid }: any) => kid)
    // The pending one is for nobody yet.
    expect([kids.slice(0, 2), kids.length]).toEqual([['jwe-ec', 'jwe-rsa'], 3])
    expect(set.keys[1]).toEqual(jwk)
  })

  it('says that a symmetric key has none', async () => {
    const { code, stdout, stderr } = await keys('public', 'prw')
    expect([code, stdout, stderr]).toEqual([64, '', expect.stringContaining('prw@1 is symmetric')])
  })
})

describe('pinbridge keys retire and destroy', () => {
  const typed = async (command: string, name: string, answer: string, config = setUp.config) => {
    const terminal = PseudoTerminal.pinbridge(['keys', command, name, '--config', config])
    await terminal.answer(`Type ${name} to go on`, answer)
    const { code } = await terminal.end()
    return { code, shown: terminal.shown }
  }

  it.each([
    ['zpk-out', ['the client cms-adapter may use it']],
    ['audit-mac', ['it seals the audit record (audit.key)']],
    ['jwe-rsa', ['it is the only active jwe-decrypt key of RSA-OAEP-256']],
  ])('refuses to retire %s, which is in use', async (id, uses) => {
    const { code, stderr } = await keys('retire', `${id}@1`)
    expect(code).toBe(77)
    for (const use of uses) expect(stderr).toContain(use)
    expect(stderr).toContain(`pinbridge rotate ${id}`)
    expect(entryOf(id).state).toBe('active')
  })

  it('refuses to destroy a key that is not retired', async () => {
    const { code, stderr } = await keys('destroy', 'zpk-out@1')
    expect([code, stderr]).toEqual([
      77,
      expect.stringContaining('zpk-out@1 is active, and only a retired or a pending key'),
    ])
    expect((await keys('destroy', 'zpk-out')).stderr).toContain('say which version')
  })

  it('retires and destroys a key once its name is typed, all of it and nothing else', async () => {
    const before = await inventory()
    expect(await typed('retire', 'given-in@1', 'given-in')).toMatchObject({
      code: 64,
      shown: expect.stringContaining('given-in@1 was not typed: nothing was changed'),
    })
    expect(entryOf('given-in').state).toBe('active')
    const { kcv } = entryOf('given-in')
    expect((await typed('retire', 'given-in@1', 'given-in@1')).shown).toContain(`given-in@1 KCV ${kcv} is retired`)
    expect(entryOf('given-in').state).toBe('retired')
    expect((await typed('destroy', 'given-in@1', 'no')).code).toBe(64)
    expect((await shown('given-in')).objects).toHaveLength(1)
    const { code, shown: said } = await typed('destroy', 'given-in@1', 'given-in@1')
    expect([code, said]).toEqual([
      0,
      expect.stringContaining(`given-in@1 KCV ${kcv} is destroyed: 1 object in pinbridge-dev`),
    ])
    const without = (all: any) => ({ ...all, keys: all.keys.filter(({ id }: any) => id !== 'given-in') })
    expect(await inventory()).toEqual(without(before))
  })

  it('takes back what the running service refuses: a retirement, and a version that rotate has just made', async () => {
    const [before, held] = [readFileSync(setUp.config, 'utf8'), await inventory()]
    using service = await serviceRunningWith(before)
    const terminal = PseudoTerminal.pinbridge([
      'keys',
      'retire',
      'given-both@1',
      '--config',
      setUp.config,
      ...service.port,
    ])
    await terminal.answer('Type given-both@1 to go on', 'given-both@1')
    expect([(await terminal.end()).code, terminal.shown]).toEqual([69, expect.stringContaining('was taken back')])
    const rotate = ['rotate', 'audit-mac', '--step', 'new', '--yes', '--config', setUp.config, ...service.port]
    const { code, stderr } = await pinbridge(rotate)
    expect([code, stderr]).toEqual([69, expect.stringContaining('was taken back')])
    expect([readFileSync(setUp.config, 'utf8'), await inventory()]).toEqual([before, held])
  })

  it('destroys no key, known or not, that a running service may still use by an earlier configuration', async () => {
    using service = await serviceRunningWith('another configuration')
    const { code, stderr } = await keys('destroy', 'elsewhere@1', ...service.port)
    expect([code, stderr]).toEqual([77, expect.stringContaining('It may still use the key')])
    expect((await inventory()).unknown.map(({ id }: any) => id)).toContain('elsewhere.v1')
  })

  it('destroys a pending key, both halves, and one that only the token knows', async () => {
    // Another application's object, which happens to have the same CKA_ID.
    createSecret('elsewhere.v1', 'another application')
    expect((await typed('destroy', 'jwe-ec@2', 'jwe-ec@2')).shown).toContain('is destroyed: 2 objects in pinbridge-dev')
    expect([entryOf('jwe-ec', 2), entryOf('jwe-ec').state]).toEqual([undefined, 'active'])
    const { code, shown: said } = await typed('destroy', 'elsewhere@1', 'elsewhere@1')
    expect([code, said]).toEqual([
      0,
      expect.stringContaining('this configuration does not know it, and another one may'),
    ])
    expect((await inventory()).unknown.map(({ id }: any) => id)).toEqual(['stray'])
    expect(inToken(({ anchor }) => anchor.find({ label: 'another application' }).length)).toBe(1)
    expect((await keys('destroy', 'elsewhere@1')).stderr).toContain('neither the configuration nor a token has a key')
  })

  it('says so when the token does not destroy, and keeps the entry', async () => {
    const name = 'given-both@1'
    expect((await typed('retire', name, name)).code).toBe(0)
    shim.inject({ function: 'C_DestroyObject', kind: 'return', value: 0xe2 })
    const { code, shown: said } = await typed('destroy', name, name)
    expect([code, said]).toEqual([
      69,
      expect.stringContaining('has not destroyed given-both@1 (CKR_TOKEN_WRITE_PROTECTED)'),
    ])
    expect(entryOf('given-both').state).toBe('retired')
  })
})

describe('pinbridge keys without the right to write', () => {
  it('refuses before it touches the token, and says of a token that cannot be written what it says', async () => {
    const site = temporaryFolder()
    try {
      cpSync(join(folder.path, 'dev'), join(site.path, 'dev'), { recursive: true })
      const config = join(site.path, 'dev', 'pinbridge.yaml')
      writeFileSync(
        join(site.path, 'dev', 'softhsm2.conf'),
        `directories.tokendir = ${join(site.path, 'dev', 'token')}\nobjectstore.backend = file\n`,
      )
      editConfig(config, (each) => {
        each.hsm.environment = { SOFTHSM2_CONF: join(site.path, 'dev', 'softhsm2.conf') }
        each.hsm.pinFile = join(site.path, 'dev', 'hsm-pin')
        each.hsm.module = loadConfig(setUp.config).hsm.tokens[0]!.environment['SHIM_MODULE']
      })
      chmodSync(site.path, 0o755)
      const uid = giveToUnprivileged(site.path)
      const args = [
        'keys',
        'generate',
        '--config',
        config,
        '--id',
        'x',
        '--purpose',
        'audit-mac',
        '--algorithm',
        'AES-256',
      ]
      chmodSync(config, 0o400)
      const readOnlyFile = await pinbridge(args, {}, uid)
      expect([readOnlyFile.code, readOnlyFile.stderr]).toEqual([
        77,
        expect.stringContaining('this user may not write it'),
      ])
      chmodSync(config, 0o600)
      const tokenFolder = join(site.path, 'dev', 'token')
      execFileSync('chmod', ['-R', 'a-w', tokenFolder])
      const text = readFileSync(config, 'utf8')
      const readOnlyToken = await pinbridge(args, {}, uid)
      expect(readOnlyToken.code).toBe(69)
      expect(readOnlyToken.stderr).toMatch(/read-only|could not be opened|write-protected/)
      expect(readFileSync(config, 'utf8')).toBe(text)
      execFileSync('chmod', ['-R', 'u+w', tokenFolder])
      expect((await pinbridge(['keys', 'list', '--json', '--config', config], {}, uid)).stdout).not.toContain('"x.v1"')
    } finally {
      site.dispose()
    }
  })

  it('keeps the owner and the mode of the configuration', () => {
    expect(statSync(setUp.config).mode & 0o777).toBe(0o600)
    expect(existsSync(join(folder.path, 'dev', '.pinbridge.yaml.new'))).toBe(false)
  })
})
