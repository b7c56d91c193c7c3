/** `pinbridge/client` against the real service over mTLS, and as a package in a project of somebody else. */
import { execFile } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { createClient, PinbridgeError, type ClientOptions, type PinbridgeClient } from '../../../src/client/client.ts'
import { ROUTES } from '../../../src/client/openapi.ts'
import { seal } from '../../d1/simulator.ts'
import { openEc } from '../../support/node-jwe.ts'
import { pinbridge, temporaryFolder } from '../../support/service.ts'
import { CHANGE, clearBlock, iso0, newPan, newPin, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

const ROOT = join(import.meta.dirname, '../../..')
const NODE = join(ROOT, 'node_modules/.bin/node')
const FROM = { key: 'zpk-in', format: 'ISO-0' } as const
const BEARER = { issuer: 'https://login.issuer.test', audience: 'pinbridge' }

const folder = temporaryFolder()
const tokenKey = await generateKeyPair('ES256')
let issuer: Issuer
let client: PinbridgeClient

beforeAll(async () => {
  const jwks = join(folder.path, 'jwks.json')
  writeFileSync(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(tokenKey.publicKey)), kid: 'k' }] }))
  issuer = await openIssuer((config) => {
    config.limits = { guesses: { perCard: 2 } }
    config.authentication = { bearer: { ...BEARER, jwks, required: false } }
    config.clients.find(({ id }: any) => id === 'cms-adapter').subject = 'adapter'
  })
  client = connect('cms-adapter')
})
afterAll(async () => {
  await client?.close()
  await issuer?.close()
  folder.dispose()
})

function connect(id: string, options: Partial<ClientOptions> = {}): PinbridgeClient {
  const { ca, clients } = issuer.service.setUp
  const { cert, key } = clients.find((each) => each.id === id)!
  return createClient({
    url: issuer.service.ready.url,
    ca: readFileSync(ca),
    cert: readFileSync(cert),
    key: readFileSync(key),
    ...options,
  })
}

const errorOf = async (call: Promise<unknown>): Promise<PinbridgeError> => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(PinbridgeError)
  return error as PinbridgeError
}

describe('every operation', () => {
  it('goes through the client', async () => {
    const used = new Set<string>()
    const noted = new Proxy(client, {
      get: (target, name, receiver) => {
        used.add(String(name))
        return Reflect.get(target, name, receiver)
      },
    })
    const [pan, pin] = [newPan(), newPin()]
    const card = { pan, panSequenceNumber: '01' }
    const pinBlock = issuer.block('zpk-in', 'ISO-0', pin, pan)
    const pinOf = (block: string) => issuer.pinOf('zpk-out', 'ISO-0', block, pan)

    const { keys: jwks } = await noted.getJwks()
    const set = await noted.setPin({
      type: 'ISO0',
      encryptedPinBlock: await seal(
        JSON.parse(iso0(pin, pan)),
        jwks.find(({ kid }) => kid === 'jwe-ec')!,
      ),
      card,
      to: TO,
    })
    expect(pinOf(set.pinBlock!)).toBe(pin)
    const got = await noted.getPin({ pinBlock, from: FROM, card, recipient: issuer.recipient.kid })
    expect(JSON.parse(openEc(got.encryptedPinBlock, issuer.recipient.privateJwk).payload.toString())).toEqual({
      pinBlock: clearBlock('ISO-0', pin, pan).toUpperCase(),
    })
    const translated = await noted.translatePinBlock({ pinBlock, from: FROM, to: TO, card })
    expect(pinOf(translated.pinBlock)).toBe(pin)
    const batch = await noted.translatePinBlockBatch({
      from: FROM,
      to: TO,
      items: [
        { id: 'right', pinBlock, card },
        { id: 'wrong', pinBlock: '0'.repeat(16), card: { pan: newPan() } },
      ],
    })
    expect(batch.items!.map(({ id, code }) => [id, code])).toEqual([
      ['right', undefined],
      ['wrong', 'ERR_PIN_BLOCK_INVALID'],
    ])
    expect(pinOf(batch.items![0]!.pinBlock!)).toBe(pin)

    const { prw, key } = await noted.generatePrw({ pinBlock, from: FROM, card, change: CHANGE, key: 'prw' })
    expect(key.id).toBe('prw')
    const prwOf = { pinBlock, from: FROM, card, change: CHANGE, key: 'prw', prw }
    expect(await noted.verifyPrw(prwOf)).toEqual({ verified: true })
    const { mac } = await noted.generateMac({ key: 'pin-mac', pinBlock, prw, change: CHANGE })
    expect(await noted.verifyMac({ key: 'pin-mac', pinBlock, prw, change: CHANGE, mac })).toEqual({ verified: true })

    const assertion = await noted.makeD1Assertion({ key: 'assertion', lifetimeS: 60 })
    expect(assertion.assertion.split('.')).toHaveLength(3)
    const payload = { pan, exp: '0931' }
    const { jwe } = await noted.sealJwe({ recipient: 'd1-data-dev', payload })
    const { privateJwk } = issuer.service.setUp.recipients.find(({ kid }) => kid === 'd1-data-dev')!
    expect(JSON.parse(openEc(jwe, privateJwk).payload.toString())).toEqual(payload)
    const published = await pinbridge(['keys', 'public', 'jwe-open', '--config', issuer.service.setUp.config])
    const sealed = await seal(payload, JSON.parse(published.stdout))
    expect((await noted.openJwe({ jwe: sealed })).payload).toEqual(payload)
    expect((await noted.getKeys()).keys.map(({ id }) => id)).toContain('jwe-open')

    expect([...used].sort()).toEqual(Object.keys(ROUTES).sort())
  })

  it('leaves its correlation id in the log of the service', async () => {
    await client.getKeys({ correlationId: 'client-test-1' })
    await expect.poll(() => issuer.service.output()).toContain('"correlationId":"client-test-1"')
  })
})

