import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, createPublicKey, X509Certificate } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { calculateJwkThumbprint } from 'jose'
import forge from 'node-forge'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { certsCommand } from '../../../src/cli/certs/certs.ts'
import { csrCommand, issueForCommand, selfSignedCommand } from '../../../src/cli/certs/sign.ts'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { loadConfig } from '../../../src/config/config.ts'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { KeyMaker } from '../../../src/hsm/pkcs11/make-keys.ts'
import { openToken } from '../../../src/hsm/pkcs11/module.ts'
import { publicKeyKcv } from '../../../src/key-block/kcv.ts'
import { editConfig, makeSetUp, pinbridge, temporaryFolder } from '../../support/service.ts'

const DAY_MS = 86_400_000
const NAME = 'CN=pin.bank.example,O=Bank\\, Example,C=DE'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp

const at = (name: string) => join(folder.path, name)
/** An authority's certificate of key `tls`, valid for 30 days. */
const issuer = at('issuer.pem')
const certs = (command: string, ...args: string[]) => pinbridge(['certs', command, ...args, '--config', setUp.config])
const entry = (members: Pick<KeyEntry, 'id' | 'purpose' | 'algorithm'> & Partial<KeyEntry>): KeyEntry => ({
  ...{ version: 1, state: 'active', kcv: '', origin: 'generated' },
  ...members,
})

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  const config = loadConfig(setUp.config)
  const address = config.hsm.tokens[0]!
  Object.assign(process.env, address.environment)
  const token = openToken(address, readFileSync(address.pinFile, 'utf8').trim())
  const keys: KeyEntry[] = []
  try {
    const maker = await KeyMaker.open(token, 'development')
    for (const key of [
      entry({ id: 'tls', purpose: 'tls-sign', algorithm: 'EC-P256' }),
      entry({ id: 'tls', purpose: 'tls-sign', algorithm: 'EC-P256', version: 2, state: 'pending' }),
      entry({ id: 'tls-rsa', purpose: 'tls-sign', algorithm: 'RSA-2048', state: 'pending' }),
      entry({ id: 'transcripts', purpose: 'transcript-sign', algorithm: 'EC-P256' }),
    ]) {
      keys.push({ ...key, kcv: publicKeyKcv(await maker.generateKeyPair(key)) })
    }
  } finally {
    token.close()
  }
  editConfig(setUp.config, (config) => config.keys.push(...keys))
  const authority = await certs('self-signed', 'tls', '--ca', '--subject', NAME, '--days', '30', '--out', issuer)
  const leaf = await certs('self-signed', 'tls', '--subject', NAME, '--days', '40', '--out', at('self.pem'))
  if (authority.code + leaf.code !== 0) throw new Error(authority.stderr + leaf.stderr)
})
afterAll(() => folder.dispose())

/** What OpenSSL says, and whether it is content. */
function openssl(args: readonly string[], input: string): { good: boolean; text: string } {
  const { status, stdout, stderr } = spawnSync('openssl', args, { input, encoding: 'utf8' })
  return { good: status === 0, text: stdout + stderr }
}
const requestOf = (pem: string) =>
  openssl(['req', '-verify', '-noout', '-subject', '-text', '-nameopt', 'RFC2253'], pem)
const extensionsOf = (pem: string) =>
  openssl(['x509', '-noout', '-ext', 'keyUsage,extendedKeyUsage,basicConstraints,subjectAltName'], pem).text
const spkiOf = (key: ReturnType<typeof createPublicKey>) => key.export({ format: 'der', type: 'spki' }).toString('hex')

/** The KCV of a catalogue's key pair by another implementation: the first 5 bytes of the RFC 7638 thumbprint. */
async function kcvOf(key: ReturnType<typeof createPublicKey>): Promise<string> {
  const thumbprint = await calculateJwkThumbprint(key.export({ format: 'jwk' }))
  return Buffer.from(thumbprint, 'base64url').subarray(0, 5).toString('hex').toUpperCase()
}
const configured = (id: string, version = 1) =>
  loadConfig(setUp.config).keys.find((key) => key.id === id && key.version === version)!

