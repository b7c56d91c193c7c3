import { stringify } from 'yaml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gatewayConfig, loadConfig, vaultConfig } from '../../../src/config/config.ts'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const load = (change: (config: Draft) => void) => {
  const config = validConfig()
  change(config)
  site.write('pinbridge.yaml', stringify(config, { aliasDuplicateObjects: false }))
  return loadConfig(site.file)
}
/** Of the user that the files belong to, unless that is root, and of another. */
const own = process.getuid!() || 64_101
const user = (uid: number, rest: object = {}) => ({ uid, gid: 64_100, ...rest })
const withUsers = (gateway: object, vault: object) => (config: Draft) =>
  (config.processes = { users: { gateway, vault } })

describe('processes.users', () => {
  it('may be left out', () => {
    expect(load(() => {}).processes).toEqual({})
  })

  it('are two, neither is root, and they differ', () => {
    const problemsOf = (gateway: object, vault: object) =>
      site.problemsAfter(withUsers(gateway, vault)).filter((problem) => problem.startsWith('processes'))
    expect(problemsOf(user(64_101), user(64_101))).toEqual([
      'processes.users.vault.uid: must be another than that of the gateway',
    ])
    expect(problemsOf(user(0), user(64_101))).toHaveLength(1)
    expect(problemsOf(user(64_101, { gid: 0 }), user(64_102))).toHaveLength(1)
    expect(problemsOf(user(64_101, { groups: [0] }), user(64_102))).toHaveLength(1)
    expect(site.problemsAfter((config) => (config.processes = { users: { vault: user(64_101) } }))).toHaveLength(1)
  })

  it('own the secrets that each of them reads', () => {
    const ofAnother = 'must belong to the user of processes.users who reads it'
    const ofGateway = [
      `listeners.api.privateKey: ${ofAnother}`,
      'audit.directory: must belong to the user who writes it',
    ]
    expect(site.problemsAfter(withUsers(user(64_102), user(64_103)))).toEqual([
      `hsm.pinFile: ${ofAnother}`,
      ...ofGateway,
    ])
    if (own === 64_101) return
    expect(site.problemsAfter(withUsers(user(own), user(64_103)))).toEqual([`hsm.pinFile: ${ofAnother}`])
    expect(site.problemsAfter(withUsers(user(64_102), user(own)))).toEqual(ofGateway)
  })
})

describe('the kind of socket that a token is reached by', () => {
  it('is none unless it is said', () => {
    expect(load(() => {}).hsm.tokens[0]!.socket).toBe('none')
    const { hsm } = load((config) => (config.hsm.socket = 'inet'))
    expect(hsm.tokens[0]!.socket).toBe('inet')
  })

  it('is one of three', () => {
    expect(site.problemsAfter((config) => (config.hsm.socket = 'tcp'))).toEqual([
      expect.stringMatching(/^hsm\.socket: .*none.*unix.*inet/),
    ])
  })

  it('goes to the vault, and nothing of it to the gateway', () => {
    const config = load((draft) => (draft.hsm.socket = 'unix'))
    expect(vaultConfig(config, config.hsm.tokens[0]!).hsm.token.socket).toBe('unix')
    expect(JSON.stringify(gatewayConfig(config))).not.toContain('socket')
  })
})
