import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { profileProblems } from '../../../src/pin-change/profile-rules.ts'
import { findProfile, SHIPPED_PROFILES } from '../../../src/pin-change/shipped-profiles.ts'
import { macProfile, Site, validConfig, type Draft } from './valid-config.ts'

let site: Site
beforeAll(async () => {
  site = await Site.make()
})
afterAll(() => site.remove())

type Case = [problem: string, change: (config: Draft) => void]

/** A copy of key `i` with other members, at the end of the catalogue. */
function add({ keys }: Draft, i: number, members: object): void {
  keys.push({ ...keys[i], ...members })
}

describe('the catalogue', () => {
  it('may hold several versions of a key', () => {
    const problems = site.problemsAfter((config) => {
      add(config, 1, { version: 2, state: 'pending' })
      add(config, 1, { version: 3, state: 'retired' })
    })
    expect(problems).toEqual([])
  })

  it.each<Case>([
    [
      'keys[8].version: is the version of keys[1] too, which has the same id',
      (config) => add(config, 1, { state: 'retired' }),
    ],
    [
      'keys[8].state: keys[1] is active too, and one version of a key is at a time',
      (config) => add(config, 1, { version: 2 }),
    ],
    [
      'keys[8].purpose: is not that of keys[4], another version of this key',
      (config) => add(config, 3, { id: 'prw', version: 2, state: 'pending' }),
    ],
    ['keys[8].id: must not end in .cbc', (config) => add(config, 1, { id: 'pin-mac.cbc' })],
    ['keys[8].id: must not end in .kbek', (config) => add(config, 1, { id: 'zmk.kbek' })],
    ['keys[8].id: must not end in .kbak', (config) => add(config, 1, { id: 'zmk.kbak' })],
    ['keys[8].kid: is the kid of keys[0] too', (config) => add(config, 0, { id: 'jwe-2', state: 'retiring' })],
    ['keys[8].kid: is the kid of keys[0] too', (config) => add(config, 0, { id: 'jwe-2', state: 'pending' })],
  ])('%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([problem])
  })

  it('may use a kid again once its key serves no more', () => {
    expect(site.problemsAfter((config) => add(config, 0, { id: 'jwe-2', state: 'retired' }))).toEqual([])
    const problems = site.problemsAfter((config) => {
      config.keys[0].state = 'retired'
      add(config, 0, { id: 'jwe-2', state: 'active' })
    })
    expect(problems).toEqual([])
  })
})

describe('the members of a purpose', () => {
  const needed: [number, string, string[]][] = [
    [0, 'jwe-decrypt', ['d1Profile', 'alg', 'enc']],
    [2, 'zone-pin', ['direction', 'formats', 'check']],
    [3, 'seccos-pin', ['direction', 'formats', 'check']],
    [6, 'prw', ['use', 'profile', 'check']],
    [5, 'pin-mac', ['use', 'profile', 'check']],
  ]
  const values: Record<string, unknown> = {
    direction: 'in',
    use: ['verify'],
    check: 'AABBCC',
    formats: ['ISO-0'],
    profile: 'dk-aes',
    d1Profile: 'd1',
    kid: 'kid',
    alg: 'ECDH-ES',
    enc: 'A256GCM',
  }

  for (const [i, purpose, members] of needed) {
    for (const member of Object.keys(values)) {
      if (members.includes(member)) {
        it(`need ${member} for ${purpose}`, () => {
          // No D1 profile asks anything of this key.
          const problems = site.problemsAfter((config) => {
            delete config.keys[i][member]
            config.d1.profiles[0] = { id: 'd1', types: { ISO0: 'ISO0' } }
          })
          expect(problems).toEqual([`keys[${i}].${member}: is missing; a ${purpose} key needs it`])
        })
      } else if (!(member === 'kid' && purpose === 'jwe-decrypt')) {
        it(`hold no ${member} for ${purpose}`, () => {
          const problems = site.problemsAfter(({ keys }) => (keys[i][member] = values[member]))
          expect(problems).toEqual([`keys[${i}].${member}: does not belong to a ${purpose} key`])
        })
      }
    }
  }

  it('leave the kid to the thumbprint', () => {
    expect(site.problemsAfter(({ keys }) => delete keys[0].kid)).toEqual([])
  })
})

