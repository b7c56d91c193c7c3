import { describe, expect, it } from 'vitest'
import type { Bridge } from '../../../src/bridge/contract.ts'
import { ServiceError } from '../../../src/errors.ts'
import { createHashSource } from '../../../src/gateway/hash-source.ts'
import { createLiveKeys, type KeyConfig } from '../../../src/gateway/live-keys.ts'

const KEY = { id: 'limit-hash', version: 1, state: 'active', purpose: 'limit-hash', algorithm: 'AES-256' } as const
const live = (keys: KeyConfig['keys']) => createLiveKeys({ keys, setPinTypes: [], counterOnceKeys: [] })
const keys = live([{ ...KEY, kcv: '0102030405' }])
const PAN = '4123456789012345'

/** A vault that derives these keys, one after the other; undefined stands for one that is not there. */
function bridgeOf(...derived: (number | undefined)[]) {
  const handed: Buffer[] = []
  let asked = 0
  const call = async () => {
    const byte = derived[asked++]
    if (byte === undefined) throw new ServiceError('ERR_HSM_UNAVAILABLE')
    handed.push(Buffer.alloc(32, byte))
    return { packed: handed.at(-1)!, key: { id: 'limit-hash', version: 1, kcv: '0102030405' } }
  }
  return { bridge: { call } as unknown as Bridge, handed, asked: () => asked }
}

describe('createHashSource', () => {
  it('hashes alike on every node that has the key, and otherwise under another', async () => {
    const hashOf = async (byte: number) => createHashSource(bridgeOf(byte).bridge, keys)()
    const [one, two, other] = [await hashOf(1), await hashOf(1), await hashOf(2)]
    expect(one.card(PAN)).toMatch(/^[0-9a-f]{32}$/)
    expect(one.card(PAN)).toBe(two.card(PAN))
    expect(one.card(PAN)).not.toBe(other.card(PAN))
    expect(one.client('a')).toBe(two.client('a'))
    expect(one.client('a')).not.toBe(other.client('a'))
    expect(one.tag('counter', [PAN, '01', '0007'])).not.toBe(one.tag('counter', [PAN, undefined, '0007']))
  })

  it('asks once, wipes what it was given, and asks again after a failure', async () => {
    const { bridge, handed, asked } = bridgeOf(undefined, 1)
    const source = createHashSource(bridge, keys)
    await expect(source()).rejects.toMatchObject({ code: 'ERR_HSM_UNAVAILABLE' })
    const [first, second] = await Promise.all([source(), source()])
    expect(first).toBe(second)
    expect(asked()).toBe(2)
    expect(handed[0]!.equals(Buffer.alloc(32))).toBe(true)
  })

  it('without a key in the catalogue hashes under one of its own and asks nobody', async () => {
    const { bridge, asked } = bridgeOf()
    const pending = live([{ ...KEY, kcv: '0102030405', state: 'pending' }])
    const [one, other] = [await createHashSource(bridge, live([]))(), await createHashSource(bridge, pending)()]
    expect(one.card(PAN)).not.toBe(other.card(PAN))
    expect(asked()).toBe(0)
  })
})
