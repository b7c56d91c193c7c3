import { randomInt } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  itemsOf,
  laneOf,
  requestOf,
  resolveBundle,
  takeBundle,
  type Call,
  type Queue,
} from '../../../src/bridge/bundle.ts'
import type { Operation, RequestOf } from '../../../src/bridge/contract.ts'
import { answerTo, pair, translation, type Translated, type Translation } from './translations.ts'

/** A call and what becomes of it. */
function callOf(body: RequestOf<Operation>, operation: Operation = 'translatePinBlocks') {
  const { promise, resolve, reject } = Promise.withResolvers<any>()
  promise.catch(() => {})
  const times = { queuedMs: 0, waitingSinceMs: 0, deadline: undefined }
  const items = itemsOf({ operation, body })
  const again = () => resolve('again')
  const call: Call = { operation, body, resolve, reject, again, items, given: 0, queue: undefined, ...times }
  return { call, promise }
}

/** These translations in one queue, and what becomes of each. */
function queueOf(bodies: readonly Translation[]) {
  const calls = bodies.map((body) => callOf(body))
  const queue: Queue = { lane: laneOfBody(bodies[0]!), calls: new Set(calls.map(({ call }) => call)) }
  return { queue, answers: calls.map(({ promise }) => promise) }
}

/** A bundle of these translations, and what becomes of each. */
function bundleOf(bodies: readonly Translation[]) {
  const { queue, answers } = queueOf(bodies)
  return { bundle: takeBundle(queue, Infinity), answers }
}

/** What a bundle carries, by the places of its calls among all: `2[0-5]` is the first five items of the third. */
function textOf({ parts }: ReturnType<typeof takeBundle>, calls: readonly Call[]): string {
  return parts.map(({ call, start, end }) => `${calls.indexOf(call)}[${start}-${end}]`).join(' ')
}

const laneOfBody = (body: Translation) => laneOf({ operation: 'translatePinBlocks', body })

describe('a lane', () => {
  it('is that of all translations of one pair of keys, whatever their number, PANs and blocks', () => {
    expect(laneOfBody(translation(7))).toEqual(laneOfBody(translation(1)))
    expect(laneOfBody(translation(1, { ...pair(), checkOnly: false }))).toEqual(laneOfBody(translation(1)))
    expect(laneOfBody(translation(1))?.isShared).toBe(true)
  })

  it('differs by either key, by either format and by the length of a block', () => {
    const others = [
      pair(),
      pair('in2'),
      pair('in', 'out2'),
      pair('in', 'out', 'ISO-3'),
      pair('in', 'out', 'ISO-0', 'ISO-3'),
      pair('out', 'in'),
      pair('in', 'out', 'ISO-4'),
    ].map((zones) => laneOfBody(translation(1, zones))?.name)
    const short = { ...translation(2), packed: Buffer.alloc(35) }
    const long = { ...translation(1), packed: Buffer.alloc(26) }
    const prw = { ...pair(), prw: { key: 'prw', cards: [{}] } }
    const kinds = [
      { ...pair(), checkOnly: true },
      prw,
      { ...prw, checkOnly: true },
      { ...prw, prw: { key: 'prw2', cards: [{}] } },
    ]
    const lanes = [
      ...others,
      ...[short, long, ...kinds.map((kind) => translation(1, kind))].map((body) => laneOfBody(body)?.name),
    ]
    expect(new Set(lanes).size).toBe(lanes.length)
  })

  it('differs by the version of either key, and by whether one is named', () => {
    const { from, to } = pair('zpk', 'zpk')
    const names = [
      { from, to },
      { from: { ...from, version: 1 }, to },
      { from: { ...from, version: 2 }, to },
      { from, to: { ...to, version: 1 } },
      { from: { ...from, version: 1 }, to: { ...to, version: 1 } },
    ].map((zones) => laneOfBody(translation(1, zones))?.name)
    expect(new Set(names).size).toBe(names.length)
  })

  it('has its own for a translation with a PRW and for a check alone, in which none shares a message', () => {
    expect(laneOfBody(translation(1, { ...pair(), checkOnly: true }))?.isShared).toBe(false)
    expect(laneOfBody(translation(1, { ...pair(), prw: { key: 'prw', cards: [{}] } }))?.isShared).toBe(false)
  })

  it('is none for another operation', () => {
    const body = { key: 'pin-mac', pinBlock: '00'.repeat(8) }
    expect(laneOf({ operation: 'generateMac', body })).toBeUndefined()
  })
})