/** A PEM text with one bit of its DER changed, counted from the end in bytes. */
function tampered(pem: string, fromEnd: number): string {
  const [, label] = /-----BEGIN ([A-Z ]+)-----/.exec(pem)!
  const der = Buffer.from(pem.replace(/-----[A-Z ]+-----/g, ''), 'base64')
  der[der.length - fromEnd]! ^= 1
  const lines = der.toString('base64').match(/.{1,64}/g)!
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

describe('pinbridge certs csr', () => {
  it.for([
    ['tls', 'tls'],
    ['tls@2', 'tls'],
    ['tls-rsa', 'tls-rsa'],
    ['transcripts', 'transcripts'],
  ])('makes a request of %s that OpenSSL verifies, for its public key and what it is for', async ([name, id]) => {
    const made = await certs('csr', name!, '--subject', NAME, '--dns', 'pin.bank.example', '--dns', '*.bank.example')
    expect(made.code, made.stderr).toBe(0)
    const { good, text } = requestOf(made.stdout)
    expect([good, text]).toEqual([true, expect.stringContaining('self-signature verify OK')])
    expect(text).toContain('subject=C=DE,O=Bank\\, Example,CN=pin.bank.example')
    expect(text).toContain('DNS:pin.bank.example, DNS:*.bank.example')
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature\n/)
    expect(text.includes('TLS Web Client Authentication, TLS Web Server Authentication')).toBe(id !== 'transcripts')
    const publicKey = createPublicKey(openssl(['req', '-noout', '-pubkey'], made.stdout).text)
    expect(await kcvOf(publicKey)).toBe(configured(id!, name!.endsWith('@2') ? 2 : 1).kcv)
    // Each part is covered: a name, the key, the signature itself.
    for (const fromEnd of [1, 40, 200]) {
      const { good, text } = requestOf(tampered(made.stdout, fromEnd))
      expect([fromEnd, good && text.includes('verify OK')]).toEqual([fromEnd, false])
    }
  })

  it('makes requests of RSA that node-forge verifies too', async () => {
    const { stdout } = await certs('csr', 'tls-rsa', '--subject', NAME, '--tls', 'client')
    expect(forge.pki.certificationRequestFromPem(stdout).verify()).toBe(true)
    expect(requestOf(stdout).text).not.toContain('TLS Web Server')
    expect(() => forge.pki.certificationRequestFromPem(tampered(stdout, 1)).verify()).toThrow()
  })

  it('writes a file that is not there, and says as JSON what it is of', async () => {
    const file = at('tls.csr')
    const made = await certs('csr', 'tls', '--subject', NAME, '--out', file, '--json')
    expect(made.code).toBe(0)
    const { id, version, kcv } = configured('tls')
    expect(JSON.parse(made.stdout)).toEqual({
      key: { id, version, kcv },
      publicKeyThumbprint: expect.stringMatching(/^[\w-]{43}$/),
      file,
    })
    const bytes = readFileSync(file, 'utf8')
    expect(requestOf(bytes).good).toBe(true)
    const again = await certs('csr', 'tls', '--subject', NAME, '--out', file)
    expect([again.code, again.stderr, readFileSync(file, 'utf8')]).toEqual([
      73,
      `${file} is there already, and is not overwritten\n`,
      bytes,
    ])
  })

  it('says what is wrong with a key and exits with its code', async () => {
    const made = await certs('csr', 'jwe-ec', '--subject', NAME, '--out', at('refused.csr'))
    expect([made.code, made.stdout, made.stderr]).toEqual([77, '', expect.stringContaining('one key, one purpose')])
    expect(existsSync(at('refused.csr'))).toBe(false)
    expect((await certs('csr', 'tls')).code).toBe(64)
  })

  it.for([
    ['zpk-out', NAME, 77, 'one secret value and no key pair'],
    ['nobody\u001b', NAME, 64, 'the configuration has no key nobody?'],
    ['tls@9', NAME, 64, 'there is tls@1 (active), tls@2 (pending)'],
    ['tls', 'O=Bank', 64, 'it needs a common name'],
    ['tls', 'CN=a,X=b', 64, 'each part is one of CN, O, OU, L, ST, C'],
    ['tls', 'CN=a,C=Deutschland', 64, 'two capital letters'],
    ['tls', `CN=${'a'.repeat(65)}`, 64, 'at most 64 characters'],
    ['tls', 'CN=', 64, 'CN needs a value'],
  ] as const)('refuses %s with the name %s', async ([key, subject, exitCode, sentence]) => {
    const made = csrCommand(key, { config: setUp.config, subject, dns: [], tls: 'both' })
    await expect(made).rejects.toMatchObject({ exitCode, message: expect.stringContaining(sentence) })
  })
})

