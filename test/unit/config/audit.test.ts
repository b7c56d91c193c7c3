import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())
const problems = (change: (config: Draft) => void) => site.problemsAfter(change)
const CHECK = { kcv: 'A1B2C3D4E5', check: 'AABBCCDDEEFF00112233445566778899' }
const own = (purpose: string, over: object = {}) => ({
  ...{ id: purpose, version: 2, state: 'active', purpose, algorithm: 'AES-128', origin: 'generated' },
  ...CHECK,
  ...over,
})

describe('audit', () => {
  it('may be left out in development, and not in production', () => {
    expect(problems((config) => delete config.audit)).toEqual([])
    const { audit: _audit, ...config } = validConfig()
    expect(site.problemsOf({ ...config, environment: 'production', acceptDefaultProfiles: true })).toEqual([
      'audit: is missing; production records every operation',
    ])
  })

  it('names an active key that seals', () => {
    const sentence = 'audit.key: must name an active key with the purpose audit-mac'
    expect(problems(({ audit }) => (audit.key = 'pin-mac'))).toEqual([sentence])
    expect(problems(({ audit }) => (audit.key = 'nobody'))).toEqual([sentence])
    expect(problems(({ keys }) => (keys[7].state = 'retiring'))).toEqual([sentence])
  })

  it('has a directory that is its own', () => {
    const at = (name: string) => problems(({ audit }) => (audit.directory = name))
    expect(at('nowhere')).toEqual(['audit.directory: does not exist'])
    writeFileSync(join(site.directory, 'file'), '')
    expect(at('file')).toEqual(['audit.directory: is not a directory'])
    const open = join(site.directory, 'open')
    mkdirSync(open)
    chmodSync(open, 0o750)
    expect(at('open')).toEqual(['audit.directory: must be closed to group and others, and its mode is 0750'])
    if (process.getuid?.() !== 0) return
    chmodSync(open, 0o700)
    chownSync(open, 12_345, 0)
    expect(at('open')).toEqual(['audit.directory: must belong to the user who writes it'])
  })

  it('refuses what it does not know', () => {
    expect(problems(({ audit }) => (audit.whenUnwritable = 'ignore'))).toEqual([
      'audit.whenUnwritable: must be one of refuse, log',
    ])
    expect(problems(({ audit }) => (audit.path = 'x'))).toEqual(['audit.path: is not a known member'])
  })
})

describe("the service's own keys", () => {
  it.each(['audit-mac', 'limit-hash'])(
    'of the purpose %s are of AES, and have no use, profile or format',
    (purpose) => {
      const name = `${purpose === 'audit-mac' ? 'an' : 'a'} ${purpose} key`
      const with8 = (over: object) => problems(({ keys }) => (keys[8] = own(purpose, { id: 'another', ...over })))
      for (const algorithm of ['AES-128', 'AES-192', 'AES-256']) expect(with8({ algorithm })).toEqual([])
      expect(with8({ algorithm: 'TDEA-128', kcv: 'A1B2C3', check: 'AABBCCDDEEFF0011' })).toEqual([
        `keys[8].algorithm: must be one of AES-128, AES-192, AES-256 for ${name}`,
      ])
      for (const [member, value] of [
        ['use', ['generate']],
        ['profile', 'dk-aes'],
        ['formats', ['ISO-4']],
        ['direction', 'out'],
        ['migrate', true],
      ] as const) {
        expect(with8({ [member]: value })).toEqual([`keys[8].${member}: does not belong to ${name}`])
      }
      const { check: _check, ...withoutCheck } = own(purpose, { id: 'another' })
      expect(problems(({ keys }) => (keys[8] = withoutCheck))).toEqual([`keys[8].check: is missing; ${name} needs it`])
      expect(with8({ check: 'AABBCCDDEE' })).toEqual([`keys[8].check: must be 16 bytes for ${name} of AES-128`])
    },
  )

  it('that hash are one at a time', () => {
    const two = (state: string) => (config: Draft) =>
      config.keys.push(own('limit-hash', { id: 'hash-1' }), own('limit-hash', { id: 'hash-2', state }))
    expect(problems(two('retired'))).toEqual([])
    expect(problems(two('active'))).toEqual([
      'keys[9].state: keys[8] is active too, and one limit-hash key is at a time',
    ])
  })
})
