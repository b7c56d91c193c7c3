import { describe, expect, it } from 'vitest'
import { adviceFor } from '../../../../src/cli/doctor/key-advice.ts'
import { ageText, expiryFindings } from '../../../../src/cli/doctor/key-dates.ts'
import { isOf, strangerFindings, twinFindings } from '../../../../src/cli/doctor/key-objects.ts'
import type { KeyEntry } from '../../../../src/config/schema.ts'

const key = { id: 'zpk', version: 2, purpose: 'zone-pin', kcv: 'A1B2C3', origin: 'imported' } as KeyEntry
const at = (time: string) => Date.parse(time)

describe('what doctor says of a key’s dates', () => {
  it('lets it be used on its last day, notes that day for a month, and finds it wrong from midnight on', () => {
    const said = (time: string) =>
      expiryFindings({ ...key, expires: '2026-11-23' }, at(time)).map(({ verdict, text }) => `${verdict}: ${text}`)
    expect(said('2026-10-01T00:00:00Z')).toEqual([])
    expect(said('2026-10-24T00:00:00Z')).toEqual(['note: it expires on 2026-11-23, in 30 days'])
    expect(said('2026-11-23T23:59:59Z')).toEqual(['note: it expires on 2026-11-23, in 0 days'])
    expect(said('2026-11-24T00:00:00Z')).toEqual(['wrong: it expired on 2026-11-23, and is used all the same'])
    expect(expiryFindings(key, at('2026-11-24T00:00:00Z'))).toEqual([])
  })

  it('tells its age where it was written down', () => {
    expect(ageText({ created: '2026-11-22' }, at('2026-11-23T12:00:00Z'))).toBe(', made on 2026-11-22 (1 day ago)')
    expect(ageText({}, 0)).toBe('')
  })
})

describe('the objects of a key in a token', () => {
  it.each([
    ['zpk.v2', true],
    ['zpk.cbc.v2', true],
    ['zpk.v1', false],
    ['zpk.v22', false],
    ['zpk2.v2', false],
    ['zpk.Other.v2', false],
    ['zp.v2', false],
  ])('are known by a CKA_ID such as %s: %s', (id, isKnown) => {
    expect(isOf(key, id)).toBe(isKnown)
  })

  it('are noted where no key of the configuration is theirs, both halves of a pair in one line, ten at most', () => {
    const pair = ['private', 'public'] as const
    const named = pair.map((kind) => ({ kind, id: 'x.v1', label: 'x' }))
    const many = Array.from({ length: 11 }, (_, n) => ({ kind: 'secret' as const, id: `${n}`, label: '' }))
    expect(strangerFindings([key], [{ kind: 'secret', id: 'zpk.v2', label: '' }])).toEqual([])
    expect(strangerFindings([key], named).map(({ text }) => text)).toEqual([
      'CKA_ID x.v1, CKA_LABEL x: a private and public key that the configuration does not know',
    ])
    expect(strangerFindings([key], [...named, ...many]).at(-1)?.text).toBe(
      '2 more that the configuration does not know',
    )
  })

  it('are wrong where they carry the label of a key that they are not of', () => {
    const twin = { kind: 'secret', id: 'other', label: 'pinbridge:zone-pin:zpk:v2' } as const
    expect(twinFindings(key, [twin, { ...twin, id: 'zpk.v2' }], 'production')).toMatchObject([
      { verdict: 'wrong', text: 'its label stands on secret key object other too' },
    ])
    expect(twinFindings(key, [twin], 'development')).toEqual([])
  })
})

describe('what doctor advises for a key', () => {
  // The sentences of find-key.ts and open-hsm.ts.
  it.each([
    '0 objects carry its CKA_ID, one is needed',
    '2 objects carry its CKA_ID, one is needed',
    'key zpk.cbc: 0 objects carry its CKA_ID, one is needed',
    'is a development key, which production refuses',
    'its CKA_LABEL does not name this purpose, id and version',
    'its CKA_KEY_TYPE is not that of TDEA-128',
    'it is not 128 bits long',
    'CKA_MODIFIABLE must be false',
    'CKA_EXTRACTABLE must be false',
    'CKA_LOCAL must be true',
    'this token does not tell a key made in it from an imported one',
    'its public key object is missing or not EC-P256',
    'it does not give its known answer',
    "its KCV is not the catalogue's",
  ])('is something for: %s', (problem) => {
    expect(adviceFor(problem, key)).toMatch(/\S/)
  })
})