describe('an error of the service', () => {
  it('is its code', async () => {
    const [pan, auditor] = [newPan(), connect('auditor')]
    const body = { pinBlock: issuer.block('zpk-in', 'ISO-0', newPin(), newPan()), from: FROM, to: TO, card: { pan } }
    const id = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
    const facts = {
      mayHaveHappened: false,
      requestId: expect.stringMatching(id),
      correlationId: expect.stringMatching(id),
    }
    const invalid = await errorOf(client.translatePinBlock({ ...body, card: { pan: '1' } }))
    expect({ ...invalid }).toMatchObject({ ...facts, code: 'ERR_REQUEST_INVALID', status: 400 })
    const forbidden = await errorOf(auditor.translatePinBlock(body))
    expect({ ...forbidden }).toMatchObject({ ...facts, code: 'ERR_KEY_USE_FORBIDDEN', status: 403 })
    for (let guess = 0; guess < 2; guess++) {
      const wrong = await errorOf(
        client.translatePinBlock({ ...body, pinBlock: issuer.block('zpk-in', 'ISO-0', newPin(), newPan()) }),
      )
      expect({ ...wrong }).toMatchObject({ ...facts, code: 'ERR_PIN_BLOCK_INVALID', status: 422 })
    }
    const limited = await errorOf(client.translatePinBlock(body))
    expect({ ...limited }).toMatchObject({ ...facts, code: 'ERR_RATE_LIMITED', status: 429 })
    expect(limited.retryAfterS).toBeGreaterThan(0)
    await auditor.close()
  })

  it('is no answer at all for a certificate that the service does not trust', async () => {
    const other = await makeDevelopmentCertificates({
      hosts: ['x'],
      clients: [{ id: 'cms-adapter', dnsNames: ['cms-adapter.pinbridge.test'] }],
    })
    const { certificate: cert, privateKey: key } = other.clients[0]!
    const stranger = connect('cms-adapter', { cert, key })
    const error = await errorOf(stranger.getKeys())
    expect(error.code).toBe('NO_ANSWER')
    expect(error.reason).toMatch(/^(?:ERR_SSL_[A-Z0-9_]+|ECONNRESET|EPIPE)$/)
    await stranger.close()
  })
})

describe('a token', () => {
  const tokenFor = async (sub: string): Promise<string> => {
    const { raw } = new X509Certificate(readFileSync(issuer.service.setUp.clients[0]!.cert))
    return new SignJWT({ sub, cnf: { 'x5t#S256': createHash('sha256').update(raw).digest('base64url') } })
      .setProtectedHeader({ alg: 'ES256', kid: 'k', typ: 'at+jwt' })
      .setIssuer(BEARER.issuer)
      .setAudience(BEARER.audience)
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(tokenKey.privateKey)
  }

  it('that the service takes no longer is renewed once; a wrong one is ERR_CLIENT_UNAUTHENTICATED', async () => {
    const asked: (string | undefined)[] = []
    const old = await tokenFor('a former subject')
    const renewing = connect('cms-adapter', {
      token: async (refused) => {
        asked.push(refused)
        return refused === undefined ? old : tokenFor('adapter')
      },
    })
    expect((await renewing.getKeys()).keys.length).toBeGreaterThan(0)
    expect(asked).toEqual([undefined, old])
    const wrong = connect('cms-adapter', { token: async () => old })
    expect(await errorOf(wrong.getKeys())).toMatchObject({ code: 'ERR_CLIENT_UNAUTHENTICATED', status: 401 })
    await Promise.all([renewing.close(), wrong.close()])
  })
})

