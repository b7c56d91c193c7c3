import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { editConfig, makeSetUp, pinbridge, temporaryFolder } from '../../support/service.ts'

const folder = temporaryFolder()
let setUp: DevelopmentSetUp

beforeAll(async () => {
  setUp = await makeSetUp(folder.path)
})
afterAll(() => folder.dispose())

function copyOf(name: string, edit: (config: any) => void): string {
  const path = join(folder.path, 'dev', `${name}.yaml`)
  copyFileSync(setUp.config, path)
  chmodSync(path, 0o600)
  editConfig(path, edit)
  return path
}

async function findings(config: string): Promise<{ code: number; wrong: any[]; all: any[]; stderr: string }> {
  const { code, stdout, stderr } = await pinbridge(['doctor', '--config', config, '--json'])
  const all = JSON.parse(stdout).findings as any[]
  return { code, all, wrong: all.filter(({ verdict }) => verdict === 'wrong'), stderr }
}

describe('pinbridge doctor', () => {
  it('prints a table of module, token, mechanisms, every key with its KCV, and profiles, and exits 0', async () => {
    const { code, stdout, stderr } = await pinbridge(['doctor', '--config', setUp.config])
    expect([code, stderr]).toEqual([0, ''])
    for (const subject of ['configuration', 'module', 'token', 'RSA-OAEP-256', 'ECDH-ES', 'calls']) {
      expect(stdout).toMatch(new RegExp(`^ok +${subject} `, 'm'))
    }
    for (const { id, algorithm, kcv } of setUp.keys) {
      expect(stdout).toMatch(new RegExp(`^ok +key ${id} v1 .*${algorithm}, KCV ${kcv}, active: found once`, 'm'))
    }
    expect(stdout).toMatch(/^note +profile prw seccos-3des .*not the licensed/m)
    expect(stdout).toMatch(/^note +environment .*development/m)
    for (const { value } of setUp.keys) if (value) expect(stdout.toUpperCase()).not.toContain(value)
    const columns = stdout
      .trimEnd()
      .split('\n')
      .map((line) => /^\w+ +(?:[\w.-]+ )*?.*? {2,}/.exec(line)?.[0].length)
    expect(columns.every((width) => width !== undefined)).toBe(true)
  })

  it('prints the same as JSON', async () => {
    const { code, all, wrong } = await findings(setUp.config)
    expect([code, wrong]).toEqual([0, []])
    for (const finding of all) expect(Object.keys(finding)).toEqual(['subject', 'verdict', 'text'])
    expect(all.filter(({ subject }) => subject.startsWith('key '))).toHaveLength(setUp.keys.length)
  })

  it('exits 69 and names a key that is missing or does not give its known answer', async () => {
    const missing = await findings(copyOf('missing', (config) => (config.keys[2].version = 4)))
    expect([missing.code, missing.wrong]).toEqual([
      69,
      [{ subject: 'keys', verdict: 'wrong', text: 'key zpk-in: 0 objects carry its CKA_ID, one is needed' }],
    ])
    const other = await findings(copyOf('check', (config) => (config.keys[2].check = 'A1B2C3')))
    expect([other.code, other.wrong]).toEqual([
      69,
      [{ subject: 'keys', verdict: 'wrong', text: 'key zpk-in: it does not give its known answer' }],
    ])
  })

  it('exits 69 for a wrong PIN, says so without the PIN, and tries once', async () => {
    const pinFile = join(folder.path, 'dev', 'other-pin')
    writeFileSync(pinFile, '998877665544\n', { mode: 0o600 })
    const { code, wrong, stderr } = await findings(copyOf('pin', (config) => (config.hsm.pinFile = pinFile)))
    expect(code).toBe(69)
    expect(wrong).toEqual([
      { subject: 'login', verdict: 'wrong', text: 'hsm.pinFile: the token refused the PIN (CKR_PIN_INCORRECT)' },
    ])
    expect(JSON.stringify(wrong) + stderr).not.toContain('998877665544')
  })

  it('exits 69 for a token that is not there and for a module that is none', async () => {
    const token = await findings(copyOf('token', (config) => (config.hsm.tokenLabel = 'nobody')))
    expect([token.code, token.wrong.map(({ subject }) => subject)]).toEqual([69, ['token']])
    const module = await findings(copyOf('module', (config) => (config.hsm.module = '/etc/hostname')))
    expect([module.code, module.wrong.map(({ subject }) => subject)]).toEqual([69, ['module']])
  })

  it('exits 78 for a broken configuration and tells its problems', async () => {
    const { code, stdout, stderr } = await pinbridge([
      'doctor',
      '--config',
      copyOf('broken', (config) => (config.more = 1)),
    ])
    expect([code, stdout]).toEqual([78, ''])
    expect(stderr).toContain('more')
  })

  it('notes keys that do not serve, and refuses development keys in production', async () => {
    const retired = await findings(
      copyOf('retired', (config) => (config.keys.find((key: any) => key.id === 'zpk-aes').state = 'retired')),
    )
    expect(retired.code).toBe(0)
    expect(retired.all.find(({ subject }) => subject === 'key zpk-aes v1')).toMatchObject({ verdict: 'note' })
    const production = await findings(
      copyOf('production', (config) => {
        Object.assign(config, { environment: 'production', acceptDefaultProfiles: true })
        config.d1.recipients = []
        config.clients[0].grants[0].recipients = []
      }),
    )
    expect(production.code).toBe(69)
    expect(production.wrong.map(({ text }) => text)).toContain(
      'key prw: is a development key, which production refuses',
    )
  })

  it('refuses an unknown option and an unknown command', async () => {
    const option = await pinbridge(['doctor', '--config', setUp.config, '--fix'])
    expect([option.code === 0, option.stdout]).toEqual([false, ''])
    expect(option.stderr).toContain("unknown option '--fix'")
    const command = await pinbridge(['operate'])
    expect([command.code === 0, command.stdout]).toEqual([false, ''])
    expect(command.stderr).toContain("unknown command 'operate'")
    expect((await pinbridge(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it('leaves the PIN file and the configuration as they were', () => {
    expect(readFileSync(join(folder.path, 'dev', 'hsm-pin'), 'utf8')).toMatch(/^\d{12}\n$/)
  })
})
