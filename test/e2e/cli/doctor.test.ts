/** `pinbridge doctor` on tokens that are damaged on purpose; each test has a copy of one token to itself. */
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pkcs11 from 'pkcs11js'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Finding } from '../../../src/cli/doctor/finding.ts'
import type { DevelopmentSetUp } from '../../../src/cli/development/set-up.ts'
import { editConfig, makeSetUp, pinbridge, temporaryFolder } from '../../support/service.ts'
import { Shim } from '../../support/shim.ts'
import { SecondHand } from '../failures/second-hand.ts'

const OTHER_VALUE = '0123456789ABCDEFFEDCBA9876543210'

const folder = temporaryFolder()
let shim: Shim
let setUp: DevelopmentSetUp

beforeAll(async () => {
  shim = new Shim(folder.path)
  setUp = await makeSetUp(folder.path, (config) => shim.insert(config.hsm))
})
beforeEach(() => shim.clear())
afterAll(() => {
  shim.close()
  folder.dispose()
})

/** A configuration beside the first, with something changed. */
function copyOf(name: string, edit: (config: any) => void): string {
  const path = join(folder.path, 'dev', `${name}.yaml`)
  copyFileSync(setUp.config, path)
  chmodSync(path, 0o600)
  editConfig(path, edit)
  return path
}

/** A copy of the token with its keys and its PIN file, or an empty folder, and a configuration for it. */
function otherToken(name: string, edit?: (config: any) => void, isEmpty = false): string {
  const at = (file: string) => join(folder.path, 'dev', `${name}${file}`)
  const tokens = at('-token')
  if (isEmpty) mkdirSync(tokens, { mode: 0o700 })
  else cpSync(join(folder.path, 'dev', 'token'), tokens, { recursive: true })
  writeFileSync(at('.conf'), `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`)
  copyFileSync(join(folder.path, 'dev', 'hsm-pin'), at('-pin'))
  return copyOf(name, (config) => {
    config.hsm.environment.SOFTHSM2_CONF = at('.conf')
    config.hsm.pinFile = at('-pin')
    edit?.(config)
  })
}

function initToken(config: string, label: string): void {
  const env = { PATH: process.env['PATH'], SOFTHSM2_CONF: config.replace(/\.yaml$/, '.conf') }
  const pin = readFileSync(config.replace(/\.yaml$/, '-pin'), 'utf8').trim()
  const args = ['--init-token', '--free', '--label', label, '--so-pin', pin, '--pin', pin]
  execFileSync('softhsm2-util', args, { env, stdio: 'pipe' })
}

interface Examined {
  readonly code: number
  readonly all: readonly Finding[]
  readonly wrong: readonly Finding[]
  /** The findings of one subject. */
  readonly of: (subject: string) => readonly Finding[]
}

async function doctor(config: string, ...more: string[]): Promise<Examined> {
  const { code, stdout } = await pinbridge(['doctor', '--config', config, '--json', ...more])
  const { findings: all, counts } = JSON.parse(stdout) as { findings: Finding[]; counts: Record<string, number> }
  const wrong = all.filter(({ verdict }) => verdict === 'wrong')
  expect(counts['wrong']).toBe(wrong.length)
  // Whoever is told that something is wrong is told what to do.
  expect(wrong.filter(({ todo }) => todo === undefined)).toEqual([])
  return { code, all, wrong, of: (subject) => all.filter((finding) => finding.subject === subject) }
}

