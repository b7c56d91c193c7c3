import { randomInt } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { agreed } from '../../support/oracles.ts'
import { oracleDecipher, oracleDecode } from '../../unit/pin/pin-block-oracle.ts'
import { expectProblem, newPan, newPin, openIssuer, type Issuer } from './issuer.ts'

let issuer: Issuer
beforeAll(async () => {
  issuer = await openIssuer()
})
afterAll(() => issuer.close())

const PATH = '/v1/pin-blocks/translate-batch'
const FROM = { key: 'zpk-in', format: 'ISO-0' } as const

interface Row {
  readonly id: string
  readonly pan: string
  readonly pin: string | undefined
  readonly pinBlock: string
}

/** Rows with a PIN each; every `wrongEvery`-th block is random, and must be none for its PAN by the oracle too. */
function makeRows(count: number, wrongEvery: number): Row[] {
  return Array.from({ length: count }, (_, i) => {
    const [pin, pan] = [newPin(randomInt(4, 13)), newPan(randomInt(12, 20))]
    const wrong = i % wrongEvery === wrongEvery - 1
    // Format 3 under a key and a format 0 request: the control nibble is wrong, whatever the PIN.
    const pinBlock = issuer.block('zpk-in', wrong ? 'ISO-3' : 'ISO-0', pin, pan)
    return { id: `row-${i}`, pan, pin: wrong ? undefined : pin, pinBlock }
  })
}

const send = (rows: readonly Row[], to: object, from: object = FROM) =>
  issuer.post(PATH, { from, to, items: rows.map(({ id, pan, pinBlock }) => ({ id, pinBlock, card: { pan } })) })

describe('pin-blocks/translate-batch', () => {
  it.each([1, 2, 300, 10_000])('translates %i blocks, each for itself', async (count) => {
    const rows = makeRows(count, 7)
    const answer = await send(rows, { key: 'zpk-out', format: 'ISO-3' })
    expect(answer.status).toBe(200)
    const { kcv } = issuer.service.setUp.keys.find(({ id }) => id === 'zpk-out')!
    expect(answer.json).toMatchObject({ format: 'ISO-3', key: { id: 'zpk-out', version: 1, kcv } })
    expect(answer.json.items.length).toBe(count)
    rows.forEach(({ id, pan, pin }, i) => {
      const item = answer.json.items[i]
      if (pin === undefined) expect(item).toEqual({ id, code: 'ERR_PIN_BLOCK_INVALID' })
      else {
        expect(item).toEqual({ id, pinBlock: expect.stringMatching(/^[0-9A-F]{16}$/) })
        expect(issuer.pinOf('zpk-out', 'ISO-3', item.pinBlock, pan)).toBe(pin)
      }
    })
  })

  it('translates to format 4 and back', async () => {
    const zone = { key: 'zpk-aes', format: 'ISO-4' } as const
    const rows = makeRows(200, 9)
    const out = await send(rows, zone)
    const decipher = (hex: string) => agreed(({ decipherEcb }) => decipherEcb('AES', issuer.keys['zpk-aes']!, hex))
    const there = rows.flatMap((row, i) =>
      row.pin === undefined ? [] : [{ ...row, pinBlock: out.json.items[i].pinBlock }],
    )
    for (const { pinBlock, pan, pin } of there.slice(0, 20)) {
      expect(oracleDecode('ISO-4', oracleDecipher('ISO-4', decipher, pinBlock, pan), pan)).toBe(pin)
    }
    const back = await send(there, { key: 'zpk-out', format: 'ISO-0' }, zone)
    there.forEach(({ pan, pin }, i) => {
      expect(issuer.pinOf('zpk-out', 'ISO-0', back.json.items[i].pinBlock, pan)).toBe(pin)
    })
    // Another PAN than the one that a block of format 4 was made with leaves nothing of it.
    const swapped = there.map((row, i) => ({ ...row, pan: there[(i + 1) % there.length]!.pan }))
    const refused = await send(swapped, { key: 'zpk-out', format: 'ISO-0' }, zone)
    expect(new Set(refused.json.items.map(({ code }: { code: string }) => code))).toEqual(
      new Set(['ERR_PIN_BLOCK_INVALID']),
    )
  })

  it('answers a batch in which nothing is valid', async () => {
    const rows = makeRows(20, 1)
    const answer = await send(rows, { key: 'zpk-aes', format: 'ISO-4' })
    expect(answer.json.items).toEqual(rows.map(({ id }) => ({ id, code: 'ERR_PIN_BLOCK_INVALID' })))
  })

  it.each([
    ['0 to 1', FROM, { key: 'zpk-out', format: 'ISO-1' }, 'ERR_TRANSLATION_FORBIDDEN'],
    [
      'against the direction',
      { key: 'zpk-out', format: 'ISO-0' },
      { key: 'zpk-in', format: 'ISO-0' },
      'ERR_KEY_USE_FORBIDDEN',
    ],
    ['to a key that there is not', FROM, { key: 'zpk-none', format: 'ISO-0' }, 'ERR_KEY_USE_FORBIDDEN'],
    ['to SECCOS under a zone key', FROM, { key: 'zpk-out', format: 'SECCOS' }, 'ERR_KEY_USE_FORBIDDEN'],
  ] as const)('is refused as a whole %s', async (_what, from, to, code) => {
    expectProblem(await send(makeRows(3, 9), to, from), 403, code)
  })

  it('is refused to a client without the grant', async () => {
    const body = { from: FROM, to: { key: 'zpk-out', format: 'ISO-0' }, items: [] }
    expectProblem(await issuer.post(PATH, body, { client: 'auditor' }), 403, 'ERR_KEY_USE_FORBIDDEN')
  })

  it('is refused beyond its size, before it is read', async () => {
    expectProblem(await issuer.post(PATH, ' '.repeat(2_500_001)), 413, 'ERR_REQUEST_TOO_LARGE')
  })
})
