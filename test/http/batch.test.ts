import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { PAN_BYTES } from '../../src/pan.ts'
import { openTestStoreUp, type TestStore } from '../support/limit-store.ts'
import { startRedis, type TestRedis } from '../support/redis.ts'
import { start, VALID, type Harness, type HarnessOptions } from './harness.ts'

let http: Harness
let store: TestStore | undefined
let redis: TestRedis
beforeAll(async () => {
  redis = await startRedis()
})
afterEach(async () => {
  await http.close()
  store?.close()
  store = undefined
})
afterAll(() => redis.dispose())

const PATH = '/v1/pin-blocks/translate-batch'
const BATCH = VALID[PATH]
const BLOCK_BYTES = 8

/** The stand-in vault: a block whose first byte is odd is wrong, any other comes back with every bit turned. */
async function startWith(
  guesses: NonNullable<HarnessOptions['guesses']> = {},
  limits: NonNullable<HarnessOptions['limits']> = {},
) {
  http = await start({ guesses, limits, limitStore: store })
  http.answers.translatePinBlocks = ({ items, packed }) => {
    const blocks = packed.subarray(items * PAN_BYTES)
    const rejected = Array.from({ length: items }, (_, i) => i).filter((i) => blocks[i * BLOCK_BYTES]! % 2 === 1)
    const answer = blocks.map((byte) => byte ^ 0xff)
    for (const i of rejected) answer.fill(0, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES)
    const key = { id: 'zpk-out', version: 1, kcv: 'A1B2C3' }
    return { format: 'ISO-0', key, rejected, packed: Buffer.from(answer) }
  }
}

const card = (n: number) => ({ pan: String(4111111111111111n + BigInt(n)) })
const good = (n: number) => `00${n.toString(16).padStart(14, '0')}`.toUpperCase()
const wrong = (n: number) => `01${n.toString(16).padStart(14, '0')}`
const turned = (block: string) => (BigInt(`0x${block}`) ^ 0xffffffffffffffffn).toString(16).toUpperCase()

interface Item {
  readonly pinBlock: string
  readonly card?: { readonly pan: string }
  readonly id?: string
}
const batch = (items: readonly Item[]) => ({
  ...BATCH,
  items: items.map(({ pinBlock, ...item }, i) => ({ id: `row-${i}`, card: card(i), ...item, pinBlock })),
})
/** What came of each item: the block, or the code. */
async function outcomes(items: readonly Item[]) {
  const { status, json } = await http.send('POST', PATH, batch(items))
  expect(status).toBe(200)
  return (json['items'] as { pinBlock?: string; code?: string }[]).map(({ pinBlock, code }) => pinBlock ?? code)
}
const single = (pinBlock: string, n: number) =>
  http.send('POST', '/v1/pin-blocks/translate', { ...VALID['/v1/pin-blocks/translate'], pinBlock, card: card(n) })

const INVALID = 'ERR_PIN_BLOCK_INVALID'
const LIMITED = 'ERR_RATE_LIMITED'