describe('a key', () => {
  it.each<Case>([
    [
      'keys[0].algorithm: must be one of EC-P256, RSA-2048, RSA-3072, RSA-4096 for a jwe-decrypt key',
      ({ keys }) => (keys[0].algorithm = 'AES-256'),
    ],
    ['keys[0].alg: must be ECDH-ES for a key of EC-P256', ({ keys }) => (keys[0].alg = 'RSA-OAEP-256')],
    ['keys[0].alg: must be RSA-OAEP-256 for a key of RSA-2048', ({ keys }) => (keys[0].algorithm = 'RSA-2048')],
    ['keys[0].d1Profile: names no profile of d1.profiles', ({ keys }) => (keys[0].d1Profile = 'CANARY')],
    ['keys[0].kcv: must be 5 bytes for a key of EC-P256', ({ keys }) => (keys[0].kcv = 'AABBCC')],
    [
      'keys[2].algorithm: must be one of TDEA-128, TDEA-192, AES-128, AES-192, AES-256 for a zone-pin key',
      ({ keys }) => (keys[2].algorithm = 'EC-P256'),
    ],
    ['keys[1].formats: SECCOS belongs to a seccos-pin key', ({ keys }) => keys[1].formats.push('SECCOS')],
    ['keys[1].formats: ISO-4 needs a key of AES', ({ keys }) => keys[1].formats.push('ISO-4')],
    ['keys[2].formats: must be ISO-4 alone for a key of AES', ({ keys }) => keys[2].formats.push('ISO-1')],
    ['keys[1].kcv: must be 3 bytes for a key of TDEA-128', ({ keys }) => (keys[1].kcv = 'AABBCCDD')],
    ['keys[2].kcv: must be 5 bytes for a key of AES-256', ({ keys }) => (keys[2].kcv = 'AABBCC')],
    ['keys[1].check: must be 3 bytes for a zone-pin key of TDEA-128', ({ keys }) => (keys[1].check = 'AABBCCDDEE')],
    ['keys[2].check: must be 5 bytes for a zone-pin key of AES-256', ({ keys }) => (keys[2].check = 'AABBCC')],
    [
      'keys[3].algorithm: must be one of TDEA-128, TDEA-192 for a seccos-pin key',
      ({ keys }) => (keys[3].algorithm = 'AES-128'),
    ],
    ['keys[3].formats: must be SECCOS alone for a seccos-pin key', ({ keys }) => (keys[3].formats = ['ISO-0'])],
    ['keys[3].formats: must be SECCOS alone for a seccos-pin key', ({ keys }) => keys[3].formats.push('ISO-0')],
    ['keys[3].check: must be 3 bytes for a seccos-pin key of TDEA-128', ({ keys }) => (keys[3].check = 'AABBCCDD')],
    ['keys[6].profile: names no prw profile', ({ keys }) => (keys[6].profile = 'own-mac')],
    [
      'keys[6].algorithm: must be one of AES-128, AES-192, AES-256, because the profile uses AES-CMAC',
      ({ keys }) => Object.assign(keys[6], { algorithm: 'TDEA-128', kcv: 'AABBCC', check: 'AABBCCDDEEFF0011' }),
    ],
    [
      'keys[6].algorithm: must be one of TDEA-128, TDEA-192, because the profile uses TDEA-CMAC',
      ({ keys }) => (keys[6].profile = 'seccos-3des'),
    ],
    [
      'keys[5].algorithm: must be one of TDEA-128, because the profile uses ISO-9797-1-ALG-3',
      ({ keys }) => (keys[5].algorithm = 'TDEA-192'),
    ],
    [
      'keys[5].origin: must be imported, because the profile uses ISO-9797-1-ALG-3',
      ({ keys }) => (keys[5].origin = 'generated'),
    ],
    ['keys[5].check: must be 8 bytes for a pin-mac key of TDEA-128', ({ keys }) => (keys[5].check = 'AABBCC')],
    ['keys[6].check: must be 16 bytes for a prw key of AES-128', ({ keys }) => (keys[6].check = 'AABBCCDDEEFF0011')],
  ])('%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([problem])
  })

  it('may use a configured profile', () => {
    const problems = site.problemsAfter((config) => {
      add(config, 6, { id: 'own', purpose: 'pin-mac', profile: 'own-mac' })
    })
    expect(problems).toEqual([])
  })

  it('of RSA is bound to RSA-OAEP-256', () => {
    const members = { algorithm: 'RSA-3072', alg: 'RSA-OAEP-256' }
    expect(site.problemsAfter(({ keys }) => Object.assign(keys[0], members))).toEqual([])
  })
})

describe('a shipped profile in production', () => {
  it('needs acceptDefaultProfiles for every key that uses it', () => {
    const sentence = 'is a default of ours and not the licensed layout: production needs acceptDefaultProfiles: true'
    const config = { ...validConfig(), environment: 'production' }
    expect(site.problemsOf(config)).toEqual([4, 5, 6].map((i) => `keys[${i}].profile: ${sentence}`))
    expect(site.problemsOf({ ...config, acceptDefaultProfiles: true })).toEqual([])
  })

  it('is nothing that a configured one is', () => {
    const config = { ...validConfig(), environment: 'production', d1: {}, clients: [] }
    config.keys = [{ ...config.keys[6], purpose: 'pin-mac', profile: 'own-mac' }, config.keys[7]]
    expect(site.problemsOf(config)).toEqual([])
  })
})

describe('a profile', () => {
  it('must keep the rules of profiles, each of which is told', () => {
    const broken = { ...macProfile(), outputBytes: 2, fields: [{ source: 'prw', encoding: 'raw', bytes: 4 }] }
    const expected = profileProblems(broken)
    expect(expected.length).toBeGreaterThan(2)
    expect(site.problemsAfter((config) => (config.profiles = [broken]))).toEqual(
      expected.map((problem) => `profiles[0]: ${problem}`),
    )
  })

  it.each<Case>([
    [
      'profiles[0].knownAnswers[1].messageHex: is not what the fields make of the inputs',
      ({ profiles }) => profiles[0].knownAnswers.push({ ...profiles[0].knownAnswers[0], messageHex: '00'.repeat(16) }),
    ],
    [
      'profiles[1].id: is the id of profiles[0] too, which has the same kind',
      ({ profiles }) => profiles.push(macProfile()),
    ],
    ['profiles[0].id: is the id of a shipped pin-mac profile', ({ profiles }) => (profiles[0].id = 'dk-aes')],
  ])('%s', (problem, change) => {
    expect(site.problemsAfter(change)).toEqual([problem])
  })

  it('may have the id of one of the other kind', () => {
    const prw = structuredClone(findProfile(SHIPPED_PROFILES, 'prw', 'dk-aes'))
    expect(site.problemsAfter(({ profiles }) => profiles.push({ ...prw, id: 'own-mac' }))).toEqual([])
  })
})
