/** What the commands say when a secret stands where it does not belong: they name the place and never the value. */
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify, parse } from 'yaml'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { bytesCanary, digitsCanary, findCanaries, textCanary, type Canary } from '../../support/canaries.ts'
import { strangersInLog } from '../../support/log-records.ts'
import { makeSetUp, pinbridge, temporaryFolder } from '../../support/service.ts'
import { keyOf, makeBlocks, makeRows, runMigrate } from '../migrate/migration.ts'
import { clearBlock, newPan, newPin } from '../routes/issuer.ts'
import { hsmPin } from './secrets.ts'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp
let pin: string
let canaries: Canary[]
const [customerPin, pan] = [newPin(12), newPan(19)]

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
  pin = hsmPin(setUp.config)
  canaries = [
    textCanary('HSM PIN', pin),
    digitsCanary('PAN', pan),
    digitsCanary('PIN', customerPin),
    ...setUp.keys.flatMap(({ id, value }) =>
      value === undefined ? [] : [bytesCanary(`key ${id}`, Buffer.from(value, 'hex'))],
    ),
  ]
})
afterAll(() => folder.dispose())

/** A configuration beside the real one, with something changed. */
function edited(name: string, edit: (config: any) => void): string {
  const config = parse(readFileSync(setUp.config, 'utf8'))
  edit(config)
  const path = join(dirname(setUp.config), `${name}.yaml`)
  writeFileSync(path, stringify(config, { aliasDuplicateObjects: false }))
  return path
}

const expectNothing = (said: string) => expect(findCanaries(said, canaries)).toEqual([])

describe('a configuration with secrets in the wrong members', () => {
  /** A command that starts with it fails later than the others, so each is tried alone. */
  it.each<[string, (config: any) => void]>([
    ['hsm.pinFile', ({ hsm }) => (hsm.pinFile = pin)],
    ['hsm.tokenLabel', ({ hsm }) => (hsm.tokenLabel = pin)],
    ['hsm.module', ({ hsm }) => (hsm.module = `/${pin}`)],
    ['listeners.api.privateKey', ({ listeners }) => (listeners.api.privateKey = pin)],
  ])('such as %s does not work, and is not shown', async (name, edit) => {
    // Doctor goes on where serve would wait for a token that may yet come.
    const { code, stdout, stderr } = await pinbridge(['doctor', '--config', edited(name, edit)])
    expect(code).not.toBe(0)
    expect(stdout + stderr).toMatch(/\S/)
    expectNothing(stdout + stderr)
  })

  it('is refused by every command, with the places and not the values', async () => {
    const config = edited('misplaced', (all) => {
      all.environment = pan
      all.hsm.pin = pin
      for (const member of ['value', 'check', 'kcv']) all.keys[0][member] = keyOf(setUp, 'zpk-in')
      all.clients[0].grants[0].keys.push(pan)
      all.limits = customerPin
      all.weakPins = { list: [`${customerPin}0`] }
    })
    const zones = ['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-0']
    for (const command of [['serve'], ['doctor'], ['migrate', ...zones, '--in', '-', '--dry-run']]) {
      const { code, stdout, stderr } = await pinbridge([...command, '--config', config])
      expect([command[0], code === 0]).toEqual([command[0], false])
      for (const place of ['environment', 'hsm.pin', 'keys[0].value', 'limits', 'weakPins.list[0]'])
        expect(stdout + stderr).toContain(`${place}: `)
      expectNothing(stdout + stderr)
    }
  })

  it.each(['hsm: [HERE', 'hsm: *HERE'])('is refused where the text is no YAML: %s', async (text) => {
    const path = join(dirname(setUp.config), 'no.yaml')
    writeFileSync(path, text.replace('HERE', pin))
    const { code, stdout, stderr } = await pinbridge(['serve', '--config', path])
    expect(code).toBe(78)
    expectNothing(stdout + stderr)
  })
})

describe('an HSM PIN that is refused', () => {
  it('is not shown by doctor, nor by init on a token that is there', async () => {
    const wrong = `${pin.slice(0, -1)}${pin.endsWith('0') ? 1 : 0}`
    const pinFile = join(folder.path, 'wrong-pin')
    writeFileSync(pinFile, wrong, { mode: 0o600 })
    const { hsm } = parse(readFileSync(setUp.config, 'utf8'))
    const config = edited('wrong-pin', (all) => (all.hsm.pinFile = pinFile))
    const token = ['--module', hsm.module, '--token-label', hsm.tokenLabel, '--pin-file', pinFile]
    const environment = Object.entries<string>(hsm.environment).flatMap(([name, value]) => [
      '--environment',
      `${name}=${value}`,
    ])
    for (const command of [
      ['doctor', '--config', config],
      ['doctor', '--json', '--config', config],
      ['init', '--dev', '--dir', join(folder.path, 'other'), ...token, ...environment],
    ]) {
      const { code, stdout, stderr } = await pinbridge(command)
      expect(code).not.toBe(0)
      expect(findCanaries(stdout + stderr, [...canaries, textCanary('the wrong PIN', wrong)])).toEqual([])
    }
  })
})

describe('a migration', () => {
  it('leaves nothing of a row in its log, progress, summary, record and rejects', async () => {
    const rows = makeRows(300, 7).map((row, i) => (i < 10 ? { ...row, pin: customerPin, pan } : row))
    const blocks = makeBlocks('ISO-0', keyOf(setUp, 'zpk-in'), rows)
    const lines = rows.map(({ id, pan: onCard }, i) => {
      const pinBlock = blocks[i]!
      if (i === 0) return `${onCard},${onCard},${pinBlock}`
      if (i === 1) return `${id},${customerPin},${pinBlock}`
      if (i === 2) return `${id},${onCard},${clearBlock('ISO-0', customerPin, pan)}`
      if (i === 3) return `${pinBlock},${id},${onCard}`
      if (i === 4) return `${id},${onCard},${blocks[20]}`
      return `${id},${onCard},${pinBlock}`
    })
    const input = join(folder.path, 'rows.csv')
    writeFileSync(input, `${lines.join('\n')}\n`)
    const output = join(folder.path, 'out.csv')
    const run = await runMigrate(setUp.config, [
      ...['--from', 'zpk-in:ISO-0', '--to', 'zpk-out:ISO-3', '--in', input, '--out', output, '--json'],
    ])
    expect(run.code).toBe(65)
    const beside = readdirSync(folder.path).filter((name) => name.startsWith('out.csv.'))
    expect(beside.sort()).toEqual(['out.csv.migration.json', 'out.csv.rejects'])
    const said = [run.stdout, run.stderr, ...beside.map((name) => readFileSync(join(folder.path, name), 'utf8'))].join()
    const clear = Buffer.from(clearBlock('ISO-0', customerPin, pan), 'hex')
    expect(said).toContain('migration-ended')
    expect(findCanaries(said, [...canaries, bytesCanary('clear block', clear)])).toEqual([])
    const records = run.stderr.split('\n').filter((line) => line.startsWith('{'))
    expect(records.length).toBeGreaterThan(2)
    expect(strangersInLog(records.join('\n'))).toEqual([])
    // And the PANs are where they belong: the search would find them.
    expect(existsSync(output) && findCanaries(readFileSync(output, 'utf8'), canaries)).toEqual(['PAN'])
  })
})
