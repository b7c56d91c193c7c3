import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { VaultPool } from '../../../src/bridge/vault-pool.ts'
import { openPool, type Answer, type FakeVault, type PoolHarness } from './pool-harness.ts'
import { answerTo, settled, translation, type Translated, type Translation } from './translations.ts'

let harness: PoolHarness
let pool: VaultPool
beforeEach(async () => {
  harness = await openPool({ hsmMs: 60_000 })
  ;({ pool } = harness)
})
afterEach(() => harness.close())

/** What becomes of a translation where this version of its key is the active one: every byte that comes out tells it. */
function answerBy(version: number, body: Translation): Translated {
  const { packed, key, ...rest } = answerTo(body)
  return { ...rest, key: { ...key, version }, packed: Buffer.from(packed.map((byte) => byte ^ version)) }
}
/** A vault that has taken over this version; a generateMac stays with it unless it `answersMacs`. */
const vaultBy =
  (version: number, answersMacs = false): Answer =>
  ({ id, operation, body, packed }, vault) => {
    if (operation === 'generateMac') {
      if (answersMacs) vault.channel.send({ id, answer: {} })
      return
    }
    const { packed: blocks, ...json } = answerBy(version, { ...body, packed })
    vault.channel.send({ id, answer: json }, blocks)
  }
const itemsOf = ({ received }: FakeVault) =>
  received.reduce((items, { body }) => items + ((body.items as number | undefined) ?? 0), 0)
const translate = (body: Translation) => settled(pool.call('translatePinBlocks', body))
/** Goes in many parts, as long as nobody knows how long one takes. */
const LONG = 64 * 20

describe('a long translation while another version of its key becomes the active one', () => {
  it('comes out under one version, the one that is named: what came back under two is asked for anew, of the newest vault', async () => {
    const old = await harness.serve(1, vaultBy(1, true))
    const next = await harness.serve(2, vaultBy(2))
    // The newest one has something before it, so that any call would rather go to the other.
    for (let n = 0; n < 4; n++) void settled(pool.call('generateMac', { key: 'mac', pinBlock: '00' }))
    await expect.poll(() => next.received.length, { interval: 2 }).toBeGreaterThan(0)
    const body = translation(LONG)
    const neighbours = Array.from({ length: 4 }, () => translation(3))
    const asked = [body, ...neighbours].map(translate)
    expect(await asked[0]).toEqual(answerBy(2, body))
    expect(old.received.length).toBeGreaterThan(0)
    expect(itemsOf(next)).toBeGreaterThanOrEqual(LONG)
    // What goes whole is right by whichever vault.
    for (const [i, neighbour] of neighbours.entries()) {
      expect([answerBy(1, neighbour), answerBy(2, neighbour)]).toContainEqual(await asked[i + 1])
    }
    expect(pool.queued).toBe(0)
    // Its lane is there for others as before.
    const later = [translation(2), translation(LONG)]
    pool.drain(1)
    expect(await Promise.all(later.map(translate))).toEqual(later.map((each) => answerBy(2, each)))
  })

  it('is asked for anew too where it was deciphered under two versions', async () => {
    const from =
      (version: number): Answer =>
      ({ id, body, packed }, vault) => {
        const { packed: blocks, ...json } = answerTo({ ...body, packed })
        vault.channel.send({ id, answer: { ...json, usedKeys: [{ id: 'in', version, kcv: '' }] } }, blocks)
      }
    await harness.serve(1, from(1))
    const next = await harness.serve(2, from(2))
    const body = translation(LONG)
    expect(await translate(body)).toEqual({ ...answerTo(body), usedKeys: [{ id: 'in', version: 2, kcv: '' }] })
    expect(itemsOf(next)).toBeGreaterThanOrEqual(LONG)
  })

  it('is answered 503 where the vaults are gone before it could be', async () => {
    const silent = await harness.serve(1)
    const asked = translate(translation(128))
    await expect.poll(() => silent.received.length, { interval: 2 }).toBe(2)
    const [first, second] = silent.received
    vaultBy(1)(first!, silent)
    pool.drain(1)
    vaultBy(2)(second!, silent)
    expect(await asked).toBe('ERR_HSM_UNAVAILABLE')
    expect(pool.queued).toBe(0)
  })
})