describe('translate-batch', () => {
  it('answers item by item, in order, with one call to the vault', async () => {
    await startWith()
    const { status, json } = await http.send(
      'POST',
      PATH,
      batch([good(2), wrong(4), good(6)].map((pinBlock) => ({ pinBlock }))),
    )
    expect(status).toBe(200)
    expect(json).toEqual({
      format: 'ISO-0',
      key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
      items: [
        { id: 'row-0', pinBlock: turned(good(2)) },
        { id: 'row-1', code: INVALID },
        { id: 'row-2', pinBlock: turned(good(6)) },
      ],
    })
    expect(http.calls.length).toBe(1)
  })

  it('hands PANs of 12 to 19 digits and blocks of either case packed to the vault', async () => {
    await startWith()
    const pans = ['412345678901', '4123456789012345678', '4111111111111111']
    await outcomes(pans.map((pan, i) => ({ pinBlock: i === 1 ? '00abcdefabcdef00' : good(i), card: { pan } })))
    const { packed, items } = http.calls[0]!.body as { packed: Buffer; items: number }
    expect(items).toBe(3)
    expect(packed.toString('hex').toUpperCase()).toBe(
      [...pans.map((pan) => pan.padStart(20, '0')), good(0), '00ABCDEFABCDEF00', good(2)].join(''),
    )
  })

  it('takes 10 000 items and answers each', async () => {
    await startWith()
    const items = Array.from({ length: 10_000 }, (_, i) => ({ pinBlock: i % 100 === 7 ? wrong(i) : good(i) }))
    const seen = await outcomes(items)
    expect(seen.length).toBe(10_000)
    seen.forEach((outcome, i) => expect(outcome).toBe(i % 100 === 7 ? INVALID : turned(good(i))))
    const [record] = await http.requestRecords(1)
    expect(record).toMatchObject({
      operation: 'pin-blocks/translate-batch',
      batch: { items: 10_000, rejected: 100, limited: 0 },
      code: 'OK',
    })
  })

  it.each([
    ['no items', []],
    ['10 001 items', Array.from({ length: 10_001 }, (_, i) => ({ pinBlock: good(i) }))],
    [
      'an id twice',
      [
        { id: 'a', pinBlock: good(1) },
        { id: 'b', pinBlock: good(2) },
        { id: 'a', pinBlock: good(3) },
      ],
    ],
    ['an empty id', [{ id: '', pinBlock: good(1) }]],
    ['an id of 65 characters', [{ id: 'x'.repeat(65), pinBlock: good(1) }]],
    ['a block of ISO-4 under ISO-0', [{ pinBlock: good(1) }, { pinBlock: good(1) + good(2) }]],
    ['a PAN of 11 digits', [{ pinBlock: good(1), card: { pan: '41234567890' } }]],
    ['a block that is no hex', [{ pinBlock: `${good(1).slice(1)}g` }]],
  ])('refuses %s as a whole', async (_what, items: readonly Item[]) => {
    await startWith()
    const { status, json } = await http.send('POST', PATH, batch(items))
    expect([status, json['code']]).toEqual([400, 'ERR_REQUEST_INVALID'])
    expect(http.calls.length).toBe(0)
  })

  it('is a grant of its own, and SECCOS needs that one besides', async () => {
    await startWith()
    const narrow = await http.send('POST', PATH, batch([{ pinBlock: good(1) }]), { client: 'narrow' })
    expect([narrow.status, narrow.json['code']]).toEqual([403, 'ERR_KEY_USE_FORBIDDEN'])
    const seccos = { ...batch([{ pinBlock: good(1) }]), from: { key: 'seccos-pin', format: 'SECCOS' } }
    expect((await http.send('POST', PATH, seccos)).status).toBe(403)
    const unknown = { ...batch([{ pinBlock: good(1) }]), to: { key: 'no-such-key', format: 'ISO-0' } }
    expect((await http.send('POST', PATH, unknown)).status).toBe(403)
    expect(http.calls.length).toBe(0)
  })

  it('needs the grant for SECCOS also where SECCOS is what comes out', async () => {
    await startWith()
    const to = { key: 'seccos-pin', format: 'SECCOS' }
    const { status } = await http.send('POST', PATH, { ...batch([{ pinBlock: good(1) }]), to })
    expect([status, http.calls.length]).toEqual([403, 0])
  })

  it('works on eight batches of a client at once and answers a ninth 503, before its body is read', async () => {
    await startWith()
    const release = holdTranslations()
    const first = Array.from({ length: 8 }, (_, i) => http.send('POST', PATH, batch([{ pinBlock: good(2 * i) }])))
    await expect.poll(() => http.calls.length).toBe(8)
    const ninth = await http.send('POST', PATH, batch([{ pinBlock: good(100) }]))
    expect([ninth.status, ninth.json['code'], ninth.headers['retry-after']]).toEqual([503, 'ERR_HSM_BUSY', '1'])
    release()
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual(Array(8).fill(200))
    await expect.poll(async () => (await http.send('POST', PATH, batch([{ pinBlock: good(102) }]))).status).toBe(200)
  })

  it('counts a batch whose client has hung up for as long as it is worked on', async () => {
    await startWith()
    const release = holdTranslations()
    const body = JSON.stringify(batch([{ pinBlock: good(0) }]))
    const head = `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
    for (let i = 1; i <= 8; i++) {
      const socket = await http.openSocket()
      socket.write(head + body)
      await expect.poll(() => http.calls.length).toBe(i)
      socket.destroy()
      await http.requestRecords(i)
    }
    expect((await http.send('POST', PATH, batch([{ pinBlock: good(100) }]))).status).toBe(503)
    release()
    await expect.poll(async () => (await http.send('POST', PATH, batch([{ pinBlock: good(102) }]))).status).toBe(200)
  })

  it('keeps ids as they are, whatever they hold', async () => {
    await startWith()
    const ids = ['"\\\n', '€😀', '0', ' ', '</script>', '__proto__']
    const { json } = await http.send('POST', PATH, batch(ids.map((id, i) => ({ id, pinBlock: good(i) }))))
    expect((json['items'] as { id: string }[]).map(({ id }) => id)).toEqual(ids)
  })
})

describe.each(['memory', 'Redis'])('guessing by batch, counted in %s', (where) => {
  beforeEach(async () => {
    if (where === 'Redis') store = await openTestStoreUp(redis)
  })

  it('costs the client a guess an item; when they are used up, nothing more is told, right or wrong', async () => {
    await startWith({ perClient: 3, windowMs: 90_000 })
    const items = [good(0), wrong(1), wrong(2), good(3), wrong(4), good(5), wrong(6), good(7), wrong(8)]
    expect(await outcomes(items.map((pinBlock) => ({ pinBlock })))).toEqual([
      ...[turned(good(0)), INVALID, INVALID, turned(good(3)), INVALID],
      ...[LIMITED, LIMITED, LIMITED, LIMITED],
    ])
    expect(await http.metrics.render()).toContain('pinbridge_guesses_total{client="cms-adapter"} 3')
    // And then the client is refused before the vault is asked.
    const { status, headers } = await http.send('POST', PATH, batch([{ pinBlock: good(9) }]))
    expect(status).toBe(429)
    expect(Number(headers['retry-after'])).toBeGreaterThan(80)
    expect(http.calls.length).toBe(1)
    const [record] = await http.requestRecords(2)
    expect(record).toMatchObject({ batch: { items: 9, rejected: 3, limited: 4 } })
  })

  it('costs the card: its later items say nothing, those of other cards do', async () => {
    await startWith({ perCard: 2 })
    const one = card(1)
    const items = [wrong(0), wrong(1), good(2), wrong(3)].map((pinBlock) => ({ pinBlock, card: one }))
    expect(await outcomes([...items, { pinBlock: good(4) }])).toEqual([
      INVALID,
      INVALID,
      LIMITED,
      LIMITED,
      turned(good(4)),
    ])
    expect((await single(good(9), 1)).status).toBe(429)
    expect((await single(good(8), 2)).status).toBe(200)
    // What single requests spent counts in a batch too.
    expect(await outcomes([{ pinBlock: good(7), card: one }])).toEqual([LIMITED])
  })

  it('costs the block, whatever the case of its hex, and what was made from it', async () => {
    await startWith({ perPinBlock: 1 })
    const hex = '01abcdefabcdefab'
    expect(await outcomes([{ pinBlock: hex }, { pinBlock: hex.toUpperCase(), card: card(0) }])).toEqual([
      INVALID,
      LIMITED,
    ])
    // A block that a batch made shares the budget of the one it was made from.
    await outcomes([{ pinBlock: good(5) }])
    const made = {
      ...VALID['/v1/prw/verify'],
      from: { key: 'zpk-out', format: 'ISO-0' },
      pinBlock: turned(good(5)),
      card: card(0),
    }
    http.answers.verifyPrw = () => ({ verified: false })
    expect((await http.send('POST', '/v1/prw/verify', made)).status).toBe(200)
    expect((await single(good(5), 0)).status).toBe(429)
  })

  it('refuses the third PAN of a block within one batch and over several, and raises an alarm', async () => {
    await startWith()
    const pans = (...numbers: number[]) => numbers.map((n) => ({ pinBlock: good(1), card: card(n) }))
    const right = turned(good(1))
    expect(await outcomes(pans(1, 2, 3, 1, 2))).toEqual([right, right, LIMITED, right, right])
    expect(await outcomes(pans(3, 1))).toEqual([LIMITED, right])
    expect((await single(good(1), 3)).status).toBe(429)
    expect(http.records.filter(({ event }) => event === 'pan-variation').length).toBe(3)
    expect(await http.metrics.render()).toContain('pinbridge_pan_variation_alarms_total 3')
  })

  it('holds for batches and single requests that race: no budget is overspent', async () => {
    await startWith({ perClient: 50 })
    const { translatePinBlocks } = http.answers
    http.answers.translatePinBlocks = async (body) => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return translatePinBlocks(body)
    }
    const batches = Array.from({ length: 8 }, (_, b) =>
      http.send(
        'POST',
        PATH,
        batch(Array.from({ length: 40 }, (_, i) => ({ pinBlock: wrong(b * 100 + i), card: card(b * 100 + i) }))),
      ),
    )
    const singles = Array.from({ length: 40 }, (_, i) => single(wrong(5000 + i), 5000 + i))
    const answers = await Promise.all([...batches, ...singles])
    const told = answers.map(({ status, json }) =>
      status === 422 ? 1 : ((json['items'] ?? []) as { code: string }[]).filter(({ code }) => code === INVALID).length,
    )
    expect(told.reduce((sum, n) => sum + n)).toBe(50)
  })

  it('tells nothing more once the budget is gone, however many batches race', async () => {
    await startWith({ perClient: 1 })
    const { translatePinBlocks } = http.answers
    http.answers.translatePinBlocks = async (body) => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return translatePinBlocks(body)
    }
    // One card, many blocks that are tried: the one that is right must not show itself among the refusals.
    const tries = Array.from({ length: 8 }, (_, i) =>
      http.send('POST', PATH, batch([{ pinBlock: i === 5 ? good(i) : wrong(i), card: card(1) }])),
    )
    const answers = await Promise.all(tries)
    const items = answers.flatMap(({ json }) => (json['items'] ?? []) as { code?: string }[])
    const codes = items.map(({ code }) => code)
    expect(codes.filter((code) => code === INVALID).length).toBe(1)
    const afterwards = await http.send('POST', PATH, batch([{ pinBlock: good(9), card: card(2) }]))
    expect(afterwards.status).toBe(429)
  })

  it('counts a block that was made from another as that one, in batches too', async () => {
    await startWith()
    await outcomes([{ pinBlock: good(5), card: card(1) }])
    const made = { ...batch([2, 3].map((n) => ({ pinBlock: turned(good(5)), card: card(n) }))) }
    const json = (await http.send('POST', PATH, { ...made, from: { key: 'zpk-out', format: 'ISO-0' } })).json
    expect((json['items'] as { code?: string }[]).map(({ code }) => code)).toEqual([INVALID, LIMITED])
  })

  it('takes a SECCOS block for its own card only: it is the same for everybody with that PIN', async () => {
    const grants = {
      operations: ['pin-blocks/translate-batch', 'pin-blocks/translate-seccos'] as const,
      keys: ['seccos-pin', 'zpk-out'],
      formats: ['ISO-0', 'SECCOS'] as const,
      recipients: [],
    }
    http = await start({
      guesses: { perPinBlock: 1 },
      limitStore: store,
      clients: [
        {
          id: 'cms-adapter',
          dnsName: 'cms-adapter.clients.test',
          grants: [{ ...grants, operations: [...grants.operations], formats: [...grants.formats] }],
        },
      ],
    })
    http.answers.translatePinBlocks = ({ items }) => ({
      format: 'ISO-0',
      key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
      rejected: [0],
      packed: Buffer.alloc(items * BLOCK_BYTES, 1),
    })
    const from = { key: 'seccos-pin', format: 'SECCOS' }
    const seccos = (...cards: number[]) => ({
      ...batch(cards.map((n) => ({ pinBlock: good(1), card: card(n) }))),
      from,
    })
    const codes = async (...cards: number[]) =>
      ((await http.send('POST', PATH, seccos(...cards))).json['items'] as { code?: string }[]).map(({ code }) => code)
    expect(await codes(0, 1, 2, 3, 4)).toEqual([INVALID, undefined, undefined, undefined, undefined])
    // The card whose guess was wrong is out, and nobody else is.
    http.answers.translatePinBlocks = ({ items }) => ({
      format: 'ISO-0',
      key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
      rejected: [],
      packed: Buffer.alloc(items * BLOCK_BYTES, 1),
    })
    expect(await codes(0, 1, 5)).toEqual([LIMITED, undefined, undefined])
  })

  it('tells nothing of a batch with too many rejects, and has it paid all the same', async () => {
    await startWith({ perClient: 10, perCard: 2 }, { batchRejects: 3 })
    const items = (...wrongAt: number[]) =>
      Array.from({ length: 1200 }, (_, i) => ({ pinBlock: wrongAt.includes(i) ? wrong(i) : good(i) }))
    const few = await outcomes(items(0, 600, 1199))
    expect(few.filter((outcome) => outcome === INVALID).length).toBe(3)
    expect(few[1]).toBe(turned(good(1)))

    const { status, json } = await http.send('POST', PATH, batch(items(0, 600, 700, 701, 702, 1199)))
    expect([status, json['code']]).toEqual([422, INVALID])
    expect(Object.keys(json).toSorted()).toEqual(['code', 'requestId', 'status', 'title', 'type'])
    const [record] = (await http.requestRecords(2)).slice(-1)
    expect(record).toMatchObject({ code: INVALID, batch: { items: 1200, rejected: 4, limited: 0 } })
    // 3 and 4 of the client's 10 are spent, and both of the card that was wrong twice.
    expect((await single(wrong(9000), 0)).status).toBe(429)
    expect(await outcomes([9001, 9002, 9003].map((n) => ({ pinBlock: wrong(n), card: card(n) })))).toEqual([
      INVALID,
      INVALID,
      INVALID,
    ])
    expect((await single(good(9004), 9004)).status).toBe(429)
  })

  it('what succeeds costs nothing', async () => {
    await startWith({ perClient: 1, perCard: 1, perPinBlock: 1 })
    for (let round = 0; round < 3; round++) {
      expect(await outcomes([{ pinBlock: good(1) }, { pinBlock: good(2) }])).toEqual([turned(good(1)), turned(good(2))])
    }
  })
})

describe('translate-batch in CSV', () => {
  const rowsOf = (lines: readonly string[], end = '\n') => ({ from: BATCH.from, to: BATCH.to, rows: lines.join(end) })
  const row = (id: string, pinBlock: string, n = 0) => `${id},${card(n).pan},${pinBlock}`
  const send = (lines: readonly string[], end?: string) => http.send('POST', PATH, rowsOf(lines, end))

  it.each([
    ['with a line of names', ['id,pan,pinBlock', row('a', good(2)), row('"b,""x"""', wrong(4)), row('c', good(6)), '']],
    ['without one', [row('a', good(2)), row('"b,""x"""', wrong(4)), row('c', good(6))]],
    [
      'with columns in another order',
      [
        'pinBlock,pan,id',
        `${good(2)},${card(0).pan},a`,
        `${wrong(4)},${card(0).pan},"b,""x"""`,
        `${good(6)},${card(0).pan},c`,
      ],
    ],
  ])('answers row by row, in order, with ids as they were spelled: %s', async (_what, lines) => {
    await startWith()
    for (const end of ['\n', '\r\n']) {
      const { status, json } = await send(lines, end)
      expect(status).toBe(200)
      expect(json).toEqual({
        format: 'ISO-0',
        key: { id: 'zpk-out', version: 1, kcv: 'A1B2C3' },
        rows: `id,pinBlock,code\na,${turned(good(2))},\n"b,""x""",,${INVALID}\nc,${turned(good(6))},\n`,
      })
    }
    expect(http.calls.length).toBe(2)
  })

  it('hands the vault what the same items in JSON would, and is answered the same', async () => {
    await startWith({ perClient: 10_000 })
    const rows = Array.from({ length: 10_000 }, (_, i) => ({
      id: `é-${i}`,
      n: i,
      block: i % 9 === 0 ? wrong(i) : good(i),
    }))
    const csv = await send(['id,pan,pinBlock', ...rows.map(({ id, n, block }) => row(id, block, n)), ''])
    const json = await http.send(
      'POST',
      PATH,
      batch(rows.map(({ id, n, block }) => ({ id, pinBlock: block, card: card(n) }))),
    )
    const [ofCsv, ofJson] = http.calls.map(({ body }) => body as { items: number; packed: Buffer })
    expect(ofCsv!.items).toBe(10_000)
    expect(ofCsv!.packed.toString('hex')).toBe(ofJson!.packed.toString('hex'))
    const items = json.json['items'] as { id: string; pinBlock?: string; code?: string }[]
    const lines = items.map(({ id, pinBlock = '', code = '' }) => `${id},${pinBlock},${code}\n`)
    expect(csv.json['rows']).toBe(`id,pinBlock,code\n${lines.join('')}`)
  })

  it.each([
    ['no row', ['id,pan,pinBlock', '']],
    ['an empty line', [row('a', good(2)), '', row('b', good(4))]],
    ['an id twice', [row('a', good(2)), row('"a"', good(4))]],
    ['a PAN of 11 digits', [`a,41234567890,${good(2)}`]],
    ['a block of 15 digits', [row('a', good(2).slice(1))]],
    ['a block of format 4', [row('a', good(2) + good(2))]],
    ['an id of 65 characters', [row('é'.repeat(65), good(2))]],
    ['a field too many', [`${row('a', good(2))},x`]],
    ['a quote that does not close', [row('"a', good(2))]],
    ['names without the PAN', ['id,pinBlock', `a,${good(2)}`]],
    ['a name twice', ['id,pan,pan,pinBlock', row('a', good(2))]],
    ['10 001 rows', Array.from({ length: 10_001 }, (_, i) => row(String(i), good(2), i))],
    ['10 003 lines', Array.from({ length: 10_003 }, () => '')],
  ])('refuses %s as a whole', async (_what, lines) => {
    await startWith()
    const { status, json } = await send(lines)
    expect([status, json['code']]).toEqual([400, 'ERR_REQUEST_INVALID'])
    expect(http.calls.length).toBe(0)
  })

  it('takes items or rows, and not both or neither', async () => {
    await startWith()
    const both = { ...rowsOf([row('a', good(2))]), items: BATCH.items }
    expect((await http.send('POST', PATH, both)).status).toBe(400)
    expect((await http.send('POST', PATH, { from: BATCH.from, to: BATCH.to })).status).toBe(400)
    expect(http.calls.length).toBe(0)
  })

  it('spends the same budgets', async () => {
    await startWith({ perClient: 1 })
    const { json } = await send([
      row('a', good(2), 1),
      row('b', wrong(4), 2),
      row('c', wrong(6), 3),
      row('d', good(8), 4),
    ])
    expect(json['rows']).toBe(`id,pinBlock,code\na,${turned(good(2))},\nb,,${INVALID}\nc,,${LIMITED}\nd,,${LIMITED}\n`)
  })
})

/** Has the vault keep every batch until it is told to go on. */
function holdTranslations(): () => void {
  const { translatePinBlocks } = http.answers
  let release = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  http.answers.translatePinBlocks = async (body) => {
    await held
    return translatePinBlocks(body)
  }
  return release
}
