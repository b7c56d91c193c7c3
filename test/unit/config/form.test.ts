import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { placeText } from '../../../src/config/problems.ts'
import { Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

const UNKNOWN: [place: string, (config: Draft) => Draft][] = [
  ['', (config) => config],
  ['hsm.', ({ hsm }) => hsm],
  ['hsm.recycle.', ({ hsm }) => (hsm.recycle = {})],
  ['keys[1].', ({ keys }) => keys[1]],
  ['profiles[0].', ({ profiles }) => profiles[0]],
  ['profiles[0].fields[0].', ({ profiles }) => profiles[0].fields[0]],
  ['profiles[0].knownAnswers[0].', ({ profiles }) => profiles[0].knownAnswers[0]],
  ['profiles[0].knownAnswers[0].inputs.', ({ profiles }) => profiles[0].knownAnswers[0].inputs],
  ['d1.', ({ d1 }) => d1],
  ['d1.profiles[0].', ({ d1 }) => d1.profiles[0]],
  ['d1.profiles[0].types.', ({ d1 }) => d1.profiles[0].types],
  ['d1.profiles[0].members.', ({ d1 }) => d1.profiles[0].members],
  ['d1.profiles[0].seccos.', ({ d1 }) => d1.profiles[0].seccos],
  ['d1.recipients[0].', ({ d1 }) => d1.recipients[0]],
  ['d1.recipients[0].publicKey.', ({ d1 }) => (d1.recipients[0].publicKey = { ...d1.recipients[0].publicKey })],
  ['clients[0].', ({ clients }) => clients[0]],
  ['clients[0].grants[0].', ({ clients }) => clients[0].grants[0]],
  ['listeners.', ({ listeners }) => listeners],
  ['listeners.api.', ({ listeners }) => listeners.api],
  ['listeners.management.', ({ listeners }) => listeners.management],
  ['limits.', ({ limits }) => limits],
  ['limits.guesses.', ({ limits }) => limits.guesses],
  [
    'limits.store.',
    ({ limits, keys }) => {
      keys.push({ ...keys.at(-1), id: 'limit-hash', purpose: 'limit-hash' })
      return (limits.store = { url: 'redis://127.0.0.1:6379' })
    },
  ],
]

describe('unknown members', () => {
  it.each(UNKNOWN)('are refused in %j', (place, find) => {
    const problems = site.problemsAfter((config) => void (find(config).typo = 'CANARY'))
    expect(problems).toEqual([`${place}typo: is not a known member`])
  })

  it('of the environment are refused if they steer node, the loader or pinbridge', () => {
    const names = ['LD_PRELOAD', 'NODE_OPTIONS', 'UV_THREADPOOL_SIZE', 'PINBRIDGE_X', '1X', 'A-B']
    const problems = site.problemsAfter(({ hsm }) => {
      hsm.environment = { ...Object.fromEntries(names.map((name) => [name, 'x'])), SOFTHSM2_CONF: 'x' }
    })
    expect(problems.toSorted()).toEqual(
      names.map((name) => `hsm.environment.${name}: is not a variable that may be set for a PKCS#11 module`).toSorted(),
    )
  })

  it('cannot forge a line with their name', () => {
    const name = 'x\nFILE:1: é\u202e' + 'y'.repeat(100)
    const [problem] = site.problemsOfText(stringify({ ...validConfig(), [name]: 1 }))
    expect(problem).toMatch(/^FILE:\d+: \["x\?FILE:1: \?\?y{50,52}"\]: is not a known member$/)
    expect(placeText(['a', 'b c', 3, '3DES_SECCOS'])).toBe('a["b c"][3].3DES_SECCOS')
  })
})

describe('a member of the wrong form', () => {
  it.each<[string, (config: Draft) => void]>([
    ['environment: is missing', (config) => delete config.environment],
    ['environment: must be one of development, production', (config) => (config.environment = 'CANARY')],
    ['listeners: is missing', (config) => delete config.listeners],
    ['keys: is empty', (config) => Object.assign(config, { keys: [], clients: [], d1: {}, audit: undefined })],
    ['keys[1].kcv: is missing', ({ keys }) => delete keys[1].kcv],
    ['keys[1].kcv: is empty', ({ keys }) => (keys[1].kcv = null)],
    ['keys[1].kcv: must be text: YAML reads it as a number, so put it in quotes', ({ keys }) => (keys[1].kcv = 918273)],
    ['keys[1].kcv: must be 3 to 5 bytes in hex', ({ keys }) => (keys[1].kcv = 'CANARY')],
    ['keys[1].check: must be 3 to 16 bytes in hex', ({ keys }) => (keys[1].check = 'AABB')],
    ['keys[1].version: must be at least 1', ({ keys }) => (keys[1].version = 0)],
    ['keys[1].version: must be at most 9999', ({ keys }) => (keys[1].version = 918273)],
    ['keys[1].version: must be a whole number', ({ keys }) => (keys[1].version = '1')],
    ['keys[1].version: must be a whole number', ({ keys }) => (keys[1].version = 1.5)],
    ['keys[2].state: must be one of pending, active, retiring, retired', ({ keys }) => (keys[2].state = 'CANARY')],
    ['keys[2].state: is empty', ({ keys }) => (keys[2].state = null)],
    ['keys[1].formats: has the same item twice', ({ keys }) => (keys[1].formats = ['ISO-0', 'ISO-0'])],
    ['keys[1].formats: must be a list', ({ keys }) => (keys[1].formats = 'CANARY')],
    ['keys[3].formats[0]: must be one of ISO-0, ISO-1, ISO-3, ISO-4, SECCOS', ({ keys }) => (keys[3].formats = ['X'])],
    ['keys[0].kid: is empty', ({ keys }) => (keys[0].kid = '')],
    ['keys[0].kid: must have at most 256 characters', ({ keys }) => (keys[0].kid = 'CANARY'.repeat(50))],
    [
      'd1.profiles[0].id: must be 1 to 64 letters, digits, dots, underscores or hyphens',
      ({ d1, keys, clients }) => {
        clients.pop()
        d1.profiles[0].id = 'CANARY !'
        d1.recipients = []
        keys.shift()
      },
    ],
    ['d1.profiles[0].types: is empty', ({ d1 }) => (d1.profiles[0] = { id: 'd1', types: {} })],
    ['d1.profiles[0].hexCase: must be one of upper, lower', ({ d1 }) => (d1.profiles[0].hexCase = 'CANARY')],
    [
      'd1.profiles[0].members.prw: must be 1 to 64 visible ASCII characters, without quotation mark and backslash',
      ({ d1 }) => (d1.profiles[0].members.prw = 'a"b'),
    ],
    ['clients[0].dnsName: must be a DNS name in lower case', ({ clients }) => (clients[0].dnsName = 'CANARY.example')],
    ['hsm: must be a set of members', (config) => (config.hsm = 'CANARY')],
    ['acceptDefaultProfiles: must be true or false', (config) => (config.acceptDefaultProfiles = 'yes')],
    ['limits.guesses.perCard: must be at least 1', ({ limits }) => (limits.guesses.perCard = 0)],
    ['profiles[0].blockBytes: must be 8 or 16', ({ profiles }) => (profiles[0].blockBytes = 9)],
    [
      'profiles[0].fields: must have at most 16 items',
      ({ profiles }) => (profiles[0].fields = Array(17).fill({ source: 'prw', encoding: 'raw', bytes: 8 })),
    ],
    [
      'profiles[0].knownAnswers[0].inputs.pan: must be text: YAML reads it as a number, so put it in quotes',
      ({ profiles }) => (profiles[0].knownAnswers[0].inputs.pan = 4000001234567899),
    ],
    [
      'profiles[0].knownAnswers[0].inputs.pan: does not have the form of this member',
      ({ profiles }) => (profiles[0].knownAnswers[0].inputs.pan = 'CANARY'),
    ],
  ])('%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([problem])
  })

  it('is told with its line', () => {
    const text = stringify(validConfig()).replace('kcv: A1B2C3\n', 'kcv: 123456\n')
    const line = text.split('\n').indexOf('    kcv: 123456') + 1
    expect(line).toBeGreaterThan(10)
    expect(site.problemsOfText(text)).toEqual([
      `FILE:${line}: keys[1].kcv: must be text: YAML reads it as a number, so put it in quotes`,
    ])
  })

  it('reads a KCV with an E as a number too', () => {
    const text = stringify(validConfig()).replace('kcv: A1B2C3\n', 'kcv: 1234E5\n')
    expect(site.problemsOfText(text).join()).toContain('keys[1].kcv: must be text: YAML reads it as a number')
  })
})

