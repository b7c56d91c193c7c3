import { createECDH, createPublicKey, X509Certificate } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { agreed } from '../../support/oracles.ts'
import { pinbridge, temporaryFolder, type CommandResult } from '../../support/service.ts'

const folder = temporaryFolder()
const dir = join(folder.path, 'made')
let made: CommandResult
let setUp: any

beforeAll(async () => {
  made = await pinbridge(['init', '--dev', '--dir', dir, '--json'])
  setUp = JSON.parse(made.stdout)
})
afterAll(() => folder.dispose())

/** Every file and folder below `path`. */
function everything(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    const child = join(path, entry.name)
    return entry.isDirectory() ? [child, ...everything(child)] : [child]
  })
}

describe('pinbridge init --dev --json', () => {
  it('prints one line with one JSON object of the documented form, and nothing on standard error', () => {
    expect([made.code, made.stderr]).toEqual([0, ''])
    expect(made.stdout.endsWith('\n')).toBe(true)
    expect(made.stdout.trimEnd()).not.toContain('\n')
    expect(Object.keys(setUp)).toEqual(['config', 'url', 'management', 'ca', 'clients', 'recipients', 'keys'])
    expect(setUp).toMatchObject({
      config: join(dir, 'pinbridge.yaml'),
      url: 'https://127.0.0.1:8443',
      management: 'http://127.0.0.1:9443',
    })
    expect(setUp.clients.map(({ id }: any) => id)).toEqual(['cms-adapter', 'auditor'])
    for (const client of setUp.clients) expect(Object.keys(client)).toEqual(['id', 'cert', 'key'])
    for (const path of [setUp.ca, ...setUp.clients.flatMap(({ cert, key }: any) => [cert, key])]) {
      expect(isAbsolute(path) && path.startsWith(`${dir}/`) && path.endsWith('.pem')).toBe(true)
    }
  })

  it('makes the documented keys, and gives values of symmetric ones only', () => {
    const described = setUp.keys.map(({ id, purpose, algorithm, kcv, value, ...more }: any) => {
      expect(more).toEqual({})
      expect(kcv).toMatch(/^(?:[0-9A-F]{6}|[0-9A-F]{10})$/)
      return `${id} ${purpose} ${algorithm} ${value === undefined ? 'no value' : value.length / 2}`
    })
    expect(described).toEqual([
      'jwe-ec jwe-decrypt EC-P256 no value',
      'jwe-rsa jwe-decrypt RSA-2048 no value',
      'zpk-in zone-pin TDEA-128 16',
      'zpk-out zone-pin TDEA-128 16',
      'zpk-aes zone-pin AES-256 32',
      'seccos-pin seccos-pin TDEA-128 16',
      'prw prw TDEA-128 16',
      'pin-mac pin-mac TDEA-128 16',
      'prw-aes prw AES-128 16',
      'pin-mac-aes pin-mac AES-128 16',
      'assertion assertion-sign EC-P256 no value',
      'jwe-open jwe-open EC-P256 no value',
      'audit-mac audit-mac AES-256 32',
      'limit-hash limit-hash AES-256 32',
    ])
  })

  it('gives the KCVs that two oracles compute from the values: TDEA of zeros, AES by CMAC', () => {
    for (const { id, algorithm, kcv, value } of setUp.keys) {
      if (value === undefined) continue
      const expected = algorithm.startsWith('TDEA')
        ? agreed((oracle) => oracle.ecb('TDEA', value, '0'.repeat(16))).slice(0, 6)
        : agreed((oracle) => oracle.cmac('AES', value, '0'.repeat(32))).slice(0, 10)
      expect([id, kcv]).toEqual([id, expected.toUpperCase()])
      if (!algorithm.startsWith('TDEA')) continue
      for (const byte of Buffer.from(value, 'hex')) expect(byte.toString(2).replaceAll('0', '').length % 2).toBe(1)
      expect(value.slice(0, 16)).not.toBe(value.slice(16))
    }
  })

  it('gives each recipient a P-256 key of its own whose public half stands in the configuration', () => {
    expect(setUp.recipients.map(({ kid }: any) => kid)).toEqual(['d1-dev', 'd1-data-dev'])
    const configured = parse(readFileSync(setUp.config, 'utf8')).d1.recipients
    for (const [i, { privateJwk }] of setUp.recipients.entries()) {
      const { kty, crv, x, y, d } = privateJwk
      expect([kty, crv]).toEqual(['EC', 'P-256'])
      const ecdh = createECDH('prime256v1')
      ecdh.setPrivateKey(Buffer.from(d, 'base64url'))
      expect(ecdh.getPublicKey('hex')).toBe(
        `04${Buffer.from(x, 'base64url').toString('hex')}${Buffer.from(y, 'base64url').toString('hex')}`,
      )
      expect(configured[i].publicKey).toEqual({ kty, crv, x, y })
    }
    expect(setUp.recipients[0].privateJwk.d).not.toBe(setUp.recipients[1].privateJwk.d)
    expect(configured.map(({ use, profile }: any) => [use, profile])).toEqual([
      [undefined, 'd1'],
      ['data', undefined],
    ])
  })

  it('makes folders 0700 and files 0600, whatever the umask, and keeps no value and no CA key in them', async () => {
    const open = join(folder.path, 'umask')
    const before = process.umask(0)
    try {
      expect((await pinbridge(['init', '--dev', '--dir', open])).code).toBe(0)
    } finally {
      process.umask(before)
    }
    for (const root of [dir, open]) {
      for (const path of [root, ...everything(root)]) {
        const stats = statSync(path)
        expect([path, (stats.mode & 0o777).toString(8)]).toEqual([path, stats.isDirectory() ? '700' : '600'])
      }
    }
    const secrets = setUp.keys.flatMap(({ value }: any) => value ?? []).concat(setUp.recipients[0].privateJwk.d)
    for (const path of everything(dir)) {
      if (statSync(path).isDirectory()) continue
      const bytes = readFileSync(path)
      for (const secret of secrets) {
        expect(bytes.includes(Buffer.from(secret, 'hex')) && secret.length > 43).toBe(false)
        expect(bytes.toString('latin1').toUpperCase().includes(secret.toUpperCase())).toBe(false)
      }
    }
    const ca = new X509Certificate(readFileSync(setUp.ca))
    for (const path of everything(dir).filter((name) => name.endsWith('-key.pem'))) {
      const own = createPublicKey(readFileSync(path)).export({ format: 'der', type: 'spki' })
      expect(own.equals(ca.publicKey.export({ format: 'der', type: 'spki' }))).toBe(false)
    }
  })

  it('says without --json what was made, and no value', async () => {
    const { code, stdout, stderr } = await pinbridge(['init', '--dev', '--dir', join(folder.path, 'plain')])
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain('pinbridge serve --config')
    expect(stdout).toContain('zpk-in')
    expect(stdout).not.toMatch(/[0-9A-Fa-f]{12}/)
  })

  it('makes other keys, PINs, certificates and recipients each time', async () => {
    const again = join(folder.path, 'again')
    const other = JSON.parse((await pinbridge(['init', '--dev', '--dir', again, '--json'])).stdout)
    for (const [i, { value, kcv }] of setUp.keys.entries()) {
      expect(other.keys[i].kcv).not.toBe(kcv)
      if (value !== undefined) expect(other.keys[i].value).not.toBe(value)
    }
    expect(other.recipients[0].privateJwk.d).not.toBe(setUp.recipients[0].privateJwk.d)
    for (const name of ['hsm-pin', 'ca.pem', 'server-key.pem', 'cms-adapter-key.pem']) {
      expect(readFileSync(join(again, name), 'utf8')).not.toBe(readFileSync(join(dir, name), 'utf8'))
    }
  })

  it('takes an empty folder and closes it to others', async () => {
    const empty = join(folder.path, 'empty')
    mkdirSync(empty, { mode: 0o755 })
    expect((await pinbridge(['init', '--dev', '--dir', empty])).code).toBe(0)
    expect(statSync(empty).mode & 0o777).toBe(0o700)
  })

  it('refuses a folder that holds anything, and leaves it as it is', async () => {
    const used = join(folder.path, 'used')
    mkdirSync(used)
    writeFileSync(join(used, '.mine'), 'mine')
    const { code, stdout, stderr } = await pinbridge(['init', '--dev', '--dir', used, '--json'])
    expect([code, stdout]).toEqual([73, ''])
    expect(stderr).toBe('--dir: this is no folder, or not an empty one\n')
    expect(readdirSync(used)).toEqual(['.mine'])
    const file = await pinbridge(['init', '--dev', '--dir', join(used, '.mine'), '--json'])
    expect([file.code, file.stdout, file.stderr]).toEqual([73, '', stderr])
    const twice = await pinbridge(['init', '--dev', '--dir', dir, '--json'])
    expect([twice.code, twice.stdout]).toEqual([73, ''])
  })

  it.each([
    { NODE_ENV: 'production' },
    { NODE_ENV: 'staging' },
    { PINBRIDGE_ENVIRONMENT: 'production' },
    { NODE_ENV: 'development', PINBRIDGE_ENVIRONMENT: 'production' },
  ])('refuses to make development keys where the environment says %o', async (env) => {
    const refused = join(folder.path, 'refused')
    const { code, stdout, stderr } = await pinbridge(['init', '--dev', '--dir', refused, '--json'], env)
    expect([code, stdout]).toEqual([77, ''])
    expect(stderr).toContain('does not say development')
    expect(() => statSync(refused)).toThrow()
  })

  it('refuses without --dir, with an unknown option, or with a module that is none, and makes nothing', async () => {
    const none = join(folder.path, 'none')
    for (const args of [['--dev'], ['--dev', '--dir', none, '--force'], ['--dev', '--dir', none, 'more']]) {
      const { code, stdout, stderr } = await pinbridge(['init', ...args])
      expect(code).not.toBe(0)
      expect(stdout).toBe('')
      expect(stderr).toMatch(/^error: /)
      expect(() => statSync(none)).toThrow()
    }
    const { code, stdout, stderr } = await pinbridge([
      'init',
      '--dev',
      '--dir',
      none,
      '--module',
      '/etc/hostname',
      '--json',
    ])
    expect([code, stdout]).toEqual([69, ''])
    expect(stderr).toContain('the PKCS#11 module could not be loaded')
    expect(readdirSync(none)).toEqual([])
  })
})