describe('a bundle', () => {
  it('takes as many whole calls as fit, in their order, and leaves the others', () => {
    const { queue } = queueOf([4, 5, 2, 1].map((items) => translation(items)))
    const calls = [...queue.calls]
    expect(textOf(takeBundle(queue, 10), calls)).toBe('0[0-4] 1[0-5]')
    expect(textOf(takeBundle(queue, 10), calls)).toBe('2[0-2] 3[0-1]')
    expect(queue.calls.size).toBe(0)
  })

  it('takes a part of a call that fits into none, and the rest goes behind the others', () => {
    const { queue } = queueOf([25, 1, 12, 3].map((items) => translation(items)))
    const calls = [...queue.calls]
    const taken: string[] = []
    while (queue.calls.size > 0) taken.push(textOf(takeBundle(queue, 10), calls))
    expect(taken).toEqual(['0[0-10]', '1[0-1]', '2[0-10]', '3[0-3]', '0[10-20]', '2[10-12] 0[20-25]'])
  })

  it('is one request: all PANs in the order of its calls, then all blocks', () => {
    const bodies = [1, 3, 2].map((items) => ({ ...translation(items), packed: Buffer.alloc(18 * items) }))
    let next = 0
    // Every PAN's bytes are its own number, every block's its number with the high bit set.
    for (const { packed, items } of bodies) {
      for (let i = 0; i < items; i++, next++) {
        packed.fill(next, i * 10, (i + 1) * 10)
        packed.fill(0x80 | next, items * 10 + i * 8, items * 10 + (i + 1) * 8)
      }
    }
    const { bundle } = bundleOf(bodies)
    const { operation, body } = requestOf(bundle)
    const { packed, ...json } = body as Translation
    expect([operation, json]).toEqual(['translatePinBlocks', { ...pair(), items: 6 }])
    const pans = [0, 1, 2, 3, 4, 5].map((n) => Buffer.alloc(10, n))
    const blocks = [0, 1, 2, 3, 4, 5].map((n) => Buffer.alloc(8, 0x80 | n))
    expect(packed).toEqual(Buffer.concat([...pans, ...blocks]))
  })

  it('of one call is that call', () => {
    const body = { key: 'pin-mac', pinBlock: '00'.repeat(8) }
    const { call } = callOf(body, 'generateMac')
    const bundle = takeBundle({ lane: undefined, calls: new Set([call]) }, 1)
    expect(requestOf(bundle)).toBe(call)
    expect(requestOf(bundle).body).toBe(body)
  })

  it('gives each call its own blocks, and the places of its own that are rejected', async () => {
    const key = { id: 'out', version: 1, kcv: 'A1B2C3' }
    const common = { format: 'ISO-0', key }
    const block = (n: number) => Buffer.alloc(8, n)
    const blocks = (...all: number[]) => Buffer.concat(all.map(block))
    const { bundle, answers } = bundleOf([1, 3, 2, 1].map((items) => translation(items)))
    const answer = { ...common, rejected: [0, 2, 3, 6] } as unknown as Translated
    expect(resolveBundle(bundle, answer, blocks(0, 1, 2, 3, 4, 5, 6))).toBe(true)
    expect(await Promise.all(answers)).toEqual([
      { ...common, rejected: [0], packed: blocks(0) },
      { ...common, rejected: [1, 2], packed: blocks(1, 2, 3) },
      { ...common, rejected: [], packed: blocks(4, 5) },
      { ...common, rejected: [0], packed: blocks(6) },
    ])
  })

  it('gives blocks of 16 bytes where they go out in ISO format 4, and PRWs where they were asked for', async () => {
    const key = { id: 'aes', version: 1, kcv: 'A1B2C3D4E5' }
    const body = translation(2, { ...pair('in', 'aes', 'ISO-0', 'ISO-4'), prw: { key: 'prw', cards: [{}, {}] } })
    const { bundle, answers } = bundleOf([body])
    const packed = Buffer.concat([Buffer.alloc(16, 1), Buffer.alloc(16, 2)])
    const answer = { format: 'ISO-4', key, rejected: [1], prws: [{ value: '01' }, null] }
    resolveBundle(bundle, answer, packed)
    expect(await Promise.all(answers)).toEqual([{ ...answer, packed }])
  })

  it('takes no packed bytes for an operation without any', async () => {
    const { call, promise } = callOf({ key: 'pin-mac', pinBlock: '00' }, 'generateMac')
    const bundle = takeBundle({ lane: undefined, calls: new Set([call]) }, 1)
    const answer = { mac: '00', profile: 'p', key: { id: 'k', version: 1, kcv: '00' } }
    resolveBundle(bundle, answer, Buffer.from('c0ffee', 'hex'))
    expect(await promise).toBe(answer)
  })

  it('of any translations splits the answer so that each has what it would have had alone', async () => {
    for (let round = 0; round < 200; round++) {
      const zones = pair('in', 'out', round % 2 ? 'ISO-4' : 'ISO-0', round % 3 ? 'ISO-4' : 'ISO-3')
      const bodies = Array.from({ length: 1 + (round % 20) }, () =>
        translation(1 + Math.floor(Math.random() * 50), zones),
      )
      const { bundle, answers } = bundleOf(bodies)
      const { packed, ...json } = answerTo(requestOf(bundle).body as Translation)
      resolveBundle(bundle, json, packed)
      expect(await Promise.all(answers)).toEqual(bodies.map(answerTo))
    }
  })

  it('of parts gives each call what it would have had whole, in whatever order they come back', async () => {
    for (let round = 0; round < 200; round++) {
      const zones = pair('in', 'out', round % 2 ? 'ISO-4' : 'ISO-0', round % 3 ? 'ISO-4' : 'ISO-3')
      const bodies = Array.from({ length: 1 + (round % 5) }, () => translation(1 + randomInt(60), zones))
      const { queue, answers } = queueOf(bodies)
      const bundles = []
      while (queue.calls.size > 0) bundles.push(takeBundle(queue, 1 + randomInt(20)))
      for (const bundle of bundles.sort(() => randomInt(2) - 0.5)) {
        const { packed, ...json } = answerTo(requestOf(bundle).body as Translation)
        expect(resolveBundle(bundle, json, packed)).toBe(true)
      }
      expect(await Promise.all(answers)).toEqual(bodies.map(answerTo))
    }
  })

  it('of parts has the cards of its own rows, and gives the PRWs in the order of all rows', async () => {
    const cards = Array.from({ length: 25 }, (_, n) => ({ counter: String(n).padStart(4, '0') }))
    const body = translation(25, { ...pair(), prw: { key: 'prw', cards } })
    const { queue, answers } = queueOf([body])
    const bundles = []
    while (queue.calls.size > 0) bundles.push(takeBundle(queue, 10))
    for (const bundle of bundles.reverse()) {
      const part = requestOf(bundle).body as Translation
      expect(part.prw?.cards).toHaveLength(part.items)
      const prws = part.prw!.cards.map(({ counter }) => ({ value: `of ${counter}` }))
      const { packed, ...json } = answerTo(part)
      resolveBundle(bundle, { ...json, prws }, packed)
    }
    const [answer] = await Promise.all(answers)
    expect(answer).toEqual({ ...answerTo(body), prws: cards.map(({ counter }) => ({ value: `of ${counter}` })) })
  })
})

