import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import forge from 'node-forge'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { makeDevelopmentCertificates } from '../../src/cli/development/certificates.ts'
import type { LiveConfig } from '../../src/supervisor/messages.ts'
import { createReload } from '../../src/gateway/reload.ts'
import { start, testConfig, type Harness } from './harness.ts'
import { testCertificates } from '../support/certificates.ts'
import { makeKeys } from '../support/issued-certificates.ts'

const certificates = await testCertificates()
const others = await makeDevelopmentCertificates({
  hosts: ['localhost', '127.0.0.1'],
  clients: [{ id: 'cms', dnsNames: ['cms-adapter.clients.test'] }],
})
const folder = mkdtempSync(join(tmpdir(), 'pinbridge-reload-'))
afterAll(() => rmSync(folder, { recursive: true }))

let http: Harness
let reload: (over?: Partial<LiveConfig>) => boolean
const write = (name: string, text: string) => writeFileSync(join(folder, name), text)

beforeEach(async () => {
  write('cert', certificates.server.certificate)
  write('key', certificates.server.privateKey)
  write('ca', certificates.ca)
  http = await start()
  const config = testConfig()
  const api = { ...config.listeners.api, certificate: join(folder, 'cert'), privateKey: join(folder, 'key') }
  const listeners = { ...config.listeners, api: { ...api, clientCa: join(folder, 'ca') } }
  const { server } = http.api
  const take = createReload({
    server,
    config: { ...config, listeners },
    authentication: http.authentication,
    keys: http.keys,
    metrics: http.metrics,
  })
  const { clients, keys, setPinTypes, counterOnceKeys } = config
  reload = (over) => take({ clients, authentication: {}, keys, setPinTypes, counterOnceKeys, ...over })
})
afterEach(() => http.close())

const open = (options: object) =>
  new Promise<TLSSocket>((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: http.port, ...options }, () => resolve(socket))
    socket.once('error', reject)
  })
const otherClient = { cert: others.clients[0]!.certificate, key: others.clients[0]!.privateKey }

/** One request on a connection that stays open; `refused` where it does not get that far. */
const ask = (socket: TLSSocket) =>
  new Promise<string>((resolve) => {
    socket.once('data', (data: Buffer) => resolve(data.toString('latin1').slice(9, 12)))
    socket.once('error', () => resolve('refused'))
    socket.once('close', () => resolve('refused'))
    socket.write('GET /v1/keys HTTP/1.1\r\nhost: x\r\n\r\n')
  })
const askAnew = async (options: object) => {
  const socket = await open(options)
  const status = await ask(socket)
  socket.destroy()
  return status
}

describe('the clients', () => {
  it('are judged anew on connections that are open: one that is gone is 401, one that is new is known', async () => {
    const socket = await http.openSocket()
    expect(await ask(socket)).toBe('200')
    const { clients } = testConfig()
    expect(reload({ clients: clients.filter(({ id }) => id !== 'cms-adapter') })).toBe(true)
    expect(await ask(socket)).toBe('401')
    expect(await ask(socket)).toBe('refused')
    expect(reload()).toBe(true)
    expect(await askAnew(http.identity('cms'))).toBe('200')
  })

  it('have the grants that stand there now', async () => {
    const { clients } = testConfig()
    expect((await http.send('GET', '/v1/keys')).status).toBe(200)
    expect(reload({ clients: clients.map((client) => ({ ...client, grants: [] })) })).toBe(true)
    expect((await http.send('GET', '/v1/keys')).status).toBe(403)
  })
})

describe('the server certificate', () => {
  it('is a new one for new connections, and the open ones go on', async () => {
    const before = await http.openSocket()
    write('cert', others.server.certificate)
    write('key', others.server.privateKey)
    expect(reload()).toBe(true)
    const identity = http.identity('cms')
    const after = await open({ ...identity, ca: others.ca })
    const shown = (socket: TLSSocket) => socket.getPeerX509Certificate()!.fingerprint256
    expect(shown(after)).toBe(new X509Certificate(others.server.certificate).fingerprint256)
    expect(shown(before)).toBe(new X509Certificate(certificates.server.certificate).fingerprint256)
    expect([await ask(before), await ask(after)]).toEqual(['200', '200'])
    await expect(open(identity)).rejects.toThrow()
    before.destroy()
    after.destroy()
  })

  it('comes with everything else that TLS had: 1.3, a client certificate, no resumption', async () => {
    expect(reload()).toBe(true)
    const identity = http.identity('cms')
    await expect(open({ ...identity, maxVersion: 'TLSv1.2' })).rejects.toThrow()
    expect(await askAnew({ ca: identity.ca })).toBe('refused')
    expect(await askAnew({ ca: identity.ca, ...otherClient })).toBe('refused')
    const first = await open(identity)
    const sessions: Buffer[] = []
    first.on('session', (session) => sessions.push(session))
    expect(await ask(first)).toBe('200')
    first.destroy()
    const second = await open({ ...identity, session: sessions.at(-1)! })
    expect(second.isSessionReused()).toBe(false)
    second.destroy()
  })

  it.each<[string, () => void]>([
    ['whose key is another', () => write('key', others.server.privateKey)],
    ['that is none', () => write('cert', 'nothing')],
    ['that is not there', () => rmSync(join(folder, 'cert'))],
    ['beside a CA that is empty', () => write('ca', '')],
    ['beside a CA that is cut', () => write('ca', certificates.ca.slice(0, 400) + '\n-----END CERTIFICATE-----\n')],
  ])('%s leaves everything as it was, the clients too', async (_name, spoil) => {
    spoil()
    expect(reload({ clients: [] })).toBe(false)
    expect(await askAnew(http.identity('cms'))).toBe('200')
  })
})

