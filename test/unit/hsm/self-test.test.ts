import { describe, expect, it } from 'vitest'
import type { KeyEntry } from '../../../src/config/schema.ts'
import type { Hsm } from '../../../src/hsm/hsm.ts'
import { checkKey } from '../../../src/hsm/self-test.ts'
import { SHIPPED_PROFILES } from '../../../src/pin-change/shipped-profiles.ts'

const PROFILE = SHIPPED_PROFILES.find(({ kind, id }) => kind === 'prw' && id === 'dk-aes')!
const KNOWN = '00112233445566778899AABBCCDDEEFF'

/** Whether a MAC key of this use passes on an HSM that verifies so. */
async function passes(use: KeyEntry['use'], verify: (macHex: string) => boolean): Promise<boolean> {
  const key = { id: 'prw', purpose: 'prw', algorithm: 'AES-128', use, check: KNOWN } as KeyEntry
  const hsm = {
    verifyMac: (_key: KeyEntry, _algorithm: string, _message: Buffer, mac: Buffer) =>
      Promise.resolve(verify(mac.toString('hex').toUpperCase())),
  } as unknown as Hsm
  return await checkKey(hsm, key, PROFILE, undefined)
}

describe('the known answer of a key that only verifies', () => {
  it('is a yes to its MAC and a no to another', async () => {
    expect(await passes(['verify'], (mac) => mac === KNOWN)).toBe(true)
  })

  it('is not given by an HSM that says yes to every MAC', async () => {
    expect(await passes(['verify'], () => true)).toBe(false)
  })

  it('is not given by an HSM that says no to every MAC', async () => {
    expect(await passes(['verify'], () => false)).toBe(false)
  })
})

describe('the known answer of a key that generates', () => {
  it('is its MAC, which is made again and compared here', async () => {
    expect(await passes(['generate', 'verify'], (mac) => mac === KNOWN)).toBe(true)
    expect(await passes(['generate'], () => false)).toBe(false)
  })
})
