import { describe, expect, it } from 'vitest'
import { blockUseOf, fitsUse, useInWords } from '../../../src/cli/keys/block-use.ts'
import type { PlannedKey } from '../../../src/cli/keys/planned-key.ts'
import { expectNotWeaker, expectReads, transportKey } from '../../../src/cli/keys/transport-of-config.ts'
import type { Config, KeyEntry } from '../../../src/config/schema.ts'
import { readHeader } from '../../../src/key-block/header.ts'

const planned = (members: Partial<PlannedKey>) => ({ id: 'k', version: 1, state: 'active', ...members }) as PlannedKey

/** Every header that fits, as usage, algorithm, mode and exportability. */
function fitting(members: Partial<PlannedKey>): string[] {
  const use = blockUseOf(planned(members), { profiles: [] })!
  const found: string[] = []
  for (const usage of ['P0', 'K0', 'K1', 'M0', 'M3', 'M5', 'M6', 'V0', 'V2', 'D0', 'B0', 'C0']) {
    for (const rest of [...'ATD'].flatMap((algorithm) => [...'BCDEGNSVXY'].map((mode) => algorithm + mode))) {
      for (const exportability of 'ENSX') {
        const { header } = readHeader(`B0000${usage}${rest}00${exportability}0000`)
        if (fitsUse(header, use)) found.push(usage + rest + exportability)
      }
    }
  }
  return found
}

const every = (usages: string, algorithm: string, modes: string, exportabilities = 'ENS') =>
  usages
    .split(' ')
    .flatMap((usage) => [...modes].flatMap((mode) => [...exportabilities].map((e) => usage + algorithm + mode + e)))

describe('what the header of a key block must say', () => {
  it.each([
    ['zone-pin, in', { purpose: 'zone-pin', algorithm: 'TDEA-128', direction: 'in' }, every('P0', 'T', 'BDN')],
    ['zone-pin, out', { purpose: 'zone-pin', algorithm: 'AES-256', direction: 'out' }, every('P0', 'A', 'BEN')],
    ['zone-pin, both', { purpose: 'zone-pin', algorithm: 'TDEA-192', direction: 'both' }, every('P0', 'T', 'BN')],
    ['seccos-pin', { purpose: 'seccos-pin', algorithm: 'TDEA-128', direction: 'in' }, every('P0', 'T', 'BDN')],
    [
      'prw by TDEA-CMAC',
      { purpose: 'prw', algorithm: 'TDEA-128', profile: 'seccos-3des', use: ['generate', 'verify'] },
      every('M6 V0', 'T', 'CN'),
    ],
    [
      'prw that only verifies',
      { purpose: 'prw', algorithm: 'AES-128', profile: 'dk-aes', use: ['verify'] },
      every('M6 V0', 'A', 'CNV'),
    ],
    [
      'pin-mac by retail MAC',
      { purpose: 'pin-mac', algorithm: 'TDEA-128', profile: 'seccos-3des', use: ['generate'] },
      every('M3', 'T', 'CGN'),
    ],
    [
      'pin-mac by CMAC',
      { purpose: 'pin-mac', algorithm: 'AES-128', profile: 'dk-aes', use: ['generate', 'verify'] },
      every('M6', 'A', 'CN'),
    ],
    ['limit-hash', { purpose: 'limit-hash', algorithm: 'AES-256' }, every('M6', 'A', 'CGN')],
    ['audit-mac', { purpose: 'audit-mac', algorithm: 'AES-256' }, every('M6', 'A', 'CN')],
    [
      'key-transport, import',
      { purpose: 'key-transport', algorithm: 'TDEA-128', use: ['import'] },
      every('K0 K1', 'T', 'BDN'),
    ],
    [
      'key-transport, export',
      { purpose: 'key-transport', algorithm: 'AES-128', use: ['export'] },
      every('K0 K1', 'A', 'BEN'),
    ],
    ['credential-wrap', { purpose: 'credential-wrap', algorithm: 'AES-256' }, every('K0', 'A', 'BEN')],
    [
      'an exportable key',
      { purpose: 'zone-pin', algorithm: 'TDEA-128', direction: 'both', exportable: true },
      every('P0', 'T', 'BN', 'ES'),
    ],
  ] as [string, Partial<PlannedKey>, string[]][])('for %s', (_, members, headers) => {
    expect(fitting(members).sort()).toEqual(headers.sort())
  })

  it.each(['jwe-decrypt', 'jwe-open', 'assertion-sign', 'transcript-sign', 'tls-sign', 'credential-sign'] as const)(
    'is nothing for %s: no block carries such a key',
    (purpose) => {
      expect(blockUseOf(planned({ purpose, algorithm: 'EC-P256' }), { profiles: [] })).toBeUndefined()
    },
  )

  it('is said in a sentence', () => {
    const key = planned({ purpose: 'zone-pin', algorithm: 'TDEA-128', direction: 'in' })
    expect(useInWords(key, blockUseOf(key, { profiles: [] })!)).toBe(
      'For this zone-pin key it must say: key usage P0, algorithm T, mode of use D or B or N, exportability N or E or S.',
    )
  })
})