describe('several problems', () => {
  it('of form, rules and files are reported at once, in the order of the lines', () => {
    const config = validConfig()
    config.hsm.pinFile = 'no-such-file'
    config.keys[1].kcv = 123456
    config.keys[2].kcv = 'AABBCC'
    delete config.keys[3].origin
    config.keys[3].typo = 1
    config.keys[5].origin = 'generated'
    config.clients[0].grants[0].keys = ['zpk', 'zpkk']
    config.listeners.api.host = '0.0.0.0'
    expect(site.problemsOf(config)).toEqual([
      'hsm.pinFile: does not exist',
      'keys[1].kcv: must be text: YAML reads it as a number, so put it in quotes',
      'keys[2].kcv: must be 5 bytes for a key of AES-256',
      'keys[3].origin: is missing',
      'keys[3].typo: is not a known member',
      'keys[5].origin: must be imported, because the profile uses ISO-9797-1-ALG-3',
      'clients[0].grants[0].keys[1]: names no key',
      'listeners.api.host: must be a loopback address in development',
    ])
  })

  it('are not told of members that depend on one of another shape', () => {
    const config = validConfig()
    config.keys[0].use = 'verify'
    config.d1.recipients[0].alg = 'RSA-OAEP-256'
    expect(site.problemsOf(config)).toEqual([
      'keys[0].use: must be a list',
      'd1.recipients[0].alg: must be ECDH-ES for a key of type EC',
    ])
  })

  it('are not invented of keys whose id was read as a number', () => {
    const config = validConfig()
    config.keys[1].id = 42
    config.clients[0].grants[0].keys = [42, '42']
    config.d1.profiles[0].innerKey = 42
    const quotes = 'must be text: YAML reads it as a number, so put it in quotes'
    expect(site.problemsOf(config)).toEqual([
      `keys[1].id: ${quotes}`,
      `d1.profiles[0].innerKey: ${quotes}`,
      `clients[0].grants[0].keys[0]: ${quotes}`,
    ])
  })
})

describe('a value', () => {
  /** Every way to a scalar of a configuration. */
  function leaves(value: Draft, place: (string | number)[] = []): (string | number)[][] {
    if (typeof value !== 'object') return [place]
    return Object.keys(value).flatMap((name) => leaves(value[name], [...place, name]))
  }

  const changes = ['CANARY', 'CANARY 918273645', 918273645, 918273645.5, ['CANARY'], { CANARY2: 'CANARY' }]

  it.each(leaves(validConfig()).map((place) => [placeText(place), place] as const))(
    'is never echoed: %s',
    (_, place) => {
      for (const value of changes) {
        const config = validConfig()
        let parent = config
        for (const part of place.slice(0, -1)) parent = parent[part]
        parent[place.at(-1)!] = value
        const problems = site.problemsOfText(stringify(config, { aliasDuplicateObjects: false })).join('\n')
        expect(problems.replaceAll('CANARY2', '')).not.toMatch(/CANARY|918273645/)
        // What was not said of the value itself may still be said of the file: nothing goes wrong in another way.
        expect(problems).not.toContain('Error')
      }
    },
  )
})