describe('the package', () => {
  const CHECK = `
import { createClient, PinbridgeError, type PinbridgeClient, type SetPinRequest } from 'pinbridge/client'
declare const client: PinbridgeClient
export const body: SetPinRequest = { type: 'ISO0', encryptedPinBlock: '', card: { pan: '' } }
export const block: Promise<string | undefined> = client.setPin(body, { correlationId: 'a' }).then((set) => set.pinBlock)
export const names: Promise<readonly { readonly id: string }[]> = client.getKeys().then(({ keys }) => keys)
// @ts-expect-error: a card has a PAN
void client.setPin({ type: 'ISO0', encryptedPinBlock: '', card: {} })
// @ts-expect-error: a body without an operation's members
void client.translatePinBlock({})
// @ts-expect-error: no such format
void client.translatePinBlock({ pinBlock: '', from: { key: '', format: 'ISO-2' }, to: { key: '', format: 'ISO-0' }, card: { pan: '' } })
// @ts-expect-error: no such option
createClient({ url: '', ca: '', cert: '', key: '', insecure: true })
// @ts-expect-error: no such operation
void client.decryptPin
export function isOver(error: PinbridgeError): boolean {
  switch (error.code) {
    CASES
      return true
    default: {
      const none: never = error.code
      return none
    }
  }
}
export function isOpen(error: PinbridgeError): boolean {
  switch (error.code) {
    ALL_BUT_ONE
      return true
    default: {
      // @ts-expect-error: one is left
      const none: never = error.code
      return none
    }
  }
}
`
  const run = async (args: string[], cwd: string, env = {}) => {
    try {
      const { stdout, stderr } = await promisify(execFile)(NODE, args, { cwd, env: { ...env } })
      return { code: 0, stdout, stderr }
    } catch (error) {
      return error as { code: number; stdout: string; stderr: string }
    }
  }
  const project = join(folder.path, 'project')

  beforeAll(() => {
    // As npm pack makes it, in a project that has nothing else but the types of Node.js.
    const installed = join(project, 'node_modules/pinbridge')
    mkdirSync(installed, { recursive: true })
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    expect(manifest.files).toContain('dist')
    cpSync(join(ROOT, 'package.json'), join(installed, 'package.json'))
    cpSync(join(ROOT, 'dist'), join(installed, 'dist'), { recursive: true })
    for (const name of ['@types', 'undici-types']) {
      symlinkSync(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
    }
    writeFileSync(join(project, 'package.json'), '{"type":"module"}')
    const [, example] = /<!-- client -->\n+```ts\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8'))!
    writeFileSync(join(project, 'call.ts'), example!)
  })

  it('compiles under strict, the example of the README too, and its codes are a closed set', async () => {
    const { ERROR_CODES } = await import('../../../src/client/openapi.ts')
    const cases = [...ERROR_CODES, 'UNKNOWN_CODE', 'NO_ANSWER'].map((code) => `case '${code}':`)
    const check = CHECK.replace('CASES', cases.join('\n')).replace('ALL_BUT_ONE', cases.slice(1).join('\n'))
    writeFileSync(join(project, 'check.ts'), check)
    const options = { strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, noEmit: true }
    const compilerOptions = { ...options, target: 'es2024', module: 'nodenext', types: ['node'], skipLibCheck: false }
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }))
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    expect(await run([tsc, '-p', project], project)).toEqual({ code: 0, stdout: '', stderr: '' })
  }, 120_000)

  it('runs the example of the README', async () => {
    const cwd = join(issuer.service.setUp.config, '..')
    const env = { PINBRIDGE_URL: issuer.service.ready.url }
    const pan = '4000001234567899'
    const right = await run([join(project, 'call.ts'), issuer.block('zpk-in', 'ISO-0', '1234', pan)], cwd, env)
    expect(right).toMatchObject({ code: 0, stdout: '8 bytes, ISO-3 under zpk-out, version 1\n' })
    const wrong = await run([join(project, 'call.ts'), issuer.block('zpk-in', 'ISO-0', '1234', newPan())], cwd, env)
    expect(wrong).toMatchObject({ code: 65 })
    expect(wrong.stderr).toContain("code: 'ERR_PIN_BLOCK_INVALID'")
  })

  it('runs in plain JavaScript, and nothing else of it can be imported', async () => {
    const script = `
import { createClient, PinbridgeError } from 'pinbridge/client'
const deep = await import('pinbridge/dist/client/exchange.js').catch(({ code }) => code)
const client = createClient({ url: 'https://127.0.0.1:1', ...JSON.parse(process.env.IDENTITY) })
const error = await client.getKeys().catch((error) => error)
await client.close()
console.log(deep, error instanceof PinbridgeError, error.reason)
`
    writeFileSync(join(project, 'plain.js'), script)
    const { ca, clients } = issuer.service.setUp
    const [pemCa, cert, key] = [ca, clients[0]!.cert, clients[0]!.key].map((path) => readFileSync(path, 'utf8'))
    const env = { IDENTITY: JSON.stringify({ ca: pemCa, cert, key }) }
    const { stdout } = await run([join(project, 'plain.js')], project, env)
    expect(stdout).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED true ECONNREFUSED\n')
  })
})