describe('the transport key', () => {
  const key = (members: Partial<KeyEntry>) =>
    ({
      id: 'zmk',
      version: 1,
      state: 'active',
      purpose: 'key-transport',
      algorithm: 'TDEA-128',
      use: ['import'],
      ...members,
    }) as KeyEntry
  const configOf = (...keys: KeyEntry[]) => ({ keys }) as unknown as Config

  it.each([
    ['nobody names one', undefined, key({}), 64, '--transport is needed'],
    ['it is not there', 'other', key({}), 64, 'no key other'],
    ['it is for something else', 'zmk', key({ purpose: 'zone-pin' }), 77, 'is a zone-pin key'],
    ['it is for the other way', 'zmk', key({ use: ['export'] }), 77, 'is not for import: its "use" says export'],
    ['it is retired', 'zmk@1', key({ state: 'retired' }), 77, 'is retired'],
    ['it is pending', 'zmk@1', key({ state: 'pending' }), 77, 'is pending'],
  ] as const)('is refused if %s', (_, name, entry, exitCode, sentence) => {
    const find = () => transportKey(configOf(entry), name, 'import')
    expect(find).toThrow(expect.objectContaining({ exitCode, message: expect.stringContaining(sentence) }))
  })

  it('still imports while it is retiring, and no longer exports', () => {
    const entry = key({ state: 'retiring', use: ['import', 'export'] })
    expect(transportKey(configOf(entry), 'zmk@1', 'import')).toBe(entry)
    expect(() => transportKey(configOf(entry), 'zmk@1', 'export')).toThrow('is retiring')
  })

  it.each([
    ['TDEA-128', undefined, 'B'],
    ['TDEA-192', true, 'ABC'],
    ['AES-128', undefined, 'D'],
    ['AES-256', undefined, 'D'],
  ] as const)('of %s, legacy blocks %s, reads versions %s', (algorithm, legacyBlocks, versions) => {
    const entry = key({ algorithm, ...(legacyBlocks && { legacyBlocks }) })
    for (const version of ['A', 'B', 'C', 'D'] as const) {
      const read = () => expectReads(entry, version)
      if (versions.includes(version)) read()
      else expect(read).toThrow(expect.objectContaining({ exitCode: 77 }))
    }
  })

  it('carries no key that is stronger than it', () => {
    const algorithms = ['TDEA-128', 'TDEA-192', 'AES-128', 'AES-192', 'AES-256'] as const
    algorithms.forEach((transport, i) =>
      algorithms.forEach((algorithm, j) => {
        const check = () => expectNotWeaker(key({ algorithm: transport }), { id: 'k', algorithm })
        if (j <= i) check()
        else expect(check).toThrow(`key k is of ${algorithm} and must not travel under zmk, which is weaker`)
      }),
    )
  })
})