describe('pinbridge certs self-signed', () => {
  it('makes a certificate that node and OpenSSL verify, for the days it was told', async () => {
    const before = Math.floor(Date.now() / 1000) * 1000
    const made = await certs(
      'self-signed',
      'tls',
      '--subject',
      NAME,
      '--dns',
      'pin.bank.example',
      '--days',
      '40',
      '--json',
    )
    expect(made.code, made.stderr).toBe(0)
    const facts = JSON.parse(made.stdout)
    const certificate = new X509Certificate(facts.pem)
    expect(certificate.verify(certificate.publicKey)).toBe(true)
    expect(await kcvOf(certificate.publicKey)).toBe(configured('tls').kcv)
    expect([certificate.ca, certificate.issuer]).toEqual([false, certificate.subject])
    expect(certificate.checkHost('pin.bank.example')).toBe('pin.bank.example')
    const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime()]
    expect(to - from).toBe(40 * DAY_MS)
    expect(from).toBeGreaterThanOrEqual(before)
    expect(from).toBeLessThanOrEqual(Date.now())
    expect(certificate.serialNumber).toMatch(/^[4-7][0-9A-F]{39}$/)
    expect(facts).toMatchObject({
      thumbprint: certificate.fingerprint256,
      'x5t#S256': createHash('sha256').update(certificate.raw).digest('base64url'),
      notAfter: certificate.validToDate.toISOString(),
      serialNumber: certificate.serialNumber,
    })
    expect(made.stderr).toContain(certificate.fingerprint256)
    const extensions = extensionsOf(facts.pem)
    expect(extensions).toMatch(/Key Usage: critical\n\s+Digital Signature\n/)
    expect(extensions).toMatch(/Basic Constraints: critical\n\s+CA:FALSE\n/)
    expect(extensions).toContain('TLS Web Client Authentication, TLS Web Server Authentication')
    writeFileSync(at('own.pem'), facts.pem)
    expect(openssl(['verify', '-CAfile', at('own.pem')], facts.pem).text).toContain('OK')
    const spoilt = tampered(facts.pem, 1)
    expect(new X509Certificate(spoilt).verify(certificate.publicKey)).toBe(false)
  })

  it('makes certificates of RSA that node-forge verifies too, each with a serial number of its own', async () => {
    const made = await Promise.all(
      [1, 2].map(() => certs('self-signed', 'tls-rsa', '--subject', NAME, '--tls', 'server')),
    )
    const certificates = made.map(({ stdout }) => forge.pki.certificateFromPem(stdout))
    for (const certificate of certificates) expect(certificate.verify(certificate)).toBe(true)
    expect(certificates[0]!.serialNumber).not.toBe(certificates[1]!.serialNumber)
    expect(extensionsOf(made[0]!.stdout)).toMatch(/Extended Key Usage: *\n\s+TLS Web Server Authentication\n/)
  })

  it('refuses a JWE key, and --ca for another purpose', async () => {
    const refused = (key: string, ca: boolean) =>
      selfSignedCommand(key, { config: setUp.config, subject: NAME, dns: [], tls: 'both', days: 1, ca })
    await expect(refused('jwe-rsa', false)).rejects.toMatchObject({
      exitCode: 77,
      message: expect.stringContaining('pinbridge certs issue-for'),
    })
    await expect(refused('transcripts', true)).rejects.toMatchObject({ exitCode: 64 })
    expect((await certs('self-signed', 'tls', '--subject', NAME, '--days', '0')).code).toBe(64)
  })
})

