/** `pinbridge rotate` while the service runs: each step as a command, and what callers are answered after it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { addKeyEntry } from '../../../src/config/edit.ts'
import { loadConfig } from '../../../src/config/config.ts'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { destroyObjects } from '../../../src/hsm/pkcs11/key-objects.ts'
import { openToken } from '../../../src/hsm/pkcs11/module.ts'
import { sealTo } from '../../support/node-jwe.ts'
import { PseudoTerminal } from '../../support/pseudo-terminal.ts'
import { pinbridge } from '../../support/service.ts'
import { iso0, newPan, newPin, openIssuer, TO, type Issuer } from '../routes/issuer.ts'

let issuer: Issuer
let config: string
beforeAll(async () => {
  issuer = await openIssuer((each) => {
    each.hsm.vaults = 1
  })
  config = issuer.service.setUp.config
})
afterAll(() => issuer.close())

const running = () => ['--config', config, '--management-port', new URL(issuer.service.ready.management).port]
const rotate = (id: string, ...args: string[]) => pinbridge(['rotate', id, ...running(), ...args])
const step = async (id: string, name: string, ...args: string[]) => {
  const { code, stdout, stderr } = await rotate(id, '--step', name, '--yes', '--json', ...args)
  expect([code, stderr]).toEqual([
    0,
    expect.stringContaining('The running service has taken the configuration over.\n'),
  ])
  const { done, service, versions } = JSON.parse(stdout)
  expect([done, service]).toEqual([name, 'yes'])
  return versions.map(({ version, state }: KeyEntry) => `${version} ${state}`)
}
const entries = (id: string) => (parse(readFileSync(config, 'utf8')).keys as KeyEntry[]).filter((key) => key.id === id)
const jwks = async () => (await issuer.service.call('GET', '/v1/jwks')).json.keys as any[]
const setPin = async (jwk: any) => {
  const [pin, pan] = [newPin(), newPan()]
  const body = { type: 'ISO0', encryptedPinBlock: sealTo(iso0(pin, pan), jwk).compact, card: { pan }, to: TO }
  const { status, json } = await issuer.post('/v1/pin/set', body)
  return status === 200 ? issuer.pinOf('zpk-out', 'ISO-0', json.pinBlock, pan) === pin : json.code
}

// Each step waits until every vault has been replaced, however busy the machine is.
describe('pinbridge rotate with a running service', { timeout: 180_000 }, () => {
  it('replaces a JWE key: published beside the old, both opened, the old one retired and destroyed', async () => {
    const before = await jwks()
    const old = before.find(({ kid }) => kid === 'jwe-ec')
    expect(await step('jwe-ec', 'new')).toEqual(['1 active', '2 pending'])
    expect(await jwks()).toEqual(before)
    expect(await step('jwe-ec', 'activate')).toEqual(['1 retiring', '2 active'])
    const set = await jwks()
    const { stdout } = await pinbridge(['keys', 'public', 'jwe-ec', '--config', config])
    const young = JSON.parse(stdout)
    expect(set.map(({ kid }) => kid).sort()).toEqual([young.kid, 'jwe-ec', 'jwe-rsa'].sort())
    expect([set.find(({ kid }) => kid === young.kid), set.at(-1).kid]).toEqual([young, 'jwe-ec'])
    expect([await setPin(old), await setPin(young)]).toEqual([true, true])
    expect(await step('jwe-ec', 'retire')).toEqual(['1 retired', '2 active'])
    expect([await setPin(old), await setPin(young)]).toEqual(['ERR_JWE_INVALID', true])

    const terminal = PseudoTerminal.pinbridge(['keys', 'destroy', 'jwe-ec@1', ...running()])
    await terminal.answer('Type jwe-ec@1 to go on', 'jwe-ec@1')
    expect([(await terminal.end()).code, terminal.shown]).toEqual([
      0,
      expect.stringContaining('is destroyed: 2 objects'),
    ])
    expect(entries('jwe-ec').map(({ version }) => version)).toEqual([2])
    expect(await setPin(young)).toBe(true)
  })

  it('replaces a PRW key as a person agrees to it: what the old one made is verified until it is retired', async () => {
    const pan = newPan()
    const from = { key: 'zpk-in', format: 'ISO-0' }
    const pinBlock = issuer.block('zpk-in', 'ISO-0', newPin(), pan)
    const body = { pinBlock, from, card: { pan, panSequenceNumber: '01' }, change: { counter: '0003' }, key: 'prw' }
    const make = async () => (await issuer.post('/v1/prw/generate', body)).json
    const verify = async (prw: string) => (await issuer.post('/v1/prw/verify', { ...body, prw })).json.verified
    const old = await make()
    expect(await step('prw', 'new', '--generate')).toEqual(['1 active', '2 pending'])
    expect((await make()).prw).toBe(old.prw)

    const terminal = PseudoTerminal.pinbridge(['rotate', 'prw', ...running()])
    const asked = await terminal.answer('Take this step now?', 'y')
    expect(asked).toContain('Next step: activate')
    expect(asked).toContain('From now on PRWs are made with it; those of the old version are still verified.')
    expect((await terminal.end()).code).toBe(0)
    const young = await make()
    expect([old.key.version, young.key.version]).toEqual([1, 2])
    expect([await verify(old.prw), await verify(young.prw)]).toEqual([true, true])
    expect(await step('prw', 'retire')).toEqual(['1 retired', '2 active'])
    expect([await verify(old.prw), await verify(young.prw)]).toEqual([false, true])
  })

  it('takes no step that is not the next, and none that is not agreed to', async () => {
    const before = readFileSync(config, 'utf8')
    const wrong = await rotate('audit-mac', '--step', 'retire', '--yes')
    expect([wrong.code, wrong.stderr]).toEqual([
      64,
      expect.stringContaining('the next step of audit-mac is "new" and not "retire"'),
    ])
    const again = await rotate('prw', '--yes')
    expect([again.code, again.stderr]).toEqual([64, expect.stringContaining('no rotation of prw is under way')])
    const shared = await rotate('zpk-in', '--step', 'new', '--yes')
    expect([shared.code, shared.stderr]).toEqual([
      64,
      expect.stringContaining('came from outside, so that another party has it too'),
    ])
    const terminal = PseudoTerminal.pinbridge(['rotate', 'audit-mac', '--generate', ...running()])
    await terminal.answer('Take this step now?', '')
    expect((await terminal.end()).code).toBe(64)
    const { code, stdout } = await rotate('prw', '--status', '--json')
    expect([code, JSON.parse(stdout).next]).toEqual([0, 'new'])
    expect(readFileSync(config, 'utf8')).toBe(before)
  })

  it('goes no further while the service refuses the configuration, such as one with a key that the token has not', async () => {
    const before = readFileSync(config, 'utf8')
    const [like] = entries('prw-aes')
    addKeyEntry(config, { ...like!, version: 2, state: 'pending' })
    const { code, stderr } = await rotate('prw-aes', '--yes')
    expect([code, stderr]).toEqual([77, expect.stringContaining('has refused the new configuration')])
    expect(entries('prw-aes').map(({ state }) => state)).toEqual(['active', 'pending'])
    writeFileSync(config, before)
  })

  it('takes a step back that the service refuses', async () => {
    expect(await step('pin-mac-aes', 'new', '--generate')).toEqual(['1 active', '2 pending'])
    const before = readFileSync(config, 'utf8')
    const [address] = loadConfig(config).hsm.tokens
    Object.assign(process.env, address!.environment)
    const token = openToken(address!, readFileSync(address!.pinFile, 'utf8').trim())
    try {
      destroyObjects(token, entries('pin-mac-aes')[1]!)
    } finally {
      token.close()
    }
    const { code, stderr } = await rotate('pin-mac-aes', '--step', 'activate', '--yes')
    expect([code, stderr]).toEqual([
      69,
      expect.stringContaining('The step was taken back: the configuration is as it was.'),
    ])
    expect(readFileSync(config, 'utf8')).toBe(before)
  })
})