describe('pinbridge doctor on a token that is right', () => {
  it('prints a table by topic, every key with its KCV, what to do about each note, and a count, and exits 0', async () => {
    const { code, stdout } = await pinbridge(['doctor', '--config', setUp.config])
    expect(code).toBe(0)
    const headings = stdout.split('\n').filter((line) => /^[A-Z ]+$/.test(line))
    expect(headings.slice(0, 5)).toEqual(['CONFIGURATION', 'TOKEN', 'KEYS', 'MECHANISMS', 'PROFILES AND ROUTES'])
    for (const subject of [
      'configuration',
      'module',
      'token',
      'login',
      'RSA-OAEP-256',
      'calls',
      'server certificate',
    ]) {
      expect(stdout).toMatch(new RegExp(`^ok +${subject} `, 'm'))
    }
    for (const { id, algorithm, kcv } of setUp.keys) {
      expect(stdout).toMatch(new RegExp(`^ok +key ${id} v1 .*${algorithm}, KCV ${kcv}, active: found once`, 'm'))
    }
    expect(stdout).toMatch(/^ok +token .*serial number [0-9a-f]{16}/m)
    expect(stdout).toMatch(/^note +profile prw seccos-3des .*not the licensed.*\n +→ .*`profiles`/m)
    expect(stdout).toMatch(/^note +environment .*development/m)
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^Nothing is wrong: 0 wrong, \d+ to know, \d+ right\.$/)
    for (const { value } of setUp.keys) if (value) expect(stdout.toUpperCase()).not.toContain(value)
    expect(stdout).not.toContain('\x1b')
    expect(shim.calls('C_Login')).toBe(1)
  })

  it('says the same as JSON, with the age of keys, their last day, unfinished rotations and retired keys', async () => {
    const inTenDays = new Date(Date.now() + 10 * 86_400_000).toISOString().slice(0, 10)
    const config = otherToken('dates', ({ keys }) => {
      const key = (id: string) => keys.find((each: any) => each.id === id)
      Object.assign(key('zpk-in'), { created: '2020-01-31', expires: '2021-01-31' })
      Object.assign(key('zpk-out'), { expires: inTenDays })
      Object.assign(key('prw-aes'), { state: 'retiring', expires: '2099-01-01' })
      Object.assign(key('zpk-aes'), { state: 'retired', expires: '2021-01-31' })
    })
    const { code, all, wrong, of } = await doctor(config)
    expect(code).toBe(69)
    for (const finding of all) {
      expect(['topic,subject,verdict,text', 'topic,subject,verdict,text,todo']).toContain(Object.keys(finding).join())
    }
    expect(wrong).toMatchObject([
      { subject: 'key zpk-in v1', text: 'it expired on 2021-01-31, and is used all the same' },
    ])
    expect(of('key zpk-in v1')[0]?.text).toMatch(/made on 2020-01-31 \(\d{4} days ago\)$/)
    expect(of('key zpk-out v1')[1]).toMatchObject({ verdict: 'note', text: `it expires on ${inTenDays}, in 10 days` })
    expect(of('key prw-aes v1')).toMatchObject([{ verdict: 'ok' }])
    expect(of('rotation of prw-aes')).toMatchObject([{ verdict: 'note', text: 'not finished: v1 is retiring' }])
    expect(of('key zpk-aes v1')).toHaveLength(1)
    expect(of('key zpk-aes v1')[0]?.text).toMatch(/retired: not in use, its objects are still in the token$/)
  })
})

describe('pinbridge doctor on a token whose keys are not what they were', () => {
  it('names each key and each attribute, says what to do, goes on with the rest, and exits 69', async () => {
    const config = otherToken('damaged', ({ keys }) => {
      keys.find((key: any) => key.id === 'pin-mac-aes').check = '00'.repeat(16)
      keys.find((key: any) => key.id === 'zpk-aes').exportable = true
    })
    SecondHand.use({ ...setUp, config }, (hand) => {
      const other = hand.describe('zpk-out.v1')
      const withId = (id: string) =>
        other.map((each) => (each.type === pkcs11.CKA_ID ? { ...each, value: Buffer.from(id) } : each))
      const labelled = (id: string, label: string) =>
        withId(id).map((each) => (each.type === pkcs11.CKA_LABEL ? { ...each, value: Buffer.from(label) } : each))
      hand.destroy('zpk-in.v1')
      hand.destroy('jwe-rsa.v1', pkcs11.CKO_PRIVATE_KEY)
      hand.create(hand.describe('prw.v1'), OTHER_VALUE)
      const seccos = hand.describe('seccos-pin.v1')
      hand.destroy('seccos-pin.v1')
      hand.create(
        seccos.map((each) => (each.type === pkcs11.CKA_EXTRACTABLE ? { ...each, value: Buffer.of(1) } : each)),
        OTHER_VALUE,
      )
      hand.destroy('zpk-out.v1')
      hand.create(other, OTHER_VALUE)
      hand.create(withId('somebody'), OTHER_VALUE)
      hand.create(labelled('left-over', 'left over'), OTHER_VALUE)
      const aes = hand.describe('zpk-aes.v1')
      hand.destroy('zpk-aes.v1')
      hand.create(
        aes.map((each) => (each.type === pkcs11.CKA_EXTRACTABLE ? { ...each, value: Buffer.of(1) } : each)),
        setUp.keys.find(({ id }) => id === 'zpk-aes')!.value!,
      )
    })
    const { code, of, wrong } = await doctor(config)
    expect(code).toBe(69)
    const said = (subject: string) =>
      of(subject)
        .filter(({ verdict }) => verdict === 'wrong')
        .map(({ text, todo }) => [text.replace(/^.*(?:active|retiring|pending): /, ''), todo])
    expect(said('key zpk-in v1')).toEqual([
      ['it is not in the token (no key has the CKA_ID zpk-in.v1)', expect.stringContaining('import the key again')],
    ])
    expect(said('key jwe-rsa v1')).toEqual([
      [
        'it is not in the token (no key has the CKA_ID jwe-rsa.v1)',
        expect.stringContaining('restore the HSM’s backup'),
      ],
    ])
    expect(said('key prw v1')[0]).toEqual([
      'it is in the token 2 times (CKA_ID prw.v1), and nobody can tell which is meant',
      expect.stringMatching(/find out which one has the KCV [0-9A-F]{6}/),
    ])
    expect(said('key seccos-pin v1')).toEqual([
      ['CKA_EXTRACTABLE must be false', expect.stringContaining('pinbridge rotate seccos-pin')],
    ])
    expect(said('key zpk-out v1')).toEqual([
      ['it does not give its known answer', expect.stringContaining('Compare the KCV')],
      ['its label stands on secret key object somebody too', expect.stringContaining('destroy or rename it')],
    ])
    expect(said('key pin-mac-aes v1')[0]?.[0]).toBe('it does not give its known answer')
    expect(of('unknown key').map(({ verdict, text }) => `${verdict} ${text}`)).toEqual([
      expect.stringMatching(/^note CKA_ID left-over, CKA_LABEL left over: /),
      expect.stringMatching(/^note CKA_ID somebody, .*a secret key that the configuration does not know$/),
    ])
    expect(of('key zpk-aes v1')).toMatchObject([
      { verdict: 'note', text: expect.stringMatching(/known answer right; exportable: /) },
    ])
    for (const id of ['jwe-ec', 'prw-aes', 'audit-mac']) {
      expect(of(`key ${id} v1`)).toMatchObject([{ verdict: 'ok' }])
    }
    expect(wrong.map(({ subject }) => subject)).toContain('route pin/set of 3DES_SECCOS')
    expect(of('ECDH-ES')).toMatchObject([{ verdict: 'ok' }])
  })

  it('says that a token which was initialised anew holds none of them', async () => {
    const config = otherToken('anew', undefined, true)
    initToken(config, 'pinbridge-dev')
    const { code, of } = await doctor(config)
    expect(code).toBe(69)
    expect(of('all keys')).toMatchObject([{ verdict: 'wrong', todo: expect.stringContaining('backup') }])
    expect(of('login')).toMatchObject([{ verdict: 'ok' }])
  })
})