describe('pinbridge certs issue-for', () => {
  const issue = (id: string, ...args: string[]) =>
    certs('issue-for', id, '--by', 'tls', '--issuer', issuer, '--subject', `CN=${id}`, ...args)

  it('makes certificates of JWE keys that OpenSSL verifies up to the issuer, for their one use', async () => {
    expect(extensionsOf(readFileSync(issuer, 'utf8'))).toMatch(
      /CA:TRUE, pathlen:0[^]*Key Usage: critical\n\s+Certificate Sign\n/,
    )
    for (const [id, usage] of [
      ['jwe-ec', 'Key Agreement'],
      ['jwe-rsa', 'Key Encipherment'],
    ] as const) {
      const made = await issue(id, '--days', '20', '--json')
      expect(made.code, made.stderr).toBe(0)
      const { pem, kid, thumbprint } = JSON.parse(made.stdout)
      const certificate = new X509Certificate(pem)
      expect([kid, thumbprint]).toEqual([id, certificate.fingerprint256])
      expect(await kcvOf(certificate.publicKey)).toBe(configured(id).kcv)
      const own = new X509Certificate(readFileSync(issuer))
      expect(certificate.checkIssued(own) && certificate.verify(own.publicKey)).toBe(true)
      expect(openssl(['verify', '-x509_strict', '-CAfile', issuer], pem).text).toContain('OK')
      expect(openssl(['verify', '-x509_strict', '-CAfile', issuer], tampered(pem, 1)).good).toBe(false)
      const extensions = extensionsOf(pem)
      expect(extensions).toContain(`Key Usage: critical\n    ${usage}\n`)
      expect(extensions).toContain('CA:FALSE')
    }
  })

  it('refuses an issuer that is not the one, no authority, or valid for less long, and a key that signs itself', async () => {
    writeFileSync(at('empty.pem'), 'nothing\n')
    const refusals = [
      ['jwe-ec', 'tls', issuer, 31, 64, /valid for (?:29|30) days more/],
      ['tls-rsa', 'tls', issuer, 1, 77, /signs, and so for itself/],
      ['jwe-ec', 'tls', setUp.ca, 1, 65, /is not the certificate of key tls@1/],
      ['jwe-ec', 'tls', at('self.pem'), 1, 65, /no authority's certificate/],
      ['jwe-ec', 'tls', at('empty.pem'), 1, 65, /holds no certificate/],
      ['jwe-ec', 'tls', at('nowhere.pem'), 1, 66, /does not exist/],
      ['jwe-ec', 'transcripts', issuer, 1, 77, /is for transcript-sign/],
      ['jwe-ec', 'jwe-rsa', issuer, 1, 77, /one key, one purpose/],
    ] as const
    for (const [key, by, file, days, exitCode, message] of refusals) {
      const made = issueForCommand(key, { config: setUp.config, subject: 'CN=x', by, issuer: file, days })
      await expect(made).rejects.toMatchObject({ exitCode, message: expect.stringMatching(message) })
    }
  })

  it('refuses a JWE key whose private half is not in the HSM', async () => {
    const path = join(folder.path, 'dev', 'lost.yaml')
    copyFileSync(setUp.config, path)
    chmodSync(path, 0o600)
    editConfig(path, (config) => (config.keys.find(({ id }: any) => id === 'jwe-ec').version = 7))
    const made = issueForCommand('jwe-ec', { config: path, subject: 'CN=x', by: 'tls', issuer, days: 5 })
    await expect(made).rejects.toMatchObject({
      exitCode: 69,
      message: expect.stringContaining('0 objects carry its CKA_ID'),
    })
  })
})

describe('pinbridge keys generate --csr', () => {
  const generate = (id: string, algorithm: string, ...args: string[]) =>
    pinbridge([
      ...['keys', 'generate', '--config', setUp.config, '--purpose', 'jwe-decrypt', '--d1-profile', 'd1'],
      ...['--id', id, '--algorithm', algorithm, '--state', 'active', ...args],
    ])

  it.for([
    ['born-ec', 'EC-P256', 'Key Agreement'],
    ['born-rsa', 'RSA-2048', 'Key Encipherment'],
  ] as const)(
    'makes %s, whose request and certificate OpenSSL verifies; the key opens JWEs and signs nothing',
    async ([id, algorithm, usage]) => {
      const [csr, certificateFile] = [at(`${id}.csr`), at(`${id}.pem`)]
      const files = ['--csr', csr, '--certificate', certificateFile]
      const made = await generate(id, algorithm, ...files, '--subject', NAME, '--days', '90')
      expect(made.code, made.stderr).toBe(0)
      const request = readFileSync(csr, 'utf8')
      const { good, text } = requestOf(request)
      expect([good, text]).toEqual([true, expect.stringContaining('self-signature verify OK')])
      expect(text).toMatch(new RegExp(`Key Usage: critical\\s+${usage}\\n`))
      const certificate = new X509Certificate(readFileSync(certificateFile))
      expect(certificate.verify(certificate.publicKey)).toBe(true)
      expect(certificate.validToDate.getTime() - certificate.validFromDate.getTime()).toBe(90 * DAY_MS)
      expect(made.stderr).toContain(certificate.fingerprint256)
      expect(spkiOf(certificate.publicKey)).toBe(
        spkiOf(createPublicKey(openssl(['req', '-noout', '-pubkey'], request).text)),
      )
      expect(await kcvOf(certificate.publicKey)).toBe(configured(id).kcv)
      // Found by its attributes, and its known answer is a JWE that it opens.
      const options = { config: setUp.config, subject: 'CN=x', by: 'tls', issuer: issuer, days: 5 }
      const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
      try {
        await issueForCommand(id, { ...options, out: at(`${id}-issued.pem`) })
      } finally {
        said.mockRestore()
      }
      await expect(csrCommand(id, { ...options, dns: [], tls: 'both' })).rejects.toMatchObject({ exitCode: 77 })
    },
  )

  it('makes nothing if a file is there, or the rest does not go together', async () => {
    const config = readFileSync(setUp.config, 'utf8')
    const refused = await Promise.all([
      generate('unborn', 'EC-P256', '--csr', issuer, '--subject', NAME),
      generate('unborn', 'EC-P256', '--csr', at('unborn.csr')),
      generate('unborn', 'EC-P256', '--csr', at('nowhere/unborn.csr'), '--subject', NAME),
    ])
    expect(refused.map(({ code, stdout }) => [code, stdout])).toEqual([
      [73, ''],
      [64, ''],
      [74, ''],
    ])
    expect([existsSync(at('unborn.csr')), readFileSync(setUp.config, 'utf8')]).toEqual([false, config])
    // Nor in the token: a key of that name can be made.
    const made = await generate('unborn', 'EC-P256', '--csr', at('unborn.csr'), '--subject', NAME)
    expect(made.code, made.stderr).toBe(0)
  })
})

describe('pinbridge certs show', () => {
  it('lists by date what the configuration and the command line name, and exits 1 if something is near', async () => {
    const path = join(folder.path, 'dev', 'show.yaml')
    copyFileSync(setUp.config, path)
    chmodSync(path, 0o600)
    const day = (days: number) => new Date(Date.now() + days * DAY_MS).toISOString().slice(0, 10)
    writeFileSync(
      at('callers.json'),
      JSON.stringify({
        keys: [
          { kty: 'EC', kid: 'near', exp: Math.floor(Date.now() / 1000) + 2.5 * 86_400 },
          { kty: 'EC', kid: 'says-nothing' },
        ],
      }),
    )
    editConfig(path, (config) => {
      config.keys.find(({ id }: any) => id === 'zpk-in').expires = day(3)
      config.keys.find(({ id }: any) => id === 'zpk-out').expires = day(-3)
      Object.assign(
        config.keys.find(({ id }: any) => id === 'zpk-aes'),
        { expires: day(-9), state: 'retired' },
      )
      config.authentication = {
        bearer: { issuer: 'i', audience: 'a', jwks: at('callers.json'), required: false },
      }
      config.limits.store = { url: 'rediss://localhost', caFile: at('self.pem') }
    })
    const show = (...args: string[]) => pinbridge(['certs', 'show', '--config', path, ...args])
    const made = await show('--json', issuer, at('nowhere.pem'))
    expect([made.code, made.stderr]).toEqual([1, ''])
    const { expiries } = JSON.parse(made.stdout)
    const shown = expiries.map(({ what, name, daysLeft }: any) => [what, name.split(',')[0], daysLeft])
    const near = (days: number) => expect.toSatisfy((left: number) => left === days || left === days - 1)
    expect(shown.slice(0, 6)).toEqual([
      ['certificate', '', undefined],
      ['zone-pin key', 'zpk-out@1', near(-2)],
      ["key of callers' tokens", 'near', 2],
      ['zone-pin key', 'zpk-in@1', near(3)],
      ['certificate', expect.stringContaining('CN='), 29],
      ['authority of the limit store', expect.stringContaining('CN='), 39],
    ])
    expect(
      shown
        .slice(6)
        .map(([what]: string[]) => what)
        .sort(),
    ).toEqual(['authority of clients', 'server certificate'])
    expect(expiries[0]).toMatchObject({ file: at('nowhere.pem'), problem: 'does not exist' })

    const table = await show()
    expect(table.code).toBe(1)
    expect(table.stdout).toMatch(/^\d{4}-\d\d-\d\d {2}expired +zone-pin key +zpk-out@1\n/)
    expect(table.stdout).not.toContain('\x1b')
    expect(table.stdout).not.toContain('zpk-aes')
  })

  it('exits 0 where nothing expires within the days', async () => {
    const quiet = await certs('show', '--within', '5')
    expect([quiet.code, quiet.stdout.split('\n').length]).toEqual([0, 3])
    expect((await certs('show', '--within', '5', issuer)).code).toBe(0)
    expect((await certs('show', '--within', '31', issuer)).code).toBe(1)
  })
})

describe('pinbridge certs --help', () => {
  const helpOf = (name?: string): string => {
    const certs = certsCommand()
    const command = name === undefined ? certs : certs.commands.find((one) => one.name() === name)!
    let help = ''
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp()
    return help
  }

  it.for(['csr', 'self-signed', 'issue-for', 'show'])(
    '%s says what it does, what it changes, an example and the exit codes',
    (command) => {
      const help = helpOf(command)
      expect(help).toMatch(/^Example/m)
      expect(help).toContain(`pinbridge certs ${command} `)
      expect(help).toMatch(/^Exit codes: 0 /m)
      expect(help).toMatch(/is changed/)
    },
  )

  it('says which one is needed', () => {
    for (const command of ['csr', 'self-signed', 'issue-for', 'show', 'pinbridge keys generate --csr']) {
      expect(helpOf()).toContain(command)
    }
  })
})

it('the X.509 library is loaded by the commands that sign and by nothing else', () => {
  const main = new URL('../../../dist/cli/main.js', import.meta.url).pathname
  const spy = `import { createRequire } from 'node:module'
    process.on('exit', () => console.error(Object.keys(createRequire('/').cache).filter((path) => path.includes('@peculiar')).length))`
  const loaded = (...args: string[]) => {
    const flags = ['--import', `data:text/javascript,${encodeURIComponent(spy)}`]
    const { stderr } = spawnSync(process.execPath, [...flags, main, ...args], { encoding: 'utf8' })
    return Number(stderr.trim().split('\n').at(-1))
  }
  expect(loaded('certs', 'show', '--config', setUp.config)).toBe(0)
  expect(loaded('certs', 'csr', 'tls', '--subject', NAME, '--config', setUp.config)).toBeGreaterThan(0)
  // What the processes that serve are made of reaches no file that names it.
  const sources = execFileSync('grep', ['-rl', '@peculiar/', new URL('../../../src', import.meta.url).pathname], {
    encoding: 'utf8',
  })
  expect(
    sources
      .trim()
      .split('\n')
      .map((path) => path.slice(path.indexOf('/src/') + 1)),
  ).toEqual(['src/cli/certs/x509.ts'])
})
