import { createHash, X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeDevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { editConfig, makeSetUp, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { childrenOf, recordsOf, until } from './processes.ts'
import { keyValue, tdea } from './traffic.ts'
import { iso0Block } from '../../d1/simulator.ts'

const CONCURRENCY = 8
/** Fewer than that prove little; on any machine more come while the files change. */
const LEAST_REQUESTS = 2000

const folder = temporaryFolder()
let setUp: DevelopmentSetUp
let service: Service
let calls: ReturnType<typeof startCalls> | undefined
let oldCa: string
const others = await makeDevelopmentCertificates({
  hosts: ['127.0.0.1'],
  clients: [{ id: 'cms-adapter', dnsNames: ['cms-adapter.pinbridge.test'] }],
})
const signers = { a: await generateKeyPair('ES256'), b: await generateKeyPair('ES256') }

/** Files as an orchestrator mounts them: links into a folder behind a link, which another folder replaces at once. */
let version = 0
function mount(files: Record<string, string>): void {
  const at = join(folder.path, 'mount')
  const folderName = `..version-${++version}`
  mkdirSync(join(at, folderName), { recursive: true })
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(at, folderName, name), text, { mode: 0o600 })
    if (version === 1) symlinkSync(join('..data', name), join(at, name))
  }
  symlinkSync(folderName, join(at, '..new'))
  renameSync(join(at, '..new'), join(at, '..data'))
  if (version > 1) rmSync(join(at, `..version-${version - 1}`), { recursive: true })
}

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  const dev = dirname(setUp.config)
  oldCa = readFileSync(setUp.ca, 'utf8')
  mount({
    'tls.crt': readFileSync(join(dev, 'server.pem'), 'utf8'),
    'tls.key': readFileSync(join(dev, 'server-key.pem'), 'utf8'),
    'ca.crt': oldCa,
  })
  // What the tests' own clients trust, from the beginning.
  writeFileSync(setUp.ca, oldCa + others.ca)
  editConfig(setUp.config, (config) => {
    config.listeners.api.certificate = join(folder.path, 'mount', 'tls.crt')
    config.listeners.api.privateKey = join(folder.path, 'mount', 'tls.key')
    config.listeners.api.clientCa = join(folder.path, 'mount', 'ca.crt')
    config.clients[0].subject = 'cms'
  })
  service = await startService(setUp)
})
afterAll(async () => {
  await calls?.stop()
  await service?.stop()
  folder.dispose()
})

const records = (text: string) => recordsOf(service.output()).filter(({ msg }) => String(msg).includes(text))
/** Waits until a reload has ended that began by `change`, and gives its record. */
async function reloaded(change: () => void, text = 'reloaded'): Promise<any> {
  const before = records(text).length
  change()
  await until(`a record "${text}"`, () => records(text).length > before, 30_000)
  return records(text)[before]
}
/** To the whole group, as a terminal or a service manager may send it. */
const hangUp = () => {
  const { gateways, vaults } = childrenOf(service.ready.pid)
  for (const pid of [...gateways, ...vaults, service.ready.pid]) process.kill(pid, 'SIGHUP')
}

const writeKeys = async (...names: (keyof typeof signers)[]) => {
  const keys = names.map(async (kid) => ({ ...(await exportJWK(signers[kid].publicKey)), kid }))
  const text = JSON.stringify({ keys: await Promise.all(keys) })
  // Put in its place at one blow, as everybody should.
  writeFileSync(join(folder.path, 'next.json'), text, { mode: 0o600 })
  renameSync(join(folder.path, 'next.json'), join(folder.path, 'jwks.json'))
}
const tokenBy = (kid: keyof typeof signers) => {
  const { raw } = new X509Certificate(readFileSync(setUp.clients[0]!.cert))
  const cnf = { 'x5t#S256': createHash('sha256').update(raw).digest('base64url') }
  return new SignJWT({ cnf })
    .setProtectedHeader({ alg: 'ES256', kid, typ: 'at+jwt' })
    .setIssuer('issuer')
    .setAudience('pinbridge')
    .setSubject('cms')
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(signers[kid].privateKey)
}

/** Translations, one after the other by each of several callers, until it is stopped; what is not a right answer is kept. */
function startCalls() {
  const pan = '4000001234567899'
  const clear = iso0Block('1234', pan)
  const body = {
    pinBlock: tdea(keyValue(service, 'zpk-in'), clear),
    from: { key: 'zpk-in', format: 'ISO-0' },
    to: { key: 'zpk-out', format: 'ISO-0' },
    card: { pan },
  }
  const expected = tdea(keyValue(service, 'zpk-out'), clear)
  let isRunning = true
  let token: string | undefined
  let count = 0
  const lost: string[] = []
  const callers = Array.from({ length: CONCURRENCY }, async (_, n) => {
    while (isRunning) {
      // Half of them by certificate alone.
      const headers = token === undefined || n % 2 === 0 ? {} : { authorization: `Bearer ${token}` }
      count++
      try {
        const { status, text, json } = await service.call('POST', '/v1/pin-blocks/translate', body, { headers })
        if (status !== 200 || json.pinBlock !== expected) lost.push(`${status} ${text}`)
      } catch (error) {
        lost.push(String(error))
      }
    }
  })
  return {
    use: (next: string) => {
      token = next
    },
    enough: () => until('enough requests', () => count >= LEAST_REQUESTS, 60_000),
    stop: async () => {
      isRunning = false
      await Promise.all(callers)
      return { count, lost }
    },
  }
}