describe('pinbridge doctor on a token that cannot be logged in to', () => {
  it('tries a wrong PIN once, says so without the PIN, remembers it, and never tries it again', async () => {
    const config = otherToken('wrong-pin')
    writeFileSync(config.replace(/\.yaml$/, '-pin'), '998877665544\n', { mode: 0o600 })
    const before = shim.calls('C_Login')
    const { code, of, all } = await doctor(config)
    expect(code).toBe(69)
    expect(of('login')).toEqual([
      {
        topic: 'token',
        subject: 'login',
        verdict: 'wrong',
        text: 'hsm.pinFile: the token refused the PIN (CKR_PIN_INCORRECT)',
        todo: expect.stringContaining('right user PIN into the file of `hsm.pinFile`'),
      },
    ])
    expect(JSON.stringify(all)).not.toContain('998877665544')
    const again = await doctor(config)
    expect(again.of('login')).toMatchObject([{ verdict: 'wrong', todo: expect.stringContaining('.refused') }])
    expect(again.of('token')).toMatchObject([{ verdict: 'ok' }])
    expect(shim.calls('C_Login') - before).toBe(1)
  })

  it('logs in to none that one wrong PIN more would lock, and says what sets its count back', async () => {
    shim.setTokenFlags(pkcs11.CKF_USER_PIN_FINAL_TRY)
    const before = shim.calls('C_Login')
    const { code, of } = await doctor(setUp.config)
    expect(code).toBe(69)
    expect(of('PIN tries')).toMatchObject([
      { verdict: 'wrong', text: expect.stringContaining('one wrong PIN more locks the token') },
    ])
    expect(shim.calls('C_Login') - before).toBe(0)
  })
})

