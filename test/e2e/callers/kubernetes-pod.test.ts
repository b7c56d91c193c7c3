/** A pod of deploy/kubernetes: its volumes as a kubelet makes them, its init containers' commands, and the service as its user. */
import { execFileSync } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { chmodSync, chownSync, cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Agent, request } from 'undici'
import { parse, stringify } from 'yaml'
import { makeDevelopmentCertificates, type DevelopmentCertificates } from '../../../src/cli/development/certificates.ts'
import { testCertificates } from '../../support/certificates.ts'
import { Kubelet, type Contents } from '../../support/kubelet.ts'
import { buildManifests, onlyOne, type Manifest } from '../../support/manifests.ts'
import { bringIn, type ProductionKey } from '../../support/production-keys.ts'
import { startRedis, type TestRedis } from '../../support/redis.ts'
import { pinbridge, startService, temporaryFolder, type Service } from '../../support/service.ts'
import { makeTestToken, type TestToken } from '../../support/tokens.ts'

const NODE = new URL('../../../node_modules/.bin/node', import.meta.url).pathname
const STORE_PASSWORD = 'what-the-store-asks-for'
const PAN = '4000001234567899'
const PATIENCE = { timeout: 30_000, interval: 200 }
const isRoot = process.getuid?.() === 0

