import { join } from 'node:path'
import { stringify } from 'yaml'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadConfig, vaultConfig } from '../../../src/config/config.ts'
import { pinOwnersIn } from '../../../src/config/pin-owners.ts'
import { TOKEN_MEMBERS } from '../../../src/config/one-token.ts'
import { Token } from '../../../src/config/schema.ts'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

function load(edit: (hsm: Draft) => Draft) {
  const config = validConfig()
  config.hsm = edit(config.hsm) ?? config.hsm
  site.write('pinbridge.yaml', stringify(config, { aliasDuplicateObjects: false }))
  return loadConfig(site.file)
}

const token = (rest: object = {}) => ({ module: './token/module.so', tokenLabel: 'pinbridge', pinFile: 'pin', ...rest })

describe('one token', () => {
  it('may stand in hsm directly, and is a list of one', () => {
    const { tokens, recycle } = load((hsm) => void (hsm.libraryParameters = "configdir='sql:/x'")).hsm
    expect(tokens).toEqual([
      {
        name: 'pinbridge',
        module: join(site.directory, 'token/module.so'),
        tokenLabel: 'pinbridge',
        pinFile: join(site.directory, 'pin'),
        environment: {},
        libraryParameters: "configdir='sql:/x'",
        sessions: 4,
        socket: 'none',
      },
    ])
    expect(recycle.rssMiB).toBe(512)
  })

  it('is the same as a list of it', () => {
    const short = load(() => ({ ...token({ sessions: 2 }), vaults: 3 }))
    const long = load(() => ({ tokens: [token({ sessions: 2 })], vaults: 3 }))
    expect({ ...long, sha256: '' }).toEqual({ ...short, sha256: '' })
  })

  it('needs no name, also where its label cannot be one', () => {
    expect(load((hsm) => void (hsm.tokenLabel = 'NSS Certificate DB')).hsm.tokens[0]!.name).toBe('token')
    expect(load((hsm) => void (hsm.name = 'left')).hsm.tokens[0]!.name).toBe('left')
  })

  it.each<[problem: string, edit: (hsm: Draft) => void]>([
    ['hsm.pinFile: is missing', (hsm) => delete hsm.pinFile],
    ['hsm.module: does not exist', (hsm) => (hsm.module = './none.so')],
    ['hsm.sessions: must be a whole number', (hsm) => (hsm.sessions = 'CANARY')],
    [
      'hsm.environment.LD_PRELOAD: is not a variable that may be set for a PKCS#11 module',
      (hsm) => (hsm.environment = { LD_PRELOAD: 'x' }),
    ],
    ['hsm.typo: is not a known member', (hsm) => (hsm.typo = 'CANARY')],
  ])('is blamed where it stands: %s', (problem, edit) => {
    expect(site.problemsAfter(({ hsm }) => edit(hsm))).toEqual([problem])
  })
})

describe('several tokens', () => {
  it('are known by their names, and each vault is given its own and no other', () => {
    const config = load(() => ({ tokens: [token({ name: 'left' }), token({ name: 'right', sessions: 1 })] }))
    expect(config.hsm.tokens.map(({ name }) => name)).toEqual(['left', 'right'])
    const [, right] = config.hsm.tokens
    expect(vaultConfig(config, right!).hsm).toEqual({
      token: right,
      recycle: config.hsm.recycle,
      allKeysNeeded: true,
    })
  })

  it.each<[problem: string, hsm: Draft]>([
    ['hsm.tokens: is empty', { tokens: [] }],
    ['hsm.tokens: must be a list', { tokens: token() }],
    ['hsm.tokens[1].name: is the name of hsm.tokens[0] too', { tokens: [token(), token()] }],
    ['hsm.tokens[0].name: is missing', { tokens: [token({ tokenLabel: 'NSS Certificate DB' })] }],
    ['hsm.tokens[1].pinFile: does not exist', { tokens: [token(), token({ name: 'right', pinFile: 'none' })] }],
    ['hsm.sessions: is not a known member', { tokens: [token()], sessions: 4 }],
    ['hsm: must be a set of members', [token()]],
  ])('are blamed each by its place: %s', (problem, hsm) => {
    expect(site.problemsAfter((config) => (config.hsm = hsm))).toEqual([problem])
  })
})

describe('pinOwnersIn', () => {
  it('gives what the loaded configuration says', () => {
    for (const hsm of [
      token(),
      token({ name: 'left' }),
      { tokens: [token(), token({ name: 'right', pinFile: 'pin' })] },
    ]) {
      const { tokens } = load(() => hsm).hsm
      expect(pinOwnersIn(site.file)).toEqual(tokens.map(({ name, pinFile }) => ({ name, pinFile })))
    }
  })

  it('gives nothing of a file that cannot be read, for the loading to complain', () => {
    expect(pinOwnersIn(join(site.directory, 'none.yaml'))).toEqual([])
    for (const text of ['', '[]', 'hsm: 7', 'hsm: { tokens: { } }', 'hsm: { tokens: [ 7 ] }', '{']) {
      site.write('pinbridge.yaml', text)
      expect(pinOwnersIn(site.file)).toEqual([])
    }
  })

  it('knows every member of a token', () => {
    expect([...TOKEN_MEMBERS].sort()).toEqual(Object.keys(Token.properties).sort())
  })
})