describe('the CA of the clients', () => {
  it('that is gone takes its clients along, on connections that are open too', async () => {
    const socket = await http.openSocket()
    expect(await ask(socket)).toBe('200')
    write('ca', others.ca)
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('401')
    socket.destroy()
    expect(await askAnew(http.identity('cms'))).toBe('refused')
    expect(await askAnew({ ca: certificates.ca, ...otherClient })).toBe('200')
  })

  it('beside another one keeps its clients', async () => {
    const socket = await http.openSocket()
    write('ca', others.ca + certificates.ca)
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('200')
    socket.destroy()
    expect(await askAnew({ ca: certificates.ca, ...otherClient })).toBe('200')
  })

  it('counts for a connection that was made under the old one and asks for the first time', async () => {
    const socket = await http.openSocket()
    write('ca', others.ca)
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('401')
    socket.destroy()
  })

  it('of the same name and another key is another one', async () => {
    const { publicKey, privateKey } = makeKeys()
    write('ca', certificates.ca + issue({ publicKey, by: privateKey, issuer: forge.pki.certificateFromPem(others.ca) }))
    expect(reload()).toBe(true)
    const socket = await open(http.identity('cms'))
    expect(await ask(socket)).toBe('200')
    // What stays has the name of the CA that issued the certificate, and not its key.
    write('ca', issue({ publicKey, by: privateKey, issuer: forge.pki.certificateFromPem(certificates.ca) }))
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('401')
    socket.destroy()
  })

  it('may stand behind an intermediate that the client sends along', async () => {
    const root = makeKeys()
    const between = makeKeys()
    const leaf = makeKeys()
    const rootPem = issue({ ...root, by: root.privateKey, name: 'root' })
    const rootCertificate = forge.pki.certificateFromPem(rootPem)
    const betweenPem = issue({ ...between, by: root.privateKey, name: 'between', issuer: rootCertificate })
    const issuer = forge.pki.certificateFromPem(betweenPem)
    const dnsName = 'cms-adapter.clients.test'
    const leafPem = issue({ ...leaf, by: between.privateKey, name: 'leaf', issuer, dnsName })
    const client = { cert: leafPem + betweenPem, key: leaf.pem, ca: certificates.ca }

    write('ca', rootPem)
    expect(reload()).toBe(true)
    const socket = await open(client)
    expect(await ask(socket)).toBe('200')
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('200')
    // Of the intermediates nothing is known any more when the CA file is another one, unless they stand in it.
    write('ca', certificates.ca + rootPem + betweenPem)
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('200')
    write('ca', certificates.ca + rootPem)
    expect(reload()).toBe(true)
    expect(await ask(socket)).toBe('401')
    socket.destroy()
    expect(await askAnew(client)).toBe('200')
    write('ca', certificates.ca)
    expect(reload()).toBe(true)
    expect(await askAnew(client)).toBe('refused')
  })
})

describe('a client certificate', () => {
  it('that has expired since its connection was opened is none', async () => {
    const socket = await http.openSocket()
    expect(await ask(socket)).toBe('200')
    const { clients } = certificates
    const { validToDate } = new X509Certificate(clients.find(({ id }) => id === 'cms')!.certificate)
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      vi.setSystemTime(validToDate)
      expect(await ask(socket)).toBe('200')
      vi.setSystemTime(validToDate.getTime() + 1)
      expect(await ask(socket)).toBe('401')
    } finally {
      vi.useRealTimers()
    }
    socket.destroy()
  })
})

describe('metrics', () => {
  it('count what was taken over and say when certificates expire', async () => {
    expect(await http.metrics.render()).toContain('pinbridge_reloads_total{outcome="applied"} 0\n')
    reload()
    const text = await http.metrics.render()
    expect(text).toContain('pinbridge_reloads_total{outcome="applied"} 1\n')
    expect(text).toContain('pinbridge_reloads_total{outcome="refused"} 0\n')
    for (const certificate of ['server', 'client-ca']) {
      const line = new RegExp(`pinbridge_certificate_expiry_timestamp_seconds\\{certificate="${certificate}"\\} (\\S+)`)
      expect((Number(line.exec(text)?.[1]) - Date.now() / 1000) / 86_400).toBeCloseTo(365, 0)
    }
  })
})

/** A certificate: of a client where it has a DNS name, else of a CA; without a name, of the one that `issuer` has, by itself. */
function issue(of: {
  readonly publicKey: forge.pki.rsa.PublicKey
  readonly by: forge.pki.rsa.PrivateKey
  readonly name?: string
  readonly issuer?: forge.pki.Certificate
  readonly dnsName?: string
}): string {
  const certificate = forge.pki.createCertificate()
  certificate.publicKey = of.publicKey
  certificate.serialNumber = `01${of.publicKey.n.toString(16).slice(0, 16)}`
  certificate.validity.notBefore = new Date(Date.now() - 60_000)
  certificate.validity.notAfter = new Date(Date.now() + 86_400_000)
  const own = of.name === undefined ? of.issuer!.subject.attributes : [{ name: 'commonName', value: of.name }]
  certificate.setSubject(own)
  certificate.setIssuer(of.issuer?.subject.attributes ?? own)
  certificate.setExtensions([
    { name: 'basicConstraints', cA: of.dnsName === undefined, critical: true },
    ...(of.dnsName === undefined
      ? [{ name: 'keyUsage', keyCertSign: true, critical: true }]
      : [{ name: 'subjectAltName', altNames: [{ type: 2, value: of.dnsName }] }]),
  ])
  certificate.sign(of.by, forge.md.sha256.create())
  return forge.pki.certificateToPem(certificate)
}