describe('an answer that does not fit', () => {
  const good = { format: 'ISO-0', key: { id: 'out', version: 1, kcv: 'A1B2C3' }, rejected: [1, 4] }
  const BYTES = 5 * 8

  it.each<[string, object, number?]>([
    ['no blocks', good, 0],
    ['a byte too few', good, BYTES - 1],
    ['a block too few', good, BYTES - 8],
    ['a byte too many', good, BYTES + 1],
    ['a block too many', good, BYTES + 8],
    ['blocks of 16 bytes', good, 2 * BYTES],
    ['blocks in its JSON', { ...good, packed: '0'.repeat(BYTES) }, 0],
    ['no rejected', { ...good, rejected: undefined }],
    ['rejected null', { ...good, rejected: null }],
    ['a rejected place as text', { ...good, rejected: ['1'] }],
    ['a number for rejected', { ...good, rejected: 1 }],
    ['an object for rejected', { ...good, rejected: { length: 0 } }],
    ['a rejected place behind the last', { ...good, rejected: [5] }],
    ['a rejected place before the first', { ...good, rejected: [-1] }],
    ['half a place', { ...good, rejected: [0.5] }],
    ['no number', { ...good, rejected: [null] }],
    ['a place twice', { ...good, rejected: [1, 1] }],
    ['places in descending order', { ...good, rejected: [4, 1] }],
    ['more places than items', { ...good, rejected: [0, 1, 2, 3, 4, 5] }],
    ['nothing', {}],
  ])('is none, and nobody is given anything: %s', async (_name, answer, bytes = BYTES) => {
    for (const sizes of [[1, 3, 1], [5]]) {
      const { bundle, answers } = bundleOf(sizes.map((items) => translation(items)))
      expect(resolveBundle(bundle, answer as Translated, Buffer.alloc(bytes, 7))).toBe(false)
      expect(await Promise.race([...answers, Promise.resolve('nothing')])).toBe('nothing')
    }
    // The same with what is right, so that it was the fault alone.
    const { bundle, answers } = bundleOf([translation(1), translation(4)])
    resolveBundle(bundle, good, Buffer.alloc(BYTES, 7))
    expect((await Promise.all(answers)).map(({ rejected }) => rejected as number[])).toEqual([[], [0, 3]])
  })

  it.each<[string, unknown]>([
    ['none', undefined],
    ['one too few', [null]],
    ['one too many', [null, null, null]],
  ])('is none: PRWs were asked for, and there are %s', (_name, prws) => {
    const { bundle } = bundleOf([translation(2, { ...pair(), prw: { key: 'prw', cards: [{}, {}] } })])
    const answer = { ...good, rejected: [], prws } as unknown as Translated
    expect(resolveBundle(bundle, answer, Buffer.alloc(16))).toBe(false)
  })
})
