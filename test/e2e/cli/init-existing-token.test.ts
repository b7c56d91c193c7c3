import { chmodSync, copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { initOptions, pinbridge, temporaryFolder } from '../../support/service.ts'
import { makeTestToken, TOKEN_KINDS, type TestToken, type TokenKind } from '../../support/tokens.ts'

const folder = temporaryFolder()
const init = (name: string, ...options: string[]) =>
  pinbridge(['init', '--dev', '--dir', join(folder.path, name), '--json', ...options])
afterAll(() => folder.dispose())

/** Every key that a set-up may have, in its order. */
const EVERY_KEY = [
  'jwe-ec',
  'jwe-rsa',
  'zpk-in',
  'zpk-out',
  'zpk-aes',
  'seccos-pin',
  'prw',
  'pin-mac',
  'prw-aes',
  'pin-mac-aes',
  'assertion',
  'jwe-open',
  'audit-mac',
  'limit-hash',
]

/** What each token cannot hold: openCryptoki's has no elliptic curves, p11-kit passes no ECDH on. */
const LEFT_OUT: Record<TokenKind, readonly string[]> = {
  softhsm: [],
  nss: [],
  opencryptoki: ['jwe-ec', 'assertion', 'jwe-open'],
  'p11-kit': ['jwe-ec', 'jwe-open'],
}

describe.each(TOKEN_KINDS)('pinbridge init --dev on a token that is there, %s', (kind) => {
  let token: TestToken
  let made: Awaited<ReturnType<typeof pinbridge>>
  const config = () => parse(readFileSync(join(folder.path, kind, 'pinbridge.yaml'), 'utf8'))
  beforeAll(async () => {
    token = await makeTestToken(kind)
    made = await init(kind, ...initOptions(token.members))
  })
  afterAll(() => token.dispose())

  it('makes the keys that the token can hold, and names the others with a reason on standard error', () => {
    const leftOut = LEFT_OUT[kind]
    const notes = leftOut.map((id) =>
      expect.stringMatching(`^key ${id} is left out: the token cannot hold it \\(.+\\)$`),
    )
    expect([made.code, made.stderr.split('\n').slice(0, -1)]).toEqual([0, notes])
    const { keys } = JSON.parse(made.stdout)
    expect(keys.map(({ id }: any) => id)).toEqual(EVERY_KEY.filter((id) => !leftOut.includes(id)))
    expect(config().keys.map(({ id }: any) => id)).toEqual(keys.map(({ id }: any) => id))
    const own = ['audit-mac', 'limit-hash']
    expect(config().clients[0].grants[0].keys).toEqual(
      keys.map(({ id }: any) => id).filter((id: string) => !own.includes(id)),
    )
  })

  it('writes the token into the configuration as it was told, and makes no token and no PIN file', () => {
    expect(config().hsm).toEqual(token.members)
    expect(readdirSync(join(folder.path, kind)).filter((name) => !name.endsWith('.pem'))).toEqual([
      'audit',
      'pinbridge.yaml',
    ])
  })

  it('gives a set-up that doctor finds right', async () => {
    const { code, stdout } = await pinbridge(['doctor', '--config', join(folder.path, kind, 'pinbridge.yaml')])
    expect([code, stdout.split('\n').filter((line) => line.startsWith('wrong'))]).toEqual([0, []])
  })

  it('makes no second set of keys beside the first, and leaves that as it is', async () => {
    const again = await init(`${kind}-again`, ...initOptions(token.members))
    expect([again.code, again.stdout]).toEqual([69, ''])
    expect(again.stderr).toContain('key zpk-in: the token holds one of this id already, and it is left as it is')
    expect(readdirSync(join(folder.path, `${kind}-again`))).toEqual([])
    const { code } = await pinbridge(['doctor', '--config', join(folder.path, kind, 'pinbridge.yaml')])
    expect(code).toBe(0)
  })
})

describe('pinbridge init --dev on a token that is there', () => {
  let token: TestToken
  beforeAll(async () => {
    token = await makeTestToken('softhsm')
  })
  afterAll(() => token.dispose())
  const withPin = (name: string, pin: string, mode = 0o600) => {
    const pinFile = join(folder.path, name)
    writeFileSync(pinFile, pin, { mode })
    chmodSync(pinFile, mode)
    return { pinFile, options: initOptions({ ...token.members, pinFile }) }
  }

  it('takes relative paths and writes them whole', async () => {
    const pinFile = relative(process.cwd(), token.members.pinFile)
    const module = relative(process.cwd(), token.members.module)
    const { code } = await init('relative', ...initOptions({ ...token.members, module, pinFile }))
    expect(code).toBe(0)
    const { hsm } = parse(readFileSync(join(folder.path, 'relative', 'pinbridge.yaml'), 'utf8'))
    expect(hsm).toEqual(token.members)
  })

  it.each([
    ['--module and --token-label', ['module', 'tokenLabel']],
    ['--token-label', ['tokenLabel']],
    ['--pin-file', ['pinFile']],
    ['--library-parameters', ['libraryParameters']],
    ['--environment', ['environment']],
  ])('refuses %s without the rest, and makes nothing', async (_what, members) => {
    const all = { module: '/m.so', tokenLabel: 'label', pinFile: '/p', libraryParameters: 'x=y', environment: 'A=B' }
    const options = Object.entries(all)
      .filter(([member]) => members.includes(member))
      .flatMap(([member, value]) => [`--${member.replace(/[A-Z]/g, (each) => `-${each.toLowerCase()}`)}`, value])
    const { code, stdout, stderr } = await init('half', ...options)
    expect([code, stdout, stderr]).toEqual([
      64,
      '',
      'a token that is there needs all of --module, --token-label and --pin-file\n',
    ])
    expect(existsSync(join(folder.path, 'half'))).toBe(false)
  })

  it.each(['NAME', '=VALUE', 'LD_PRELOAD=/x.so', 'NODE_OPTIONS=--inspect', 'PINBRIDGE_CONFIG=x', '1A=B', 'A B=C'])(
    'refuses the variable %s',
    async (pair) => {
      const { code, stderr } = await init('variable', ...initOptions(token.members), '--environment', pair)
      expect(code).not.toBe(0)
      expect(stderr).toContain('a variable that may be set for a PKCS#11 module')
      expect(existsSync(join(folder.path, 'variable'))).toBe(false)
    },
  )

  it('refuses a PIN file that is not there, is empty, or is open to others', async () => {
    const missing = initOptions({ ...token.members, pinFile: join(folder.path, 'nowhere') })
    for (const [options, sentence] of [
      [missing, '--pin-file: does not exist\n'],
      [withPin('empty', '').options, '--pin-file: is empty\n'],
      [
        withPin('open', `${token.pin}\n`, 0o644).options,
        '--pin-file: must be closed to group and others, and its mode is 0644\n',
      ],
    ] as const) {
      const { code, stdout, stderr } = await init('no-pin', ...options)
      expect([code, stdout, stderr]).toEqual([78, '', sentence])
      expect(readdirSync(join(folder.path, 'no-pin'))).toEqual([])
    }
  })

  it('tries a wrong PIN once, and not again until the file changes', async () => {
    const { pinFile, options } = withPin('wrong', '00000000\n')
    const first = await init('wrong-pin', ...options)
    expect([first.code, first.stderr]).toEqual([69, 'hsm.pinFile: the token refused the PIN (CKR_PIN_INCORRECT)\n'])
    const second = await init('wrong-pin', ...options)
    expect([second.code, second.stderr]).toEqual([
      78,
      'hsm.pinFile: the token refused this PIN before, and it is not tried again until the file changes\n',
    ])
    copyFileSync(token.members.pinFile, pinFile)
    const other = await makeTestToken('softhsm')
    try {
      const { code } = await init('right-pin', ...initOptions({ ...other.members, pinFile }))
      expect(code).toBe(0)
    } finally {
      await other.dispose()
    }
  })

  it('says which token is not there', async () => {
    const { code, stderr } = await init('absent', ...initOptions({ ...token.members, tokenLabel: 'another' }))
    expect([code, stderr]).toEqual([69, 'hsm.tokenLabel: 0 tokens carry this label, one is needed\n'])
    expect(readdirSync(join(folder.path, 'absent'))).toEqual([])
  })
})
