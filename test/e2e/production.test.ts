/** A service that is in production: with keys that are made for it, and with none of development; and development with none of its. */
import { createCipheriv } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse, stringify } from 'yaml'
import type { DevelopmentSetUp } from '../../src/cli/development/set-up.ts'
import { loadConfig } from '../../src/config/config.ts'
import { strangersInLog } from '../support/log-records.ts'
import { makeProductionKeys, type ProductionKey } from '../support/production-keys.ts'
import { giveToUnprivileged, makeSetUp, pinbridge, startService, temporaryFolder } from '../support/service.ts'
import { clearBlock, newPan, newPin } from './routes/issuer.ts'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp
/** In the token, beside those of development. */
let made: ProductionKey[]
/** Who is not root, whom production wants. */
let user: number | undefined

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  const address = loadConfig(setUp.config).hsm.tokens[0]!
  Object.assign(process.env, address.environment)
  made = await makeProductionKeys(address, readFileSync(address.pinFile, 'utf8').trimEnd())
  user = giveToUnprivileged(folder.path)
})
afterAll(() => folder.dispose())

/** The set-up for an environment with the production keys, and of the development keys those that are named. */
function configFor(environment: string, developmentKeys: readonly string[] = []): DevelopmentSetUp {
  const config = parse(readFileSync(setUp.config, 'utf8'))
  const others = config.keys.filter(({ id }: { id: string }) => developmentKeys.includes(id))
  const keys = [...made.map(({ entry }) => entry), ...others]
  const grant = { operations: ['pin-blocks/translate'], keys: ['zone-a', 'zone-b'], formats: ['ISO-0'] }
  Object.assign(config, { environment, keys, d1: {}, clients: [{ ...config.clients[0], grants: [grant] }] })
  config.audit.key = 'record'
  // Which development refuses.
  if (environment === 'production') config.listeners.management.host = '0.0.0.0'
  const path = setUp.config.replace(/\.yaml$/, `-${keys.length}-${environment}.yaml`)
  writeFileSync(path, stringify(config, { aliasDuplicateObjects: false }))
  giveToUnprivileged(path)
  return { ...setUp, config: path }
}

describe('production', () => {
  it('serves with keys that are made for it, without a warning and beyond loopback', async () => {
    const service = await startService(configFor('production'), user)
    try {
      const pan = newPan()
      const [from, to] = made.map(({ entry, value }) => ({ ...entry, value: Buffer.from(value, 'hex') }))
      const encipher = (key: Buffer, block: string) =>
        createCipheriv('des-ede-ecb', key, null).setAutoPadding(false).update(block, 'hex', 'hex').toUpperCase()
      const block = clearBlock('ISO-0', newPin(), pan)
      const { status, json } = await service.call('POST', '/v1/pin-blocks/translate', {
        pinBlock: encipher(from!.value, block),
        from: { key: 'zone-a', format: 'ISO-0' },
        to: { key: 'zone-b', format: 'ISO-0' },
        card: { pan },
      })
      expect([status, json.pinBlock]).toEqual([200, encipher(to!.value, block)])
      expect((await service.manage('/metrics')).text).toMatch(/^pinbridge_development_mode 0$/m)
      expect(service.output()).not.toMatch(/development/i)
      expect(strangersInLog(service.output())).toEqual([])
    } finally {
      expect(await service.stop()).toBe(0)
    }
  })

  it('refuses a development key beside them, by its name', async () => {
    const { config } = configFor('production', ['zpk-out'])
    const { code, stdout, stderr } = await pinbridge(['serve', '--config', config], {}, user)
    expect([code, stdout]).toEqual([70, ''])
    expect(stderr).toContain('key zpk-out: is a development key, which production refuses')
    expect(stderr).not.toMatch(/key (?:zone|record)/)
  })
})

it('development refuses keys that are made for production', async () => {
  const { config } = configFor('development')
  const { code, stdout, stderr } = await pinbridge(['serve', '--config', config], {}, user)
  expect([code, stdout]).toEqual([70, ''])
  for (const id of ['zone-a', 'zone-b', 'record'])
    expect(stderr).toContain(`key ${id}: its CKA_LABEL does not name this purpose, id and version`)
})
