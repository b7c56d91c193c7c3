import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { gatewayConfig, loadConfig, vaultConfig } from '../../../src/config/config.ts'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

function load(weakPins?: object) {
  site.write('pinbridge.yaml', stringify({ ...validConfig(), ...(weakPins && { weakPins }) }))
  return loadConfig(site.file)
}

const OFF = { repeated: false, rising: false, falling: false, list: [] }
const pins = (count: number) => Array.from({ length: count }, (_, i) => String(i).padStart(5, '0'))

describe('weakPins', () => {
  it('is off unless something is written, member by member', () => {
    expect(load().weakPins).toEqual(OFF)
    expect(load({}).weakPins).toEqual(OFF)
    expect(load({ rising: true }).weakPins).toEqual({ ...OFF, rising: true })
    expect(load({ list: ['0852'] }).weakPins).toEqual({ ...OFF, list: ['0852'] })
  })

  it('reaches the vault and never the gateway', () => {
    const weakPins = { repeated: true, rising: true, falling: false, list: ['2580', '918273645918'] }
    const config = load(weakPins)
    expect(vaultConfig(config, config.hsm.tokens[0]!).weakPins).toEqual(weakPins)
    expect(JSON.stringify(gatewayConfig(config))).not.toMatch(/weakPins|2580|918273645918/)
  })

  it('takes a list of 10 000', () => {
    expect(load({ list: pins(10_000) }).weakPins.list).toHaveLength(10_000)
  })

  it.each<[problem: string, weakPins: Draft]>([
    ['weakPins: must be a set of members', 'CANARY'],
    ['weakPins: must be a set of members', ['1111']],
    ['weakPins.typo: is not a known member', { typo: 'CANARY' }],
    ['weakPins.repeated: must be true or false', { repeated: 'yes' }],
    ['weakPins.rising: must be true or false', { rising: 1 }],
    ['weakPins.falling: is empty', { falling: null }],
    ['weakPins.list: must be a list', { list: '1111' }],
    ['weakPins.list: has the same item twice', { list: ['1111', '2580', '1111'] }],
    ['weakPins.list: must have at most 10000 items', { list: pins(10_001) }],
    ['weakPins.list[1]: must be 4 to 12 digits', { list: ['1111', '111'] }],
    ['weakPins.list[0]: must be 4 to 12 digits', { list: ['1'.repeat(13)] }],
    ['weakPins.list[0]: must be 4 to 12 digits', { list: ['12a4'] }],
    ['weakPins.list[0]: must be 4 to 12 digits', { list: ['1234 '] }],
    ['weakPins.list[0]: must be 4 to 12 digits', { list: ['٤٣٢١'] }],
    ['weakPins.list[0]: must be text: YAML reads it as a number, so put it in quotes', { list: [2580] }],
  ])('%s', (problem, weakPins) => {
    expect(site.problemsAfter((config) => (config.weakPins = weakPins))).toEqual([problem])
  })

  it('never has a PIN of the list in a problem', () => {
    const list = ['918273', '918273', 918273, '918273645918273', 'x918273']
    const problems = site.problemsAfter((config) => (config.weakPins = { list }))
    expect(problems).toHaveLength(4)
    expect(problems.join()).not.toContain('918273')
  })

  it('says of thousands of numbers without quotes that each needs them', () => {
    const list = pins(9000).map((pin) => Number(`1${pin}`))
    const problems = site.problemsOfText(stringify({ ...validConfig(), weakPins: { list } }))
    expect(problems).toHaveLength(9000)
    expect(new Set(problems.map((problem) => problem.replace(/\d+/g, 'N')))).toEqual(
      new Set(['FILE:N: weakPins.list[N]: must be text: YAML reads it as a number, so put it in quotes']),
    )
  })
})