describe('pinbridge doctor on a module or token that is not there', () => {
  it('says which tokens are, where none or two carry the label, and that their folder is away', async () => {
    const two = otherToken('two', undefined)
    initToken(two, 'pinbridge-dev')
    const { code, of } = await doctor(two)
    expect([code, of('token')[0]?.verdict]).toEqual([69, 'wrong'])
    expect(of('token')[0]?.text).toMatch(/^2 tokens carry the label .*serial numbers [0-9a-f]{16}, [0-9a-f]{16}\)/)

    editConfig(two, (config) => (config.hsm.tokenLabel = 'nobody'))
    const none = await doctor(two)
    expect([none.code, none.wrong.map(({ subject }) => subject)]).toEqual([69, ['token']])
    expect(none.wrong[0]?.text).toMatch(/the module shows pinbridge-dev,/)

    writeFileSync(two.replace(/\.yaml$/, '.conf'), `directories.tokendir = ${folder.path}/nowhere\n`)
    const away = await doctor(two)
    expect([away.code, away.of('token folder')[0]?.verdict]).toEqual([69, 'wrong'])
  })

  it('says that a module is no module, and that one crashed or never answered, and looks at the rest', async () => {
    const none = await doctor(copyOf('module', (config) => (config.hsm.module = '/etc/hostname')))
    expect([none.code, none.wrong.map(({ subject }) => subject)]).toEqual([69, ['module']])
    expect(none.of('server certificate')).toMatchObject([{ verdict: 'ok' }])

    shim.inject({ function: 'C_GetTokenInfo', kind: 'crash' })
    const crashed = await doctor(setUp.config)
    expect([crashed.code, crashed.of('module')[0]?.verdict]).toEqual([69, 'wrong'])
    expect(crashed.of('module')[0]?.text).toMatch(/the module crashed it \(SIG[A-Z]+\)$/)

    shim.clear()
    shim.inject({ function: 'C_GetTokenInfo', kind: 'hang' })
    const hung = await doctor(setUp.config, '--timeout', '2')
    expect([hung.code, hung.of('module')[0]?.verdict]).toEqual([69, 'wrong'])
    expect(hung.of('module')[0]?.text).toMatch(/^the module did not answer within 2 s, while /)
    expect(hung.of('server certificate')).toMatchObject([{ verdict: 'ok' }])
  })
})

describe('pinbridge doctor on a configuration that is wrong', () => {
  it('tells its problems, looks at what can be relied on, and exits 78', async () => {
    const pinFile = join(folder.path, 'dev', 'open-pin')
    copyFileSync(join(folder.path, 'dev', 'hsm-pin'), pinFile)
    chmodSync(pinFile, 0o644)
    const before = shim.calls('C_Login')
    const modes = await doctor(copyOf('modes', (config) => Object.assign(config.hsm, { pinFile })))
    expect(modes.code).toBe(78)
    expect(modes.of('configuration')).toMatchObject([
      { text: expect.stringContaining('hsm.pinFile: must be closed'), todo: expect.stringContaining('chmod go-rwx') },
    ])
    expect(modes.of('token')).toMatchObject([{ verdict: 'ok' }])
    expect(modes.of('login')).toMatchObject([{ verdict: 'note' }])
    expect(shim.calls('C_Login') - before).toBe(0)

    const member = await doctor(
      copyOf('member', (config) => {
        config.more = 1
        config.keys[2].purpose = 'zone-pan'
      }),
    )
    expect(member.code).toBe(78)
    expect(member.of('configuration').map(({ text }) => text)).toEqual([
      expect.stringContaining('keys[2].purpose: must be one of'),
      expect.stringContaining('more: is not a known member'),
    ])
    expect(member.of('keys')[0]?.text).toBe('not looked for, since their entries are wrong: zpk-in v1')
    expect(member.of('unknown key')).toEqual([])
    expect(member.of('key zpk-out v1')).toMatchObject([{ verdict: 'ok' }])

    const path = join(folder.path, 'dev', 'no.yaml')
    writeFileSync(path, 'hsm: [', { mode: 0o600 })
    const none = await doctor(path)
    expect([none.code, none.of('configuration').length > 0, none.of('Node.js').length]).toEqual([78, true, 1])
  })

  it('refuses development keys in production', async () => {
    const { code, wrong } = await doctor(
      copyOf('production', (config) => {
        Object.assign(config, { environment: 'production', acceptDefaultProfiles: true })
        config.d1.recipients = []
        config.clients[0].grants[0].recipients = []
      }),
    )
    expect(code).toBe(69)
    expect(wrong.find(({ subject }) => subject === 'key prw v1')).toMatchObject({
      text: expect.stringContaining('is a development key, which production refuses'),
      todo: expect.stringContaining('pinbridge keys generate'),
    })
  })

  it('refuses an unknown option, a time that is none, and an unknown command', async () => {
    const option = await pinbridge(['doctor', '--config', setUp.config, '--fix'])
    expect([option.code === 0, option.stdout]).toEqual([false, ''])
    expect(option.stderr).toContain("unknown option '--fix'")
    const time = await pinbridge(['doctor', '--config', setUp.config, '--timeout', '0'])
    expect([time.code === 0, time.stdout]).toEqual([false, ''])
    const command = await pinbridge(['operate'])
    expect([command.code === 0, command.stdout]).toEqual([false, ''])
    expect(command.stderr).toContain("unknown command 'operate'")
    expect((await pinbridge(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})