describe('a reload', () => {
  it('loses no request: signals, grants, certificates behind a link, another CA, tokens and their keys', async () => {
    calls = startCalls()
    expect((await reloaded(hangUp)).changed).toEqual([])

    // Grants: vaults know whether anybody may translate SECCOS, so each is replaced by one that knows better.
    const before = childrenOf(service.ready.pid).vaults
    const grants = await reloaded(() =>
      editConfig(setUp.config, ({ clients }) => {
        const [grant] = clients[0].grants
        grant.operations = grant.operations.filter((name: string) => name !== 'pin-blocks/translate-seccos')
        clients.splice(1, 1)
      }),
    )
    expect(grants.changed).toEqual(['clients', 'configuration'])
    await until('other vaults', () => !childrenOf(service.ready.pid).vaults.some((pid) => before.includes(pid)), 60_000)

    const mounted = await reloaded(() =>
      mount({
        'tls.crt': others.server.certificate,
        'tls.key': others.server.privateKey,
        'ca.crt': oldCa + others.ca,
      }),
    )
    const files = ['certificate', 'privateKey', 'clientCa'].map((name) => `listeners.api.${name}`)
    expect(mounted.changed).toEqual(files)

    await writeKeys('a')
    const bearer = { issuer: 'issuer', audience: 'pinbridge', jwks: join(folder.path, 'jwks.json'), required: false }
    await reloaded(() => {
      editConfig(setUp.config, (config) => (config.authentication = { bearer }))
      hangUp()
    })
    const isAnswered = (token: string, wanted: number) =>
      until(`a token to be answered ${wanted}`, async () => {
        const headers = { authorization: `Bearer ${token}` }
        return (await service.call('GET', '/v1/keys', undefined, { headers })).status === wanted
      })
    const [first, second] = [await tokenBy('a'), await tokenBy('b')]
    await isAnswered(first, 200)
    calls.use(first)
    await isAnswered(second, 401)
    await writeKeys('a', 'b')
    hangUp()
    await isAnswered(second, 200)
    calls.use(second)
    await calls.enough()
    const { count, lost } = await calls.stop()
    expect(lost).toEqual([])
    expect(count).toBeGreaterThanOrEqual(LEAST_REQUESTS)

    await writeKeys('b')
    await isAnswered(first, 401)
    await isAnswered(second, 200)
    expect((await service.call('GET', '/v1/keys', undefined, { client: 'auditor' })).status).toBe(401)
    expect((await service.manage('/metrics')).text).toMatch(/^pinbridge_reloads_total\{outcome="refused"\} 0$/m)
    expect(service.output()).not.toContain(second.split('.')[2])
  })

  it('of a bad file keeps the old one and says so; whatever takes a restart is named', async () => {
    const good = readFileSync(setUp.config, 'utf8')
    const bad = await reloaded(() => {
      editConfig(setUp.config, (config) => {
        config.clients[0].grants = [{ operations: ['no-such-operation'] }]
        config.surprise = 'canary-value'
      })
      hangUp()
    }, 'cannot be used; everything stays')
    expect(bad.problems).toHaveLength(2)
    expect(JSON.stringify(bad)).not.toContain('canary-value')
    expect((await service.call('GET', '/v1/keys')).status).toBe(200)

    // A certificate without its key; and then the key, as if the two were written one after the other.
    writeFileSync(setUp.config, good)
    await reloaded(hangUp)
    const tls = {
      'tls.crt': readFileSync(join(dirname(setUp.config), 'server.pem'), 'utf8'),
      'ca.crt': others.ca + oldCa,
    }
    const half = await reloaded(() => mount({ ...tls, 'tls.key': others.server.privateKey }), 'everything stays')
    expect(half.problems).toEqual([expect.stringContaining('listeners.api.privateKey: does not belong')])
    expect((await service.call('GET', '/v1/keys')).status).toBe(200)
    await reloaded(() =>
      mount({ ...tls, 'tls.key': readFileSync(join(dirname(setUp.config), 'server-key.pem'), 'utf8') }),
    )
    expect((await service.manage('/metrics')).text).toMatch(/^pinbridge_reloads_total\{outcome="refused"\} 2$/m)

    const named = await reloaded(() => {
      editConfig(setUp.config, (config) => {
        config.limits.queue = 77
        config.keys.find(({ id }: { id: string }) => id === 'zpk-out').state = 'retired'
        config.clients[0].grants[0].keys = ['zpk-in']
      })
      hangUp()
    }, 'take a restart')
    expect(named.members).toEqual(['limits.queue'])
    const said = service
      .output()
      .split('\n')
      .filter((line) => /"msg":"[^"]*(?:reload|restart|stays)/.test(line))
    expect(said.length).toBeGreaterThan(5)
    expect(strangersInLog(said.join('\n'))).toEqual([])
  })

  it('is what a gateway that is started later begins with, and takes over what comes while it starts', async () => {
    const [gateway] = childrenOf(service.ready.pid).gateways
    process.kill(gateway!, 'SIGKILL')
    await until('another gateway', () => childrenOf(service.ready.pid).gateways.some((pid) => pid !== gateway))
    editConfig(setUp.config, ({ clients }) => clients[0].grants[0].keys.push('pin-mac'))
    service.process.kill('SIGHUP')
    const change = { counter: '0003', transactionId: '7' }
    const generate = async (key: string) => {
      const body = { key, pinBlock: '0123456789ABCDEF', prw: '0123456789ABCDEF', change }
      return (await service.call('POST', '/v1/mac/generate', body).catch(() => undefined))?.status
    }
    await until('the new grant', async () => (await generate('pin-mac')) === 200, 30_000)
    expect(await generate('pin-mac-aes')).toBe(403)
    expect((await service.call('GET', '/v1/keys', undefined, { client: 'auditor' })).status).toBe(401)
  })
})
