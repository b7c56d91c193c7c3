import { describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../../src/config/schema.ts'
import { ServiceError } from '../../../src/errors.ts'
import type { Hsm } from '../../../src/hsm/hsm.ts'
import type { ProfiledKey } from '../../../src/hsm/key-catalogue.ts'
import { SHIPPED_PROFILES } from '../../../src/pin-change/shipped-profiles.ts'
import { keysThatFit, verifyingKey } from '../../../src/vault/profiled-mac.ts'

const profileOf = (id: string) => SHIPPED_PROFILES.find((profile) => profile.kind === 'pin-mac' && profile.id === id)!
/** A version of a MAC key, as far as it matters here: of a Seccos profile, which takes the change, or of one that does not. */
const version = (number: number, profile = 'seccos-3des'): ProfiledKey => ({
  key: { id: 'mac', version: number } as KeyEntry,
  profile: profileOf(profile),
})
const INPUTS = { encipheredPinBlock: Buffer.alloc(8), prw: Buffer.alloc(8), changeCounter: '0003', transactionId: '7' }
const MAC = Buffer.alloc(8, 1)

/** An HSM in which the keys of these versions have made the MAC; it notes which it was asked for. */
function hsmOf(...makers: number[]) {
  const asked: number[] = []
  const verifyMac = async ({ version }: KeyEntry) => {
    asked.push(version)
    return makers.includes(version)
  }
  return { hsm: { verifyMac } as unknown as Hsm, asked }
}
const codeOf = async (work: () => unknown) => {
  try {
    return await work()
  } catch (error) {
    return error instanceof ServiceError ? error.code : error
  }
}

describe('verifying under several versions', () => {
  const keys = [version(2), version(1), version(3)]

  it('ends with the one that made it', async () => {
    for (const [maker, tried] of [
      [2, [2]],
      [1, [2, 1]],
      [3, [2, 1, 3]],
    ] as const) {
      const { hsm, asked } = hsmOf(maker)
      expect((await verifyingKey(hsm, keys, INPUTS, MAC))?.key.version).toBe(maker)
      expect(asked).toEqual(tried)
    }
  })

  it('tries all of them before it says no', async () => {
    const { hsm, asked } = hsmOf()
    expect(await verifyingKey(hsm, keys, INPUTS, MAC)).toBeUndefined()
    expect(asked).toEqual([2, 1, 3])
  })

  it('passes over a version whose profile the inputs do not fit, and refuses what fits none', async () => {
    const { changeCounter: _counter, ...short } = INPUTS
    const mixed = [version(2), version(1, 'dk-aes')]
    const dk = { ...short, encipheredPinBlock: Buffer.alloc(16), panSequenceNumber: '01' }
    const { hsm, asked } = hsmOf()
    expect(await verifyingKey(hsm, mixed, dk, MAC)).toBeUndefined()
    expect(asked).toEqual([1])
    expect(await codeOf(() => verifyingKey(hsm, keys, short, MAC))).toBe('ERR_REQUEST_INVALID')
  })

  it('is of versions that make values of this length, and of none a shortened one', async () => {
    const prw = (id: string) => SHIPPED_PROFILES.find((profile) => profile.kind === 'prw' && profile.id === id)!
    const mixed = [
      { ...version(2), profile: prw('dk-aes') },
      { ...version(1), profile: prw('seccos-3des') },
    ]
    const fitting = (hex: string) => keysThatFit(mixed, hex).keys.map(({ key }) => key.version)
    expect([fitting('00'.repeat(16)), fitting('00'.repeat(8))]).toEqual([[2], [1]])
    for (const bytes of [7, 9, 15]) expect(await codeOf(() => fitting('00'.repeat(bytes)))).toBe('ERR_REQUEST_INVALID')
  })
})