describe('a pod', { skip: !isRoot, meta: isRoot ? {} : { skipped: 'only root can lay out a pod’s volumes' } }, () => {
  const manifests = buildManifests()
  const pod = onlyOne(manifests, 'Deployment').spec.template.spec
  const user: number = pod.securityContext.runAsUser
  const shipped = onlyOne(manifests, 'ConfigMap').data['pinbridge.yaml']
  const [client] = parse(shipped).clients
  const folder = temporaryFolder()
  const root = join(folder.path, 'root')
  const kubelet = new Kubelet(root, pod)
  let token: TestToken
  let redis: TestRedis
  let certificates: DevelopmentCertificates
  let storeCa: string
  let keys: ProductionKey[]
  let config: string
  let service: Service | undefined

  beforeAll(async () => {
    chmodSync(folder.path, 0o755)
    ;[token, redis, certificates] = await Promise.all([
      makeTestToken('softhsm'),
      startRedis({ tls: true, password: STORE_PASSWORD }),
      certify(),
    ])
    storeCa = (await testCertificates()).ca
    Object.assign(process.env, token.members.environment)
    keys = await bringIn(token.members, token.pin, parse(shipped).keys)
    // The token's own folder stands for the HSM.
    cpSync(join(token.members.environment['SOFTHSM2_CONF']!, '../token'), join(folder.path, 'hsm'), { recursive: true })
    execFileSync('chown', ['-R', `${user}:${user}`, join(folder.path, 'hsm')])
    config = kubelet.placed(configFor(shipped))
    kubelet.mount(contents())
  })
  afterAll(async () => {
    await service?.stop()
    await redis?.dispose()
    await token?.dispose()
    folder.dispose()
  })

  /** The shipped configuration with the keys of the token, the store of the test, and SoftHSM's variable for the vendor's. */
  function configFor(text: string): string {
    const data = parse(text)
    data.keys = keys.map(({ entry }) => entry)
    data.limits.store.url = redis.url
    data.limits.store.timeoutMs = 5000
    data.hsm.tokenLabel = token.members.tokenLabel
    data.hsm.environment = { SOFTHSM2_CONF: data.hsm.environment.HSM_CLIENT_CONF }
    // One is enough here, and starts sooner than two.
    data.hsm.vaults = 1
    return stringify(data, { aliasDuplicateObjects: false })
  }

  function contents(): Contents {
    const { ca, server } = certificates
    return {
      pinbridge: { 'pinbridge.yaml': config },
      'pinbridge-tls': { 'tls.crt': server.certificate, 'tls.key': server.privateKey },
      'pinbridge-client-ca': { 'ca.crt': ca },
      'pinbridge-hsm-pin': { pin: token.pin },
      'pinbridge-limit-store': { password: STORE_PASSWORD, 'ca.crt': storeCa },
    }
  }

  /** Runs the command of an init container, as the pod's user. */
  function runInitContainer(name: string): void {
    const container = pod.initContainers.find((each: Manifest) => each.name === name)
    const command = container.command.map((word: string) =>
      kubelet
        .placed(word)
        .replace('/opt/vendor', join(folder.path, 'image/opt/vendor'))
        .replace(/^\/opt\/pinbridge.*node$/, NODE),
    )
    execFileSync(command[0], command.slice(1), { uid: user, gid: user })
  }

  function serve(): Promise<Service> {
    const path = join(kubelet.pathOf('config'), 'pinbridge.yaml')
    return startService({ config: path, url: '', management: '', ca: '', clients: [], recipients: [], keys: [] }, user)
  }

  it('has its HSM client copied and the directory of its record made by the init containers', () => {
    const vendor = join(folder.path, 'image/opt/vendor')
    mkdirSync(join(vendor, 'lib'), { recursive: true })
    mkdirSync(join(vendor, 'etc'))
    cpSync(token.members.module, join(vendor, 'lib/libpkcs11.so'))
    const tokens = join(folder.path, 'hsm')
    writeFileSync(join(vendor, 'etc/client.conf'), `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`)
    for (const name of ['hsm-client', 'audit-directory']) runInitContainer(name)
    const { uid, mode } = statSync(join(kubelet.pathOf('audit'), 'record'))
    expect([uid, mode & 0o777]).toEqual([user, 0o700])
  })

  it('finds its secrets as links to files of root’s that its own group may read', () => {
    const { uid, gid, mode } = statSync(join(kubelet.pathOf('tls'), 'tls.key'))
    expect([uid, gid, mode & 0o7777]).toEqual([0, user, 0o440])
  })

  it('serves from them', async () => {
    service = await serve()
    // The store's connection may come after the vault.
    await expect.poll(translate, PATIENCE).toBe('200')
    expect(await inUse()).toEqual({ inUse: sha256(config), renewing: 0 })
  })

  it('takes a new certificate and a new configuration over while it runs, as the kubelet swaps them', async () => {
    certificates = await certify()
    kubelet.project('tls', contents()['pinbridge-tls']!)
    kubelet.project('client-ca', contents()['pinbridge-client-ca']!)
    config = config.replace('id: cms-adapter', 'id: cms-adapter-2')
    kubelet.project('config', contents()['pinbridge']!)
    await expect.poll(translate, PATIENCE).toBe('200')
    await expect.poll(inUse, PATIENCE).toEqual({ inUse: sha256(config), renewing: 0 })
  })

  it('is stopped within its grace, and its record goes on in the pod that follows', async () => {
    expect(await service!.stop()).toBe(0)
    service = undefined
    kubelet.remount('audit')
    runInitContainer('audit-directory')
    service = await serve()
    await expect.poll(translate, PATIENCE).toBe('200')
    await service.stop()
  })

  it('would be refused where the kubelet opens the record to the group, or a secret to another one', async () => {
    const path = join(kubelet.pathOf('config'), 'pinbridge.yaml')
    kubelet.remount('audit', 'Always')
    chownSync(join(kubelet.pathOf('hsm-pin'), 'pin'), 0, user + 1)
    chmodSync(join(kubelet.pathOf('hsm-pin'), 'pin'), 0o444)
    chownSync(join(kubelet.pathOf('tls'), 'tls.key'), 0, user)
    chmodSync(join(kubelet.pathOf('tls'), 'tls.key'), 0o460)
    const { code, stderr } = await pinbridge(['serve', '--config', path], {}, user)
    expect(code).toBe(78)
    expect(stderr).toMatch(/audit\.directory: must be closed to group and others, and its mode is 2770/)
    expect(stderr).toMatch(/pinFile: must be closed to group and others, and its mode is 0444/)
    expect(stderr).toMatch(/privateKey: must be closed to group and others, and its mode is 0460/)
  })

  function certify(): Promise<DevelopmentCertificates> {
    return makeDevelopmentCertificates({
      hosts: ['localhost', '127.0.0.1'],
      clients: [{ id: client.id, dnsNames: [client.dnsName] }],
    })
  }

  /** By a connection of its own with the certificates of now: its status, or why there is none. */
  async function translate(): Promise<string> {
    const url = service!.ready.url.replace('0.0.0.0', '127.0.0.1')
    const { certificate, privateKey } = certificates.clients[0]!
    const dispatcher = new Agent({ connect: { ca: certificates.ca, cert: certificate, key: privateKey } })
    try {
      const { statusCode, body } = await request(`${url}/v1/pin-blocks/translate`, {
        dispatcher,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(question()),
      })
      await body.dump()
      return String(statusCode)
    } catch (error) {
      return (error as { code: string }).code
    } finally {
      await dispatcher.destroy()
    }
  }

  async function inUse(): Promise<unknown> {
    return (await service!.manage('/readyz')).json.configuration
  }

  function question(): object {
    const { value } = keys.find(({ entry }) => entry.id === 'zpk')!
    const cipher = createCipheriv('des-ede-ecb', Buffer.from(value, 'hex'), null).setAutoPadding(false)
    const pinBlock = cipher.update('041234FEDCBA9876', 'hex', 'hex')
    const zone = { key: 'zpk', format: 'ISO-0' }
    return { pinBlock, from: zone, to: zone, card: { pan: PAN } }
  }
})

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
